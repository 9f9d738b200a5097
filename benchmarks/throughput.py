"""How much of the voice's throughput is left when it is asked through the whole server."""

from __future__ import annotations

import asyncio
import os
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import httpx

from benchmarks.bare import Bare, bare, clauses
from benchmarks.serving import Running, running
from benchmarks.speech import ROW, VOICE, VOICE_ALONE, ask, together

TEXTS = ROW[:8]
ROUNDS = 4
INSTANCES: tuple[tuple[int, ...], ...] = ((2,), (2, 1))
"""Threads of each instance, as the server makes one, and two, on two cores."""

METHOD = f"""{len(TEXTS)} sentences asked for at once (PCM, streamed, on loopback), then all their
clauses through bare instances in the asking process, {ROUNDS} times, first the one, next time the
other first. Share: the bare instances' time divided by the server's, for the same clauses. Of
processor time likewise (the asking client's is not counted): it tells the server's own work from
what else the machine does. At work: the share of the time in which an instance was in a call, of
all instances; what the server loses between two calls would be missing there, and a machine that is
slow for others' sake is not. Audio-seconds a second are of the audio that was sent."""


@dataclass(frozen=True, slots=True)
class Took:
    """One way through all clauses."""

    wall_s: float
    cpu_s: float
    work_s: float
    """In calls, of all instances together."""


@dataclass(frozen=True, slots=True)
class Round:
    """The server's time and the bare instances' for the same clauses, one after the other."""

    server: Took
    bare: Took
    audio_s: float


def cpu_s(pid: int) -> float:
    """Processor time of a process so far, of all its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def work_s(metrics: str) -> float:
    """Seconds that the voices were in calls so far, by the server's metrics."""
    name = 'antiphon_engine_call_seconds_sum{kind="tts"} '
    return sum(float(line[len(name) :]) for line in metrics.splitlines() if line.startswith(name))


async def _through_server(client: httpx.AsyncClient, pid: int) -> tuple[Took, float]:
    work = work_s((await client.get("/metrics")).text)
    began, cpu = time.perf_counter(), cpu_s(pid)
    answers = await together(client, TEXTS, VOICE)
    wall, cpu = time.perf_counter() - began, cpu_s(pid) - cpu
    work = work_s((await client.get("/metrics")).text) - work
    return Took(wall, cpu, work), sum(answer.audio_s for answer in answers)


async def _through_bare(engines: Bare) -> Took:
    cpu, work = time.process_time(), engines.work_s
    wall_s = await engines.all_s(TEXTS)
    return Took(wall_s, time.process_time() - cpu, engines.work_s - work)


async def measure(server: Running, threads: tuple[int, ...]) -> dict[str, object]:
    """Ask both in turn, print, and return what `--json` writes."""
    rounds: list[Round] = []
    async with (
        bare(threads, VOICE) as engines,
        httpx.AsyncClient(base_url=server.url, timeout=600) as client,
    ):
        await ask(client, "Good morning to all of you.", VOICE)
        for number in range(ROUNDS):
            if number % 2:
                alone = await _through_bare(engines)
            whole, audio_s = await _through_server(client, server.pid)
            if not number % 2:
                alone = await _through_bare(engines)
            rounds.append(Round(whole, alone, audio_s))
            print(
                f"    server {audio_s / whole.wall_s:.2f} audio-seconds a second, "
                f"{whole.cpu_s:.1f} s of processor time; bare {audio_s / alone.wall_s:.2f}, "
                f"{alone.cpu_s:.1f} s",
                flush=True,
            )
    wall = statistics.median(one.bare.wall_s / one.server.wall_s for one in rounds)
    cpu = statistics.median(one.bare.cpu_s / one.server.cpu_s for one in rounds)
    count = len(threads)
    at_work, bare_at_work = (
        statistics.median(took.work_s / took.wall_s / count for took in ways)
        for ways in ([one.server for one in rounds], [one.bare for one in rounds])
    )
    best = max(one.audio_s / one.server.wall_s for one in rounds)
    print(
        f"  share, median of {ROUNDS}: {wall:.3f} (of processor time {cpu:.3f}); "
        f"the server's best round {best:.2f} audio-seconds a second\n"
        f"  at work: the server's {at_work:.1%} of the time, bare {bare_at_work:.1%}"
    )
    return {
        "threads": threads,
        "share": round(wall, 3),
        "share_cpu": round(cpu, 3),
        "at_work": round(at_work, 4),
        "bare_at_work": round(bare_at_work, 4),
        "server": [round(one.audio_s / one.server.wall_s, 2) for one in rounds],
        "bare": [round(one.audio_s / one.bare.wall_s, 2) for one in rounds],
    }


def main() -> dict[str, object]:
    """Run the benchmark on servers of its own; returns what `--json` writes."""
    count = sum(len(clauses(text)) for text in TEXTS)
    print(f"Kokoro through the whole server, {count} clauses\n{METHOD}\n")
    result: dict[str, object] = {}
    for threads in INSTANCES:
        slots = str(len(threads))
        name = f"{slots} instance{'s' if len(threads) > 1 else ''}"
        print(f"  {name}")
        with running(tts_slots=slots, tts_slots_least=slots, **VOICE_ALONE) as server:
            result[name] = asyncio.run(measure(server, threads))
    return result
