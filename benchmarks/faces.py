"""Voice-to-voice latency over `/ws` and over `/v1/realtime`, turn by turn, in one run."""

from __future__ import annotations

import asyncio
from dataclasses import asdict

import numpy as np

from benchmarks.client import Caller, calling
from benchmarks.clips import clips_without_pauses
from benchmarks.latency import INSTRUCTIONS, TURNS, Quantiles
from benchmarks.realtime_line import RATE_HZ, realtime_line
from pipeline.audio import float_to_pcm16, pcm16_to_float
from pipeline.resampling import Resampler
from server.cli.wav import Recording, read_wav

LISTEN_S = 2.0
WITHIN_MS = 30.0
"""How much later Realtime may be at p50."""

METHOD = f"""Two sessions on one server, one over each protocol, both with audio of 24 kHz. They
take turns: the same clip is said to the one, then to the other (who goes first alternates), while
the other hears noise at -60 dBFS. Measured as voice-to-voice latency of one user is; each reply is
listened to for {LISTEN_S:g} s, then cancelled."""


def clip_at(recording: Recording) -> Recording:
    """The same, at the rate of both lines."""
    resampler = Resampler(recording.rate_hz, RATE_HZ)
    samples = pcm16_to_float(recording.samples.tobytes())
    pcm = float_to_pcm16(resampler.feed(samples)) + float_to_pcm16(resampler.flush())
    return Recording(np.frombuffer(pcm, "<i2"), RATE_HZ)


async def measure(url: str, turns: int) -> dict[str, list[float]]:
    """Milliseconds by protocol, of the turns that were answered."""
    clips = [clip_at(read_wav(clip.path)) for clip in clips_without_pauses()]
    taken: dict[str, list[float]] = {"native": [], "realtime": []}
    async with (
        calling(url, rate_hz=RATE_HZ, instructions=INSTRUCTIONS) as native,
        calling(url, line=realtime_line, rate_hz=RATE_HZ, instructions=INSTRUCTIONS) as realtime,
    ):
        callers: list[tuple[str, Caller]] = [("native", native), ("realtime", realtime)]
        for number in range(turns):
            for name, caller in callers if number % 2 == 0 else reversed(callers):
                try:
                    turn = await caller.say(clips[number % len(clips)], listen_s=LISTEN_S)
                except TimeoutError:
                    continue
                if turn.voice_to_voice_s is not None:
                    taken[name].append(turn.voice_to_voice_s * 1_000)
                    print(f"  turn {number + 1:2}  {name:8} {taken[name][-1]:5.0f} ms", flush=True)
    return taken


def main(url: str, turns: int = TURNS) -> dict[str, object]:
    """Run the benchmark against `url` and print it; returns what `--json` writes."""
    print(f"Voice-to-voice latency over both protocols\n{METHOD}\n")
    taken = asyncio.run(measure(url, turns))
    quantiles = {name: Quantiles.of(values) for name, values in taken.items() if values}
    result: dict[str, object] = {"turns": turns}
    for name, quantile in quantiles.items():
        print(f"  {name:9} {quantile}   {len(taken[name])} of {turns} answered")
        result[f"{name}_ms"] = asdict(quantile)
    if len(quantiles) == 2:
        later_ms = round(quantiles["realtime"].p50 - quantiles["native"].p50, 1)
        verdict = "within" if later_ms <= WITHIN_MS else "not within"
        print(f"  realtime is {later_ms:+.0f} ms later at p50: {verdict} {WITHIN_MS:.0f} ms")
        result["later_ms"] = later_ms
    return result
