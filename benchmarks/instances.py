"""How many Kokoros on these cores, and of how many threads: for one caller, and for many."""

from __future__ import annotations

import asyncio
import statistics
import time

from benchmarks.bare import Bare, bare
from benchmarks.speech import ROW, VOICE

TEXTS = ROW[:4]
ROUNDS = 5
THREADS = (2, 1, 1)
"""Of each instance that is loaded."""
LAYOUTS: dict[str, tuple[int, ...]] = {
    "one of two threads": (0,),
    "two of one thread": (1, 2),
    "one of two threads, one of one": (0, 1),
}
"""Which of them are asked."""

METHOD = f"""All layouts in turn, {ROUNDS} times, each time another one first. One caller: a first
clause in the first instance, nobody else asks. Many: the clauses of {len(TEXTS)} sentences, each by
the next instance that is free. Audio-seconds by the clock, and by processor time, which tells less
of what else the machine does; medians."""


async def measure() -> dict[str, dict[str, float]]:
    """By layout: milliseconds of a first clause, audio-seconds a second and a processor-second."""
    rounds: dict[str, list[tuple[float, float, float]]] = {name: [] for name in LAYOUTS}
    async with bare(THREADS, VOICE) as loaded:
        for number in range(ROUNDS):
            names = list(LAYOUTS)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                rounds[name].append(await _round(loaded.only(*LAYOUTS[name])))
    return {
        name: {
            "first_clause_ms": round(statistics.median(first for first, _, _ in taken), 1),
            "audio_s_a_second": round(statistics.median(wall for _, wall, _ in taken), 2),
            "audio_s_a_cpu_second": round(statistics.median(cpu for _, _, cpu in taken), 2),
        }
        for name, taken in rounds.items()
    }


async def _round(engines: Bare) -> tuple[float, float, float]:
    first_s = await engines.first_s(TEXTS[0])
    made_s, cpu_s = engines.made_s, time.process_time()
    wall_s = await engines.all_s(TEXTS)
    made_s, cpu_s = engines.made_s - made_s, time.process_time() - cpu_s
    return 1000 * first_s, made_s / wall_s, made_s / cpu_s


def main() -> dict[str, object]:
    """Run the benchmark and print it; returns what `--json` writes."""
    print(f"Kokoro's instances\n{METHOD}\n")
    figures = asyncio.run(measure())
    for name, of in figures.items():
        print(
            f"  {name:32} first clause {of['first_clause_ms']:4.0f} ms, "
            f"{of['audio_s_a_second']:.2f} audio-seconds a second, "
            f"{of['audio_s_a_cpu_second']:.2f} a processor-second"
        )
    return dict(figures)
