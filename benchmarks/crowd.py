"""Several callers at once, arriving at random: the turns of all of them, whoever serves them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager, suppress
from dataclasses import dataclass
from math import inf, isfinite

from benchmarks.client import Caller, Turn
from benchmarks.clips import Clip, clips_without_pauses
from benchmarks.latency import LISTEN_S, Quantiles, wait_ms
from server.cli.wav import read_wav

ARRIVAL_S = 5.0
"""Callers arrive at random times within this; a single one at once."""

Call = Callable[[], AbstractAsyncContextManager[Caller]]


@dataclass(frozen=True, slots=True)
class Calls:
    """What came of all turns of all callers. An unanswered turn is None."""

    turns: tuple[Turn | None, ...]

    @property
    def answered(self) -> list[Turn]:
        return [turn for turn in self.turns if turn is not None]

    @property
    def waits_ms(self) -> list[float]:
        """Voice-to-voice latencies, infinite without an answer; not of the turns cut off."""
        return [ms for turn in self.turns if (ms := wait_ms(turn)) is not None]

    @property
    def stalls_s(self) -> list[float]:
        return [stall for turn in self.answered for stall in turn.playback.stalls_s]

    @property
    def quantiles(self) -> Quantiles:
        """Of the waits; for ever when there is none: all were cut off."""
        return Quantiles.of(self.waits_ms or [inf])

    def summary(self) -> dict[str, object]:
        """What `--json` writes."""
        waits_ms = self.waits_ms
        answered_ms = [ms for ms in waits_ms if isfinite(ms)]
        return {
            "turns": len(self.turns),
            "answered": len(answered_ms),
            "no_answer": len(waits_ms) - len(answered_ms),
            "cut_off": len(self.turns) - len(waits_ms),
            "failures": len(self.turns) - len(answered_ms),
            "stalls": len(self.stalls_s),
            "stalled_s": round(sum(self.stalls_s), 3),
            "longest_stall_s": round(max(self.stalls_s, default=0.0), 3),
            "all_ms": [round(value) for value in answered_ms],
            "voice_to_voice_ms": self.quantiles.written(),
        }


async def crowd(
    call: Call, *, callers: int, turns: int, seed: int = 0, quiet: bool = False
) -> Calls:
    """Let each of the callers take so many turns on a line of its own; `quiet` prints none of them.

    Their clips are the same, in an order that differs from caller to caller. Each reply is heard
    for 6 s, then cancelled. Raises what `calling` raises, in an ExceptionGroup.
    """
    arrivals = random.Random(seed)
    said = clips_without_pauses()
    taken: list[Turn | None] = []
    async with asyncio.TaskGroup() as group:
        for number in range(callers):
            after_s = arrivals.uniform(0, ARRIVAL_S) if callers > 1 else 0.0
            own = [said[(number + turn) % len(said)] for turn in range(turns)]
            group.create_task(_one_caller(call, number + 1, after_s, own, taken, quiet=quiet))
    return Calls(tuple(taken))


async def _one_caller(
    call: Call,
    number: int,
    after_s: float,
    clips: Sequence[Clip],
    taken: list[Turn | None],
    *,
    quiet: bool,
) -> None:
    await asyncio.sleep(after_s)
    async with call() as caller:
        for clip in clips:
            turn: Turn | None = None
            with suppress(TimeoutError):
                turn = await caller.say(read_wav(clip.path), listen_s=LISTEN_S)
            taken.append(turn)
            if not quiet:
                print(f"  caller {number}  {clip.path.stem}  {_outcome(turn)}", flush=True)


def _outcome(turn: Turn | None) -> str:
    if turn is None:
        return "no answer"
    if turn.voice_to_voice_s is None:
        return "cut off" if turn.cut_off else f"no audible reply ({turn.reply.status})"
    return f"{turn.voice_to_voice_s * 1_000:5.0f} ms  {' '.join(turn.transcripts)}"
