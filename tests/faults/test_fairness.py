"""Eight people at voices that cannot keep up with them, one of them greedy: who hears how much."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from unittest import mock

from pipeline.config import EngineConfig, ScriptConfig
from pipeline.engines.build import Engines, build
from pipeline.voicing import REPLY_HZ
from tests.support import Caller, call, jain, live_server

PEOPLE = 8
ALL_VOICES = 1.5
"""Seconds of speech that all voices make in a second, together (with the pauses between clauses
it is some four): half of what eight people hear."""
STORY = "And then one more thing came of it. " * 150
SETTLE_S, MEASURED_S = 1.5, 6.0
"""The first clauses are shorter than those that follow."""

Greed = Callable[[Caller, dict[str, object] | bytes], Awaitable[None]]


async def hears_at_once(caller: Caller, heard: dict[str, object] | bytes) -> None:
    """Says of all audio that it has been played: more may be made."""
    if isinstance(heard, bytes):
        played_ms = 1000 * len(caller.audio[caller._reply]) / 2 / REPLY_HZ
        await caller.say("playback", reply=caller._reply, played_ms=played_ms)


async def asks_anew(caller: Caller, heard: dict[str, object] | bytes) -> None:
    """Asks the next thing as soon as anything is heard: a first clause is due at once."""
    if isinstance(heard, bytes):
        await caller.say("text", text="tell me another story")
        await caller.until("reply_started")


async def heard_by_each(voices: int, greed: Greed) -> list[float]:
    """Seconds of audio that each of the eight received; the last one is the greedy one."""
    script = ScriptConfig(
        llm_text=STORY, llm_tokens_per_s=1_000, tts_s_per_char=0.005, tts_first_s=0.0,
        tts_rtf=voices / ALL_VOICES,
    )  # fmt: skip

    def scripted(config: EngineConfig) -> Engines:
        return build(replace(config, script=script))

    async def listen(caller: Caller, greedy: bool) -> None:
        await caller.say("text", text="tell me a story")
        while True:
            frame = await caller.next()
            if greedy:
                await greed(caller, frame)

    callers: list[Caller] = []

    def heard() -> list[int]:
        return [sum(map(len, caller.audio.values())) for caller in callers]

    with mock.patch("server.app.build", scripted):
        async with (
            live_server(
                ANTIPHON_TTS_SLOTS=str(voices),
                ANTIPHON_TURNS_PER_MINUTE="10000",
                ANTIPHON_REPLY_TOKENS="4096",
            ) as server,
            asyncio.TaskGroup() as listening,
        ):
            ready = asyncio.Event()

            async def one(greedy: bool) -> None:
                async with call(server.ws_url, {"voice": "tone"}) as caller:
                    callers.append(caller)
                    if len(callers) == PEOPLE:
                        ready.set()
                    await ready.wait()
                    await listen(caller, greedy)

            tasks = [listening.create_task(one(False)) for _ in range(PEOPLE - 1)]
            while len(callers) < PEOPLE - 1:
                await asyncio.sleep(0.01)
            tasks.append(listening.create_task(one(True)))
            async with asyncio.timeout(20):
                while not all(heard()):
                    await asyncio.sleep(0.01)
            await asyncio.sleep(SETTLE_S)
            before = heard()
            await asyncio.sleep(MEASURED_S)
            after = heard()
            for task in tasks:
                task.cancel()
    shares = [(b - a) / 2 / REPLY_HZ for a, b in zip(before, after, strict=True)]
    assert sum(shares[:-1]) < 0.75 * MEASURED_S * (PEOPLE - 1), "all had what they wanted"
    return shares


async def test_who_hears_faster_than_anybody_gets_no_more_than_the_others() -> None:
    heard = await heard_by_each(3, hears_at_once)
    assert jain(heard) >= 0.95, heard


async def test_who_asks_without_listening_takes_nothing_from_the_others() -> None:
    heard = await heard_by_each(1, asks_anew)
    assert jain(heard[:-1]) >= 0.95, heard
    assert heard[-1] <= sum(heard) / PEOPLE * 1.1, heard
