"""Users against latency: more and more callers at once, until answers are too late."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.util import find_spec

from benchmarks.client import calling
from benchmarks.crowd import ARRIVAL_S, Calls, crowd
from benchmarks.latency import INSTRUCTIONS, LISTEN_S
from benchmarks.serving import serving

USERS = (1, 2, 4, 6, 8, 12, 16, 24)
TURNS = 8
TOO_LATE_MS = 1_500.0
"""The p95 at which a curve ends: the level that passes it is its last."""

GOALS_MS = {("piper", 4): (600.0, 1_300.0), ("piper", 8): (700.0, 1_500.0)}
"""Of a voice and so many users: the p50 and the p95, without a stall."""

METHOD = f"""More and more callers at once, each for {TURNS} turns (a lone one for {2 * TURNS}),
until the p95 of voice-to-voice latency passes {TOO_LATE_MS:.0f} ms. They arrive at random within
{ARRIVAL_S:g} s and say the clips of tests/speech without pauses inside, each in another order. Each
reply is listened to for {LISTEN_S:g} s, then cancelled. Latency as in the latency benchmark. All of
it on this machine, callers included; one server for all levels."""


def engines() -> list[str]:
    """The voices that can be measured here."""
    return ["kokoro-onnx", *(["piper"] if find_spec("piper") else [])]


async def _level(url: str, users: int, turns: int) -> Calls:
    turns = turns if users > 1 else 2 * turns
    return await crowd(
        lambda: calling(url, instructions=INSTRUCTIONS), callers=users, turns=turns, quiet=True
    )


def curve(engine: str, levels_of: Sequence[int], turns: int) -> list[dict[str, object]]:
    """One level after the other with this voice; printed as they come."""
    levels = []
    with serving(tts_engine=engine) as url:
        for users in levels_of:
            calls = asyncio.run(_level(url, users, turns))
            level = {"users": users, **calls.summary()}
            levels.append(level)
            quantiles = calls.quantiles
            print(
                f"  {engine:12} {users:3} users   {quantiles}   "
                f"{level['answered']} of {level['turns']} answered, {level['cut_off']} cut off, "
                f"{level['stalls']} stalls (longest {level['longest_stall_s']} s)",
                flush=True,
            )
            if (goal := GOALS_MS.get((engine, users))) is not None:
                p50, p95 = goal
                good = quantiles.p50 <= p50 and quantiles.p95 <= p95 and not level["stalls"]
                verdict = "reached" if good else "MISSED"
                print(f"  goal p50 {p50:.0f} ms, p95 {p95:.0f} ms, no stall: {verdict}", flush=True)
            if quantiles.p95 > TOO_LATE_MS:
                break
    return levels


def main(users: Sequence[int] | None = None, turns: int | None = None) -> dict[str, object]:
    """Measure every voice that is installed, at these levels or at all; returns what `--json`
    writes."""
    print(f"Users against latency\n{METHOD}\n")
    return {engine: curve(engine, users or USERS, turns or TURNS) for engine in engines()}
