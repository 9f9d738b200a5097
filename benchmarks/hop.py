"""What the way to a replica costs: the first chunk of a clause on Ray, beside one in process."""

from __future__ import annotations

import asyncio
import importlib.util
import statistics
import time
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path

from pipeline.config import EngineConfig, RayConfig, ScriptConfig
from pipeline.engines.build import build, ray_parts
from pipeline.engines.ports import SpeechRequest, Synthesizer
from pipeline.engines.ray_serve import RayLink, RaySynthesizer
from pipeline.percentiles import percentile
from pipeline.pool import TTS, ResourcePool, Supply

STREAMS = 8
CALLS = 25
"""Of each stream, on either side, in each round."""
ROUNDS = 4
FIRST_S, RTF = 0.02, 0.4
"""What the scripted voice takes to its first chunk, and then for a second of audio."""
TEXT = "Sure."
LIMITS_MS = {"p50": 5.0, "p95": 15.0}

METHOD = f"""{STREAMS} streams at once, {ROUNDS} rounds of {CALLS} clauses each, by turns in this
process and on a Ray of its own with one replica. The voice is scripted: a first chunk after
{FIRST_S * 1000:g} ms, 100 ms of audio a chunk. Measured: from the call, in a leased slot, to its
first chunk. What is more on Ray is the hop; its limits are {LIMITS_MS["p50"]:g} ms at p50 and
{LIMITS_MS["p95"]:g} ms at p95, difference of the percentiles."""


async def first_chunks(engines: tuple[Synthesizer, ...], seats: int) -> list[float]:
    """One round: seconds to each first chunk."""
    found: list[float] = []
    async with ResourcePool({TTS: Supply(engines, seats)}) as pool:

        async def stream(owner: str) -> None:
            request = SpeechRequest(TEXT, "tone")
            for _ in range(CALLS):
                async with pool.lease(TTS, owner) as slot:
                    began = time.perf_counter()
                    first = 0.0
                    chunks = slot.stream(lambda e, stop: e.synthesize(request, stop))
                    async with aclosing(chunks):  # type: ignore[type-var]
                        async for _chunk in chunks:
                            first = first or time.perf_counter() - began
                found.append(first)

        async with asyncio.TaskGroup() as tasks:
            for number in range(STREAMS):
                tasks.create_task(stream(f"stream {number}"))
    return found


async def measure() -> tuple[list[float], list[float]]:
    """Seconds to the first chunk: in process, and on Ray."""
    config = EngineConfig(
        Path(), stt_engine="scripted", tts_engine="scripted", vad_engine="scripted",
        llm_engine="scripted", tts_slots=STREAMS,
        script=ScriptConfig(tts_first_s=FIRST_S, tts_rtf=RTF),
    )  # fmt: skip
    here = build(config)
    voice = _voice_on_ray(config)
    await voice.start()
    try:
        await first_chunks((voice,), STREAMS)  # the first calls open connections
        local: list[float] = []
        remote: list[float] = []
        for _ in range(ROUNDS):
            local += await first_chunks(here.synthesizers, 1)
            remote += await first_chunks((voice,), STREAMS)
        return local, remote
    finally:
        await voice.close()


def _voice_on_ray(config: EngineConfig) -> RaySynthesizer:
    """One replica that takes all streams at once: what is compared is the way, not the queue."""
    (tts,) = [part for part in ray_parts(replace(config, ray=RayConfig())) if part.kind == "tts"]
    return RaySynthesizer(RayLink(RayConfig(), (replace(tts, seats=STREAMS),)))


def main() -> dict[str, object]:
    """Print the two sides and their difference."""
    print(f"The hop to a replica\n{METHOD}\n")
    if importlib.util.find_spec("ray") is None:
        print("not measured: Ray is not installed (make setup EXTRAS=ray)")
        return {}
    local, remote = asyncio.run(measure())
    results: dict[str, object] = {}
    for name, p in (("p50", 0.5), ("p95", 0.95)):
        here, there = (1000 * (percentile(sorted(side), p) or 0.0) for side in (local, remote))
        results[name] = {"in_process_ms": here, "ray_ms": there, "hop_ms": there - here}
        print(
            f"{name}: in process {here:5.1f} ms, on Ray {there:5.1f} ms; the hop"
            f" {there - here:4.1f} ms (limit {LIMITS_MS[name]:g})"
        )
    print(f"mean of the hop: {1000 * (statistics.mean(remote) - statistics.mean(local)):.1f} ms")
    return results
