"""What the pool itself costs: one seat that is always wanted, against the time of its engine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

from pipeline.engines.ports import Stop
from pipeline.engines.threads import EngineThreads
from pipeline.pool import TTS, Purpose, ResourcePool

OWNERS = 8
CALLS = 100
"""Of each owner."""
CHUNKS = 3
CHUNK_S = 0.005

METHOD = f"""{OWNERS} owners, {CALLS} calls each, one seat. A call gives {CHUNKS} chunks, each of
which keeps a thread for {CHUNK_S * 1000:g} ms; the engine's time is measured there. Overhead is all
other time, from one call to the next: queue, lease, tasks, the way to the thread and back."""


class Worker:
    """Keeps a thread for a while for each chunk; knows for how long in all, and with whom."""

    def __init__(self) -> None:
        self._threads = EngineThreads("worker", 1)
        self.worked_s = 0.0
        self.running = self.most = 0

    def _work(self) -> None:
        began = time.perf_counter()
        time.sleep(CHUNK_S)
        self.worked_s += time.perf_counter() - began

    async def chunks(self, stop: Stop) -> AsyncIterator[int]:
        """The next chunk whenever it is done."""
        self.running += 1
        self.most = max(self.most, self.running)
        for number in range(CHUNKS):
            await self._threads.run(self._work)
            yield number
        self.running -= 1

    async def close(self) -> None:
        """End the thread."""
        await self._threads.close()


async def measure() -> tuple[float, Worker]:
    """Seconds from the first lease to the end of the last, and the engine."""
    worker = Worker()

    async def owner(name: str) -> None:
        for _ in range(CALLS):
            async with pool.lease(TTS, name, purpose=Purpose.FIRST_CLAUSE) as slot:
                async for _ in slot.stream(lambda engine, stop: worker.chunks(stop)):
                    pass

    async with ResourcePool({TTS: [worker]}) as pool:
        await asyncio.gather(*(owner(f"warm-up {number}") for number in range(2)))
        worker.worked_s = 0.0
        began = time.perf_counter()
        await asyncio.gather(*(owner(f"owner {number}") for number in range(OWNERS)))
        took_s = time.perf_counter() - began
    await worker.close()
    return took_s, worker


def main() -> dict[str, object]:
    """Run the benchmark and print it; returns what `--json` writes."""
    print(f"The pool's own cost\n{METHOD}\n")
    took_s, worker = asyncio.run(measure())
    overhead = (took_s - worker.worked_s) / worker.worked_s
    each_ms = 1000 * (took_s - worker.worked_s) / (OWNERS * CALLS)
    print(f"  engine {worker.worked_s:.2f} s, in all {took_s:.2f} s: {overhead:.1%} overhead,")
    print(f"  {each_ms:.2f} ms a call; at most {worker.most} at once")
    return {
        "engine_s": round(worker.worked_s, 3),
        "overhead": round(overhead, 4),
        "overhead_ms_a_call": round(each_ms, 3),
        "most_at_once": worker.most,
    }
