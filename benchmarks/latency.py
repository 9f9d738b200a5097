"""Voice-to-voice latency of one user: from the last voiced sample to the first audible one."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import inf, isfinite

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
listened to for {LISTEN_S:g} s, then cancelled. The first turn is counted too. A turn without an
audible answer takes for ever, in p50 and p95 too; a reply that sounds before the end of speech is a
cut-off, which has no latency. Both are failures. The parts are the server's own
reply_done.latency_ms; their quantiles are each part's own and do not add up."""


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Milliseconds."""

    p50: float
    p95: float

    @classmethod
    def of(cls, values_ms: Sequence[float]) -> Quantiles:
        """Inclusive quantiles of at least one value, of which some may be infinite."""
        ordered = sorted(values_ms)
        return cls(round(_twentieth(ordered, 10), 1), round(_twentieth(ordered, 19), 1))

    def written(self) -> dict[str, float | None]:
        """As JSON has it, which knows no infinity: null."""
        return {name: ms if isfinite(ms) else None for name, ms in asdict(self).items()}

    def __str__(self) -> str:
        return f"p50 {self.p50:6.0f} ms   p95 {self.p95:6.0f} ms"


def _twentieth(ordered: Sequence[float], number: int) -> float:
    """The quantile at so many twentieths, without a product of infinity and nought."""
    at, rest = divmod(number * (len(ordered) - 1), 20)
    if not rest:
        return ordered[at]
    return (ordered[at] * (20 - rest) + ordered[at + 1] * rest) / 20


def wait_ms(turn: Turn | None) -> float | None:
    """How long the user waited, for ever without an answer; None when they were cut off."""
    if turn is not None and turn.cut_off:
        return None
    waited_s = None if turn is None else turn.voice_to_voice_s
    return inf if waited_s is None else float(waited_s) * 1_000


async def measure(url: str, turns: int = TURNS) -> list[Turn | None]:
    """So many turns in one session, the clips in rotation; None for each that got no answer."""
    said = clips_without_pauses()
    taken: list[Turn | None] = []
    async with calling(url, instructions=INSTRUCTIONS) as caller:
        for number in range(turns):
            clip = said[number % len(said)]
            print(f"  turn {number + 1:2}  {clip.path.stem}  ", end="", flush=True)
            try:
                turn = await caller.say(read_wav(clip.path), listen_s=LISTEN_S)
            except TimeoutError:
                print("no answer")
                taken.append(None)
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
    result, quantiles = summary(taken)
    print()
    for name, quantile in quantiles.items():
        print(f"  {name.replace('_', '-'):15} {quantile}")
    answered = f"{result['answered']} of {turns} turns answered"
    print(f"  {answered}, {result['cut_off']} cut off, {result['stalls']} stalls", end="")
    print(f" ({result['stalled_s']} s)")
    return result


def summary(taken: Sequence[Turn | None]) -> tuple[dict[str, object], dict[str, Quantiles]]:
    """What `--json` writes, and the quantiles in it by what they are of."""
    waits_ms = [ms for turn in taken if (ms := wait_ms(turn)) is not None]
    turns = [turn for turn in taken if turn is not None]
    answered_ms = [ms for ms in waits_ms if isfinite(ms)]
    result: dict[str, object] = {
        "turns": len(taken),
        "answered": len(answered_ms),
        "no_answer": len(waits_ms) - len(answered_ms),
        "cut_off": len(taken) - len(waits_ms),
        "failures": len(taken) - len(answered_ms),
        "stalls": sum(len(turn.playback.stalls_s) for turn in turns),
        "stalled_s": round(sum(sum(turn.playback.stalls_s) for turn in turns), 3),
        "all_ms": [round(value) for value in answered_ms],
    }
    measured = {"voice_to_voice": waits_ms} | {
        part: [t.reply.latency_ms[part] for t in turns if part in t.reply.latency_ms]
        for part in PARTS
    }
    quantiles = {name: Quantiles.of(values) for name, values in measured.items() if values}
    result |= {f"{name}_ms": quantile.written() for name, quantile in quantiles.items()}
    return result, quantiles
