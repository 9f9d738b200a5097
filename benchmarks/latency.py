"""Voice-to-voice latency of one user: from the last voiced sample to the first audible one."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from benchmarks.client import Turn, calling
from benchmarks.clips import clips_without_pauses
from server.cli.wav import read_wav

TURNS = 20
LISTEN_S = 6.0
PARTS = ("endpoint", "stt", "llm", "tts", "total")
INSTRUCTIONS = "You are in a voice call. Answer in one short sentence."

METHOD = f"""One user in one session; clips without inner pauses in 20 ms frames in real time, then
noise at -60 dBFS, turn detection auto. From the last sample above -40 dB of the clip's peak to the
first reply sample above -50 dBFS at a real-time playback without a jitter buffer. Each reply is
listened to for {LISTEN_S:g} s, then cancelled. The first turn is counted too. The parts are the
server's own reply_done.latency_ms; their quantiles are each part's own and do not add up."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Milliseconds."""

    p50: float
    p95: float

    @classmethod
    def of(cls, values_ms: Sequence[float]) -> Quantiles:
        """Inclusive quantiles of at least one value."""
        if len(values_ms) == 1:
            return cls(values_ms[0], values_ms[0])
        cuts = statistics.quantiles(values_ms, n=20, method="inclusive")
        return cls(round(statistics.median(values_ms), 1), round(cuts[18], 1))

    def __str__(self) -> str:
        return f"p50 {self.p50:6.0f} ms   p95 {self.p95:6.0f} ms"


async def measure(url: str, turns: int = TURNS) -> list[Turn]:
    """So many turns in one session, the clips in rotation; without those that got no answer."""
    said = clips_without_pauses()
    taken: list[Turn] = []
    async with calling(url, instructions=INSTRUCTIONS) as caller:
        for number in range(turns):
            clip = said[number % len(said)]
            print(f"  turn {number + 1:2}  {clip.path.stem}  ", end="", flush=True)
            try:
                turn = await caller.say(read_wav(clip.path), listen_s=LISTEN_S)
            except TimeoutError:
                print("no answer")
                continue
            taken.append(turn)
            print(_one_line(turn), flush=True)
    return taken


def _one_line(turn: Turn) -> str:
    latency_s = turn.voice_to_voice_s
    if latency_s is None:
        outcome = "cut off" if turn.cut_off else f"no audible reply ({turn.reply.status})"
    else:
        outcome = f"{latency_s * 1_000:5.0f} ms"
    parts = " ".join(
        f"{part} {turn.reply.latency_ms[part]:.0f}"
        for part in PARTS
        if part in turn.reply.latency_ms
    )
    return f"{outcome}  ({parts})"


def main(url: str, turns: int = TURNS) -> dict[str, object]:
    """Run the benchmark against `url` and print it; returns what `--json` writes."""
    print(f"Voice-to-voice latency, 1 user\n{METHOD}\n")
    taken = asyncio.run(measure(url, turns))
    latencies_ms = [t.voice_to_voice_s * 1_000 for t in taken if t.voice_to_voice_s is not None]
    result: dict[str, object] = {
        "turns": turns,
        "answered": len(latencies_ms),
        "cut_off": sum(turn.cut_off for turn in taken),
        "stalls": sum(len(turn.playback.stalls_s) for turn in taken),
        "stalled_s": round(sum(sum(turn.playback.stalls_s) for turn in taken), 3),
        "all_ms": [round(value) for value in latencies_ms],
    }
    print()
    if latencies_ms:
        quantiles = {"voice_to_voice": Quantiles.of(latencies_ms)} | {
            part: Quantiles.of(values)
            for part in PARTS
            if (values := [t.reply.latency_ms[part] for t in taken if part in t.reply.latency_ms])
        }
        for name, quantile in quantiles.items():
            print(f"  {name.replace('_', '-'):15} {quantile}")
        result |= {f"{name}_ms": asdict(quantile) for name, quantile in quantiles.items()}
    answered = f"{result['answered']} of {turns} turns answered"
    print(f"  {answered}, {result['cut_off']} cut off, {result['stalls']} stalls", end="")
    print(f" ({result['stalled_s']} s)")
    return result
