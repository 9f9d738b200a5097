"""Scale of the edge: what a session costs that listens, that hears replies, that does nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from benchmarks.edge_load import NOISE_DBFS
from benchmarks.held import Held
from benchmarks.serving import ROOT, ServerFailed

HERE, FEWER = 200, 50
LISTEN_S, HEAR_S = 36.0, 30.0
FEW, MANY = 10, 1_000
SETTLE_S = 2.0

METHOD = f"""Server and clients are two processes, each pinned to a core of its own. The server has
real Silero VAD (and Smart Turn, which noise never asks), the rest scripted; the microphones send
noise at {NOISE_DBFS:g} dBFS in 20 ms frames. Listening: {HERE} sessions for {LISTEN_S:g} s, more
than the 30 s of audio that are kept; CPU time of the server's process by session and second,
resident memory against that without sessions. Fewer, {FEWER}, take more each: of what comes in at
the same moment less is done together. Hearing: {HERE} sessions with open microphones for {HEAR_S:g}
s, each typing a turn whenever its last reply has been played; replies of some 7 s. Lag: how late a
5 ms sleep in the server's loop returns. The echo is a bare Starlette app on the same uvicorn, loop
and WebSocket layer, for the same frames. In echoes: what a listening session takes, divided by what
the echo of the same run takes; the goal in ms was set where an echo took 0.9 ms, and on a slower
machine this one says the same. Idle: {MANY} welcomed sessions against {FEW}. The load's own CPU
share and the lateness of its ticks show its headroom."""

GOALS = {
    "listening_cpu_ms": 3.0,
    "listening_echoes": 3.3,
    "listening_mb": 1.5,
    "hearing_lag_p99_ms": 20.0,
    "hearing_dry": 0,
    "idle_mb": 60.0,
}
ENGINES = dict.fromkeys(("STT_ENGINE", "TTS_ENGINE", "LLM_ENGINE"), "scripted")
SETTINGS = {
    **ENGINES, "MAX_SESSIONS": "2000", "TTS_SLOTS": "64", "STT_SLOTS": "16", "LLM_SLOTS": "1024",
    "LOG_LEVEL": "error",
}  # fmt: skip


@dataclass
class Program:
    """A process that speaks in lines of JSON."""

    process: subprocess.Popen[str]

    def line(self) -> dict[str, Any]:
        """The next line that it prints. Raises `ServerFailed` when it ended instead."""
        assert self.process.stdout is not None, "piped"
        said = self.process.stdout.readline()
        if not said:
            raise ServerFailed(f"{self.process.args!r} ended with {self.process.wait()}")
        answer: dict[str, Any] = json.loads(said)
        return answer

    def ask(self) -> dict[str, Any]:
        """Send an empty line; the answer."""
        assert self.process.stdin is not None, "piped"
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return self.line()


@contextmanager
def program(module: str, *arguments: object, **environ: str) -> Iterator[Program]:
    """`python -m benchmarks.MODULE`, ended with its input."""
    with subprocess.Popen(
        [sys.executable, "-m", f"benchmarks.{module}", *map(str, arguments)],
        cwd=ROOT, env={**os.environ, **environ}, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            yield Program(process)
        finally:
            assert process.stdin is not None, "piped"
            process.stdin.close()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()


@dataclass(frozen=True)
class Loaded:
    """A server under one load, in its middle and after it."""

    cpu_ms: float
    """Of the server, by session and second."""
    cpu: float
    """Of one core."""
    memory_mb: float
    """More than without sessions, in all."""
    lag: dict[str, Any]
    load: dict[str, Any]


def under(kind: str, load: str, count: int, seconds: float) -> Loaded:
    """A fresh server of a kind under one load."""
    cores = sorted(os.sched_getaffinity(0))
    environ = {f"ANTIPHON_{name}": value for name, value in SETTINGS.items()}
    with program("edge_server", kind, cores[0], **environ) as server:
        port = server.line()["port"]
        pid = server.process.pid
        if kind == "antiphon":  # what is made once, at first use
            with program("edge_load", port, "listen", 2, 1.0, cores[-1]) as first:
                first.line(), first.line()
        time.sleep(SETTLE_S)
        empty = Held.of(pid)
        with program("edge_load", port, load, count, seconds, cores[-1]) as clients:
            clients.line()
            before, began = Held.of(pid), time.monotonic()
            server.ask()
            result = clients.line()
            took_s, after, lag = time.monotonic() - began, Held.of(pid), server.ask()
    if result["lost"]:
        raise ServerFailed(f"{result['lost']} of {count} sessions were lost")
    cpu_s = after.cpu_s - before.cpu_s
    return Loaded(
        1_000 * cpu_s / took_s / count, cpu_s / took_s, after.rss_mb - empty.rss_mb, lag, result
    )


def main() -> dict[str, object]:
    """Measure all, print, and return the numbers."""
    print("edge: sessions that listen, hear, and are idle\n")
    print(METHOD, end="\n\n")
    listening = under("antiphon", "listen", HERE, LISTEN_S)
    fewer = under("antiphon", "listen", FEWER, LISTEN_S / 3)
    hearing = under("antiphon", "hear", HERE, HEAR_S)
    echo = under("echo", "echo", HERE, LISTEN_S / 3)
    fewer_echoes = under("echo", "echo", FEWER, LISTEN_S / 3)
    few = under("antiphon", "idle", FEW, SETTLE_S)
    many = under("antiphon", "idle", MANY, SETTLE_S)
    reached = {
        "listening_cpu_ms": listening.cpu_ms,
        "listening_echoes": listening.cpu_ms / echo.cpu_ms,
        "listening_mb": listening.memory_mb / HERE,
        "hearing_lag_p99_ms": hearing.lag["p99_ms"],
        "hearing_dry": hearing.load["dry"],
        "idle_mb": many.memory_mb - few.memory_mb,
    }
    _show("listening", HERE, listening)
    _show("echo", HERE, echo)
    _show("listening", FEWER, fewer)
    _show("echo", FEWER, fewer_echoes)
    _show("hearing", HERE, hearing)
    heard = hearing.load
    print(
        f"hearing: {heard['replies']} replies, {heard['audio_s']:.0f} s of audio, "
        f"{heard['audio_s'] / (HERE * HEAR_S):.0%} of all the time; the first of it after "
        f"{heard['waits_p50_s']:.2f} s (p95 {heard['waits_p95_s']:.2f}); "
        f"{heard['dry']} times dry, {1_000 * heard['dry_most_s']:.0f} ms at most\n"
    )
    for name, goal in GOALS.items():
        verdict = "reached" if reached[name] <= goal else "MISSED"
        print(f"{name:20} {reached[name]:8.2f}   goal {goal:g}: {verdict}")
    return {"reached": reached, "goals": GOALS, "echo_cpu_ms": echo.cpu_ms, "hearing": hearing.load}


def _show(name: str, count: int, loaded: Loaded) -> None:
    lag, load = loaded.lag, loaded.load
    print(
        f"{name:10} {count:5} sessions: {loaded.cpu_ms:5.2f} ms CPU a session and second "
        f"({loaded.cpu:4.0%} of a core), {loaded.memory_mb / count:5.2f} MB each, "
        f"lag p50 {lag['p50_ms']:.1f} p99 {lag['p99_ms']:.1f} max {lag['max_ms']:.1f} ms; "
        f"load {load['cpu']:.0%} of its core, ticks p99 {load['late_p99_ms']:.1f} ms late"
    )
