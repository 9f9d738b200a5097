"""`python -m benchmarks.soak [MINUTES]`: does anything grow that must not? Exit status 1 if so."""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.backend import Backend, chat_backend
from benchmarks.held import Held
from benchmarks.serving import ROOT, Running, running

AT_ONCE = 24
WARM_UP_S = 10.0
SETTLE_S = 20.0
MOST_GROWTH = 0.05
NOTHING_OF = {
    "bytes in outboxes": "antiphon_outbox_bytes",
    "bytes of files": "antiphon_scratch_bytes",
}
SETTINGS = {
    **dict.fromkeys(("stt_engine", "tts_engine", "vad_engine"), "scripted"),
    "llm_engine": "openai",
    "max_sessions": "200",
    "stt_slots": "4",
    "tts_slots": "8",
    "log_level": "error",
}

METHOD = f"""A server with scripted engines in one process, its language model over HTTP;
{AT_ONCE} callers at a time in another, who speak a turn, type two, interrupt themselves three
times, vanish in the middle of a turn, or leave before they are welcomed, and come again: kinds by
chance, seeded. After {WARM_UP_S:g} s of it the server is at rest once, and what it holds then is
the baseline. Resident memory is looked at every second; its growth in the second half is the median
of the last tenth of the looks against that of the tenth after the middle. At rest nobody is here,
nothing is claimed, busy, stopping or waiting, no outbox holds a byte, no file is kept, and no
connection to the language model is busy; tasks, threads, children and descriptors are those of the
baseline."""


@dataclass(frozen=True, slots=True)
class Soak:
    """What came of it."""

    minutes: float
    sessions: int
    failures: dict[str, int]
    growth: float
    """Of resident memory in the second half; 0.01 is one per cent."""
    rss_mb: tuple[float, float, float]
    """At the baseline, after the middle, and at the end."""
    before: Held
    after: Held
    tasks: tuple[int, int]
    """Of the event loop, at the baseline and at the end."""
    left: str
    """What is still held at the end; "" when nothing."""

    @property
    def wrong(self) -> list[str]:
        """Every promise that was not kept, in words."""
        found = [f"{count} sessions: {what}" for what, count in self.failures.items()]
        if self.growth >= MOST_GROWTH:
            found.append(f"memory grew by {self.growth:.1%} in the second half")
        for what in ("threads", "children", "fds"):
            before, after = getattr(self.before, what), getattr(self.after, what)
            if after > before:
                found.append(f"{after} {what}, {before} before")
        if self.tasks[1] > self.tasks[0]:
            found.append(f"{self.tasks[1]} tasks, {self.tasks[0]} before")
        return found + ([self.left] if self.left else [])


def growth(rss_mb: Sequence[float]) -> tuple[float, float, float]:
    """Of looks at equal distances: the growth in their second half, and the two sizes it is of.

    Raises `statistics.StatisticsError` for fewer than two looks.
    """
    tenth = max(1, len(rss_mb) // 10)
    half = len(rss_mb) // 2
    middle = statistics.median(rss_mb[half : half + tenth])
    end = statistics.median(rss_mb[-tenth:])
    return end / middle - 1, middle, end


def soak(minutes: float) -> Soak:
    """Run it. Raises `ServerFailed` when the server does not start."""
    with chat_backend() as model, running(**SETTINGS, llm_base_url=model.url) as server:
        warm, _ = _crowd(server, WARM_UP_S)
        _at_rest(server, model)
        before, tasks = Held.of(server.pid), _metrics(server)["antiphon_tasks"]
        counts, looks = _crowd(server, minutes * 60)
        left = _at_rest(server, model)
        after, tasks_after = Held.of(server.pid), _metrics(server)["antiphon_tasks"]
        if not model.served:
            left += "; nobody asked the language model"
    grown, middle, end = growth(looks)
    failures = {
        what: count for counted in (warm, counts) for what, count in counted.items() if ":" in what
    }
    return Soak(
        minutes, sum(counts.values()), failures, grown,
        (before.rss_mb, middle, end), before, after, (round(tasks), round(tasks_after)), left,
    )  # fmt: skip


def _crowd(server: Running, seconds: float) -> tuple[dict[str, int], list[float]]:
    """The callers for so long: what they counted, and the server's memory every second."""
    command = [
        sys.executable, "-m", "benchmarks.callers", server.ws_url, str(seconds), str(AT_ONCE),
    ]  # fmt: skip
    looks = []
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as callers:
        while callers.poll() is None:
            looks.append(Held.of(server.pid).rss_mb)
            time.sleep(1.0)
        assert callers.stdout is not None, "piped"
        said: dict[str, Any] = json.loads(callers.stdout.read() or '{"counts": {"none: died": 1}}')
    return said["counts"], looks


def _at_rest(server: Running, model: Backend) -> str:
    """Wait until nothing is under way; what still is after 20 s, in words."""
    deadline = time.monotonic() + SETTLE_S
    while (left := _left(server, model)) and time.monotonic() < deadline:
        time.sleep(0.2)
    time.sleep(0.5)  # the connection that asked is closed, too
    return left


def _left(server: Running, model: Backend) -> str:
    with urllib.request.urlopen(f"{server.url}/status", timeout=10) as answer:
        status = json.load(answer)
    lines = []
    if sessions := status["sessions"]["active"] + status["sessions"]["waiting"]:
        lines.append(f"{sessions} sessions")
    if requests := status["requests"]["active"]:
        lines.append(f"{requests} requests")
    for kind, state in status["pool"].items():
        for what in ("claimed", "busy", "stopping", "waiting"):
            lines += [f"{kind}: {state[what]} {what}"] if state[what] else []
    metrics = _metrics(server)
    for what, name in NOTHING_OF.items():
        lines += [f"{metrics[name]:g} {what}"] if metrics[name] else []
    if model.busy:
        lines.append(f"{model.busy} connections to the language model")
    return "; ".join(lines)


def _metrics(server: Running) -> dict[str, float]:
    """The metrics without labels, by name."""
    with urllib.request.urlopen(f"{server.url}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    pairs = (line.rsplit(" ", 1) for line in lines if "{" not in line and line[:1] != "#")
    return {name: float(value) for name, value in pairs}


def main() -> int:
    """Run it and print what came of it; 1 when a promise was not kept."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("minutes", nargs="?", type=float, default=30.0, help="default: 30")
    result = soak(parser.parse_args().minutes)
    print(METHOD, end="\n\n")
    baseline, middle, end = result.rss_mb
    print(f"{result.sessions} sessions in {result.minutes:g} minutes")
    print(f"memory    {baseline:.1f} MB at the baseline, {middle:.1f} after the middle,")
    print(
        f"          {end:.1f} at the end: {result.growth:+.1%} in the second half "
        f"(at most {MOST_GROWTH:.0%})"
    )
    for what in ("threads", "children", "fds"):
        before, after = getattr(result.before, what), getattr(result.after, what)
        print(f"{what:9} {before} before, {after} after")
    print(f"{'tasks':9} {result.tasks[0]} before, {result.tasks[1]} after")
    for what in result.wrong:
        print(f"WRONG: {what}")
    return 1 if result.wrong else 0


if __name__ == "__main__":
    sys.exit(main())
