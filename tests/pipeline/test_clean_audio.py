"""A reply's audio is clean, on its samples: no click, no static, no gap, one loudness.

A dozen replies, cut as conversations are, through the real stages and the real voices.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.clause_policy import IN_A_CROWD, IN_CONVERSATION, READ_ALOUD, ClausePolicy
from pipeline.engines.kokoro_onnx import KokoroOnnxSynthesizer
from pipeline.engines.piper import VOICE
from pipeline.engines.ports import Float32, Synthesizer
from pipeline.voicing import REPLY_HZ
from tests.piper_voice import piper
from tests.reply_audio import Seam, SpokenReply, heard, largest_step_at_silence, spoken

pytestmark = pytest.mark.models

REPLIES = (
    "Sure, I can help. What would you like to know about it?",
    "Well, I think that we could go there. It is a long way, but the road is good and the view "
    "is worth it.",
    "Yes! The train leaves at half past four. You should be at the station by a quarter past, "
    "since it is often full.",
    "Half of the staff laughed. She has seven fresh fish, and he has none.",
    "The most important thing is to keep going, even when it is hard. Nobody learns it in a day. "
    "Ask me again tomorrow.",
    "Of course. There are three ways: by bus, by train, and on foot. Which one do you prefer?",
    "That is a good question, and I am not sure. Let me think about it for a moment.",
    "Oh no! I am sorry to hear that. Did you try to turn it off and on again?",
    "A light wind comes from the west, with some rain in the evening. Take a coat with you; it "
    "may get cold.",
    "Peter picked a pot of pepper. Take two tablets twice today. Stop at the top.",
    "It costs 25 dollars, which is fair. The price includes breakfast, a towel and a map of the "
    "old town.",
    "Dear friend\nthis is a letter. I hope that you are well, and that the children are, too.",
)
KOKORO_VOICES = ("af_heart", "am_michael", "bf_emma")

POLICIES = (IN_CONVERSATION, IN_A_CROWD, READ_ALOUD)

Build = Callable[[Path], tuple[Synthesizer, tuple[str, ...]]]
ENGINES: dict[str, Build] = {
    "kokoro-onnx": lambda models: (KokoroOnnxSynthesizer(models, 2), KOKORO_VOICES),
    "piper": lambda models: (piper(models), (VOICE.name,)),
}


def manner(number: int, voices: tuple[str, ...]) -> tuple[str, ClausePolicy]:
    """Every voice by every policy, as far as the replies reach."""
    policy = POLICIES[number // len(voices) % len(POLICIES)]
    return voices[number % len(voices)], policy


@pytest.fixture(scope="module", params=ENGINES)
def replies(request: pytest.FixtureRequest, models_dir: Path) -> list[SpokenReply]:
    engine, voices = ENGINES[request.param](models_dir)

    async def speak() -> list[SpokenReply]:
        await engine.start()
        try:
            return [
                await spoken(engine, text, *manner(number, voices))
                for number, text in enumerate(REPLIES)
            ]
        finally:
            await engine.close()

    return asyncio.run(speak())


def seams_after(replies: list[SpokenReply], marks: str) -> list[Seam]:
    found = [seam for reply in replies for seam in reply.seams() if "\n" not in seam.after]
    return [s for s in found if (s.before[-1] in marks if marks else s.before[-1].isalnum())]


def test_a_reply_begins_with_its_first_sound(replies: list[SpokenReply]) -> None:
    assert [reply.lead_ms for reply in replies if reply.lead_ms > 40] == []


def test_the_pause_after_a_sentence_is_a_breath(replies: list[SpokenReply]) -> None:
    seams = seams_after(replies, ".!?:")
    assert len(seams) >= 12
    assert [seam for seam in seams if not 200 <= seam.ms <= 400] == []


def test_the_pause_after_a_comma_is_half_of_that(replies: list[SpokenReply]) -> None:
    seams = seams_after(replies, ",;")
    assert len(seams) >= 2
    assert [seam for seam in seams if not 100 <= seam.ms <= 200] == []


def test_where_there_is_no_mark_there_is_no_pause(replies: list[SpokenReply]) -> None:
    seams = seams_after(replies, "")
    assert len(seams) >= 3
    assert [seam for seam in seams if seam.ms > 80] == []


def test_a_new_line_is_heard(replies: list[SpokenReply]) -> None:
    lines = [s for reply in replies for s in reply.seams() if s.after.startswith("\n")]
    assert len(lines) >= 1
    assert [seam for seam in lines if not 200 <= seam.ms <= 400] == []


def test_the_clauses_of_a_reply_are_equally_loud(replies: list[SpokenReply]) -> None:
    spreads = {reply.clauses[0][0]: np.ptp(reply.loudness_db()) for reply in replies}
    assert {text: spread for text, spread in spreads.items() if spread > 3} == {}


def test_no_sound_begins_or_ends_with_a_click(replies: list[SpokenReply]) -> None:
    steps = [largest_step_at_silence(reply.audio) for reply in replies]
    assert [step for step in steps if step > 10 ** (-60 / 20)] == []


def test_the_last_sound_dies_away(replies: list[SpokenReply]) -> None:
    for reply in replies:
        tail = reply.audio[heard(reply.audio)[-1] + 1 :]
        assert len(tail) >= REPLY_HZ // 200
        assert tail[-1] == 0


def test_nothing_clips_and_nothing_wraps_around(replies: list[SpokenReply]) -> None:
    for reply in replies:
        assert np.isfinite(reply.audio).all()
        assert np.abs(reply.audio).max() < 0.97
        assert np.abs(np.diff(reply.audio)).max() < 1.2


def test_silence_is_silent(replies: list[SpokenReply]) -> None:
    for reply in replies:
        for (_, one), (_, other) in zip(reply.clauses, reply.clauses[1:], strict=False):
            between = np.concatenate((one[heard(one)[-1] + 1 :], other[: heard(other)[0]]))
            assert level_db(between[REPLY_HZ // 25 : -REPLY_HZ // 50]) < -70


def level_db(audio: Float32) -> float:
    return (
        float(10 * np.log10(np.mean(audio.astype(np.float64) ** 2) + 1e-12))
        if len(audio)
        else -120.0
    )
