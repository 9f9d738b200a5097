"""Eight people at voices that cannot keep up with them, one of them greedy: who hears how much."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from typing import Any
from unittest import mock

from pipeline.config import EngineConfig, ScriptConfig
from pipeline.engines.build import build
from pipeline.engines.engine_set import Engines
from pipeline.engines.errands import CURRENT
from pipeline.engines.ports import Float32, SpeechRequest, Stop
from pipeline.engines.scripted import ScriptedSynthesizer
from pipeline.voicing import REPLY_HZ
from tests.support import Caller, call, jain, live_server

PEOPLE = 8
ALL_VOICES = 1.5
"""Seconds of speech that all voices make in a second, together (with the pauses between clauses
it is some four): half of what eight people hear."""
STORY = "And then one more thing came of it. " * 150
ANSWER = "Twenty-four characters!!"
"""One clause, so that every answer is as much work as any other."""
SETTLE_S, MEASURED_S = 1.5, 6.0
"""The first clauses are shorter than those that follow."""

Greed = Callable[[Caller, dict[str, Any] | bytes], Awaitable[None]]
"""What somebody does about what was heard."""


async def listens(caller: Caller, heard: dict[str, Any] | bytes) -> None:
    """Hears each answer out, and asks the next thing then."""
    if isinstance(heard, dict) and heard["type"] == "reply_audio_end":
        await asyncio.sleep(heard["audio_ms"] / 1000)
        await asks_anew(caller, b"")


async def hears_at_once(caller: Caller, heard: dict[str, Any] | bytes) -> None:
    """Says of all audio that it has been played: more may be made."""
    if isinstance(heard, bytes):
        played_ms = 1000 * len(caller.audio[caller._reply]) / 2 / REPLY_HZ
        await caller.say("playback", reply=caller._reply, played_ms=played_ms)


async def asks_anew(caller: Caller, heard: dict[str, Any] | bytes) -> None:
    """Asks the next thing as soon as anything is heard: a first clause is due at once."""
    if isinstance(heard, bytes):
        await caller.say("text", text="tell me another story")
        await caller.until("reply_started")


@dataclass(frozen=True)
class Shares:
    """What each of the eight had, in seconds of audio; the last one is the greedy one."""

    made: list[float]
    """For them, by the voices."""
    heard: list[float]
    """Of it, by them."""


async def shared_out(voices: int, greed: Greed, text: str = STORY) -> Shares:
    """Eight who are told the text at so many voices, for a while."""
    script = ScriptConfig(
        llm_text=text, llm_tokens_per_s=1_000, tts_s_per_char=0.005,
        tts_first_s=0.05 if text is ANSWER else 0.0, tts_rtf=voices / ALL_VOICES,
    )  # fmt: skip

    def scripted(config: EngineConfig) -> Engines:
        return build(replace(config, script=script))

    async def listen(caller: Caller, greedy: bool) -> None:
        await caller.say("text", text="tell me a story")
        while True:
            frame = await caller.next()
            await (greed if greedy else listens)(caller, frame)

    callers: list[Caller] = []
    made: Counter[str] = Counter()
    voice = ScriptedSynthesizer.synthesize

    async def synthesize(
        engine: ScriptedSynthesizer, request: SpeechRequest, stop: Stop
    ) -> AsyncIterator[Float32]:
        async for chunk in voice(engine, request, stop):
            yield chunk
            made[CURRENT.get().owner] += len(chunk)  # type: ignore[union-attr]

    def heard() -> list[float]:
        return [sum(map(len, c.audio.values())) / 2 / REPLY_HZ for c in callers]

    def served() -> list[float]:
        return [made[c.of("welcome")[0]["session"]] / REPLY_HZ for c in callers]

    with (
        mock.patch("server.app.build", scripted),
        mock.patch.object(ScriptedSynthesizer, "synthesize", synthesize),
    ):
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
            before = served(), heard()
            await asyncio.sleep(MEASURED_S)
            after = served(), heard()
            waits_ms = server.house.pool.status()["tts"].wait_ms_p50
            for task in tasks:
                task.cancel()
    shares = Shares(
        *([b - a for a, b in zip(*looks, strict=True)] for looks in zip(before, after, strict=True))
    )
    assert waits_ms > 100, "all had what they wanted"
    return shares


async def test_who_hears_faster_than_anybody_gets_no_more_than_the_others() -> None:
    had = await shared_out(3, hears_at_once)
    assert jain(had.made) >= 0.95, had
    assert jain(had.heard) >= 0.95, had


async def test_who_asks_anew_at_once_gets_no_more_than_who_hears_each_answer_out() -> None:
    had = await shared_out(1, asks_anew, ANSWER)
    assert jain(had.made) >= 0.95, had
    assert jain(had.heard) >= 0.95, had


async def test_who_asks_without_listening_takes_nothing_from_the_others() -> None:
    had = await shared_out(1, asks_anew)
    assert jain(had.heard[:-1]) >= 0.95, had
    # Less, for each of its turns is a first clause, which is short.
    assert had.heard[-1] <= sum(had.heard) / PEOPLE * 1.1, had
