"""A text that is played as it comes: whoever has no buffer never runs dry. In virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.bare import clauses
from benchmarks.speech import LONG, ROW
from pipeline.clause_policy import IN_A_CROWD, IN_CONVERSATION, ClausePolicy
from pipeline.config import ScriptConfig
from pipeline.engines.ports import Float32, SpeechRequest, Stop
from pipeline.engines.scripted import ScriptedSynthesizer
from pipeline.pool import TTS, ResourcePool
from pipeline.reading import Reading
from pipeline.signals import Draft, DraftAudio, Event
from pipeline.speaking import Speaking
from pipeline.voicing import REPLY_HZ, VoiceChoice
from tests import virtual_time
from tests.reply_audio import clauses_of

KOKORO = ScriptConfig(tts_first_s=0.12, tts_rtf=0.15)
"""As it is on two cores: so much for each clause, and so much for its audio."""


class Even(ScriptedSynthesizer):
    """Takes `tts_rtf` seconds for each second of audio, from the first sample on."""

    def __init__(self, script: ScriptConfig) -> None:
        super().__init__(ScriptConfig(tts_first_s=0.0, tts_rtf=0.0))
        self._rtf = script.tts_rtf

    async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        async for chunk in super().synthesize(request, stop):
            await asyncio.sleep(self._rtf * len(chunk) / self.rate_hz)
            yield chunk


class Nobody:
    """Wants to know nothing."""

    def queued(self, seconds: float, position: int) -> None: ...

    def skip(self, start: int, end: int, text: str, reason: str) -> None: ...


class Player:
    """Plays what it has, from the first piece on, as it comes."""

    def __init__(self) -> None:
        self._until = 0.0
        self.dry_s: list[float] = []
        self.samples = 0
        """Taken of one reply."""

    def take(self, pcm: bytes) -> None:
        now = asyncio.get_running_loop().time()
        if self._until and now > self._until + 1e-6:
            self.dry_s.append(round(now - self._until, 3))
        self._until = max(self._until, now) + len(pcm) / 2 / REPLY_HZ


async def listened(
    script: ScriptConfig, *texts: str, engine: type[ScriptedSynthesizer] = ScriptedSynthesizer
) -> list[Player]:
    """All of them are read at once, by one engine, to a player each."""
    clock = asyncio.get_running_loop().time
    async with ResourcePool({TTS: [engine(script)]}, clock=clock) as pool:

        async def one(number: int, text: str) -> Player:
            player = Player()
            voice = VoiceChoice("tone")
            reading = Reading(text, f"r{number}", voice, pool, Nobody(), clock=clock)
            async for pcm in reading.pieces():
                player.take(pcm)
            return player

        return await asyncio.gather(*(one(n, text) for n, text in enumerate(texts)))


async def answered(script: ScriptConfig, text: str, policy: ClausePolicy) -> Player:
    """A reply's text is spoken, cut as it is in a conversation."""
    clock = asyncio.get_running_loop().time
    player = Player()

    async def post(event: Event) -> None:
        if isinstance(event, DraftAudio):
            start = player.samples
            player.samples += event.samples
            player.take(speaking.take(start, player.samples))

    async with ResourcePool({TTS: [ScriptedSynthesizer(script)]}, clock=clock) as pool:
        draft, voice = Draft(1, 1, text), VoiceChoice("tone")
        speaking = Speaking(draft, "anna", voice, pool, post, clock=clock)
        await speaking.run(clauses_of(text, policy))
    return player


def slower(script: ScriptConfig, times: float) -> ScriptConfig:
    return ScriptConfig(tts_first_s=times * script.tts_first_s, tts_rtf=times * script.tts_rtf)


@pytest.mark.parametrize("times", [0.25, 1.0, 2.0, 3.0])
def test_three_hundred_words_are_played_without_a_gap(times: float) -> None:
    (player,) = virtual_time.run(listened(slower(KOKORO, times), LONG))
    assert player.dry_s == []


@settings(max_examples=20, deadline=None)
@given(st.permutations(ROW), st.floats(0.1, 2.2))
def test_whatever_the_sentences_there_is_no_gap(row: list[str], times: float) -> None:
    (player,) = virtual_time.run(listened(slower(KOKORO, times), " ".join(row)))
    assert player.dry_s == []


@pytest.mark.parametrize("rtf", [0.5, 0.7, 0.95])
def test_a_voice_that_is_hardly_faster_than_real_time_leaves_no_gap(rtf: float) -> None:
    (player,) = virtual_time.run(listened(ScriptConfig(tts_rtf=rtf), LONG, engine=Even))
    assert player.dry_s == []


@settings(max_examples=10, deadline=None)
@given(st.permutations(ROW), st.floats(0.3, 0.95))
def test_nor_does_it_with_other_sentences(row: list[str], rtf: float) -> None:
    script = ScriptConfig(tts_rtf=rtf)
    (player,) = virtual_time.run(listened(script, " ".join(row), engine=Even))
    assert player.dry_s == []


def test_a_voice_in_no_hurry_is_given_the_clauses_that_a_text_always_has() -> None:
    asked: list[str] = []

    class Noting(ScriptedSynthesizer):
        def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
            asked.append(request.text)
            return super().synthesize(request, stop)

    virtual_time.run(listened(KOKORO, LONG, engine=Noting))
    assert asked == clauses(LONG)


@settings(max_examples=30, deadline=None)
@given(st.permutations(ROW), st.floats(0.1, 1.9), st.sampled_from([IN_CONVERSATION, IN_A_CROWD]))
def test_whatever_the_reply_there_is_no_gap(
    row: list[str], times: float, policy: ClausePolicy
) -> None:
    player = virtual_time.run(answered(slower(KOKORO, times), " ".join(row), policy))
    assert player.samples
    assert player.dry_s == []


def test_an_engine_slower_than_real_time_is_waited_for() -> None:
    (player,) = virtual_time.run(listened(slower(KOKORO, 8.0), LONG))
    assert player.dry_s


def test_two_who_listen_to_one_fast_engine_have_no_gap_either() -> None:
    players = virtual_time.run(listened(slower(KOKORO, 0.4), LONG, " ".join(reversed(ROW))))
    assert [player.dry_s for player in players] == [[], []]
