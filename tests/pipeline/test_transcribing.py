"""A long recording in words, window by window through the pool."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import PoolConfig
from pipeline.engines.ports import (
    SPEECH_HZ,
    EngineInfo,
    Float32,
    SpeechWindow,
    Stop,
    Transcript,
    Word,
)
from pipeline.errors import PoolTimeout, SttFailed
from pipeline.file_audio import Stretch
from pipeline.pool import STT, Purpose, ResourcePool
from pipeline.transcribing import MOST_LOOKS, Passage, Transcribing, Wish

FRAME = 512
WORD_FRAMES = 15
"""A word: 0.45 s of its number, and a short dip after it."""


def recording(*sentences: int, pause_s: float = 0.0) -> list[Stretch]:
    """Sentences of so many words, in stretches of 5 s. Word n sounds as 0.3 + n / 10,000."""
    frames: list[Float32] = []
    number = 0
    for count in sentences:
        for _ in range(count):
            number += 1
            frames += [np.full(FRAME, 0.3 + number / 10_000, np.float32)] * (WORD_FRAMES - 1)
            frames.append(np.full(FRAME, 1e-5, np.float32))
        frames += [np.zeros(FRAME, np.float32)] * round(pause_s * SPEECH_HZ / FRAME)
    return [_stretch(frames[start : start + 156]) for start in range(0, len(frames), 156)]


def _stretch(frames: list[Float32]) -> Stretch:
    sound = np.stack(frames)
    return Stretch(sound, np.where(sound.max(axis=1) > 0, 0.9, 0.0).astype(np.float32))


class Reader:
    """A recogniser of such words; it may leave out what it is told to, once or for ever."""

    def __init__(self, *, deaf_to: frozenset[int] = frozenset(), times: bool = True) -> None:
        self.deaf_to = set(deaf_to)
        self.times = times
        self.asked: list[SpeechWindow] = []
        self.error: Exception | None = None
        self.hear_better = True
        self.breaks_over_s = 30.0
        self.late_s = 0.0
        """So much later than they are it says that words begin."""

    info = EngineInfo("reader", "reader")
    languages = frozenset({"en", "de"})

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    async def transcribe(self, window: SpeechWindow, stop: Stop) -> Transcript:
        self.asked.append(window)
        if self.error is not None:
            raise self.error
        seconds = len(window.audio) / SPEECH_HZ
        if seconds > self.breaks_over_s:
            return Transcript("and and and", "de", broken=True)
        numbers = np.round((window.audio - 0.3) * 10_000).astype(int)
        words: list[Word] = []
        for number in dict.fromkeys(numbers[numbers > 0].tolist()):
            place = np.flatnonzero(numbers == number)
            if number in self.deaf_to:
                continue
            words.append(
                Word(f" {number}", place[0] / SPEECH_HZ, (place[-1] + 1) / SPEECH_HZ, (number,))
            )
        if self.hear_better:
            self.deaf_to.clear()
        # As attention has it: all of the sound belongs to some word, each lasts until the next.
        edges = [0.0, *(word.start_s + self.late_s for word in words[1:]), seconds]
        words = [
            Word(word.text, a, b, word.tokens)
            for word, (a, b) in zip(words, pairwise(edges), strict=bool(words))
        ]
        text = "".join(word.text for word in words).strip()
        return Transcript(text, "de", tokens=len(words), words=tuple(words) if self.times else ())


class Watcher:
    def __init__(self) -> None:
        self.waits: list[float] = []

    def queued(self, seconds: float, position: int) -> None:
        self.waits.append(seconds)


async def given_stretches(stretches: list[Stretch]) -> AsyncGenerator[Stretch]:
    for stretch in stretches:
        yield stretch


async def heard(
    stretches: list[Stretch], reader: Reader | None = None, wish: Wish | None = None
) -> list[Passage]:
    async with ResourcePool({STT: [reader or Reader()]}) as pool:
        transcribing = Transcribing(wish or Wish(), "request", pool, Watcher())
        async with aclosing(transcribing.passages(given_stretches(stretches))) as passages:
            return [passage async for passage in passages]


def numbers(passages: list[Passage]) -> list[int]:
    return [int(word) for passage in passages for word in passage.text.split()]


async def test_a_long_recording_is_heard_to_the_last_word() -> None:
    passages = await heard(recording(20, 3, 40, 100, 7, pause_s=0.6))
    assert numbers(passages) == list(range(1, 171))
    assert len(passages) > 3


@settings(deadline=None, max_examples=25)
@given(st.lists(st.integers(1, 70), min_size=1, max_size=6), st.sampled_from([0.0, 0.2, 0.6, 3.0]))
def test_no_word_is_lost_or_said_twice_where_windows_meet(
    sentences: list[int], pause_s: float
) -> None:
    passages = asyncio.run(heard(recording(*sentences, pause_s=pause_s)))
    assert numbers(passages) == list(range(1, sum(sentences) + 1))


async def test_words_have_their_times_in_the_recording() -> None:
    passages = await heard(recording(30, 30, pause_s=3.0))
    words = [word for passage in passages for word in passage.words]
    length_s = WORD_FRAMES * FRAME / SPEECH_HZ
    for number, word in enumerate(words):
        expected_s = number * length_s + (3.0 if number >= 30 else 0.0)
        assert word.start_s == pytest.approx(expected_s, abs=0.05)
        assert word.end_s == pytest.approx(expected_s + length_s, abs=0.1)


async def test_words_that_were_left_out_are_heard_the_second_time() -> None:
    reader = Reader(deaf_to=frozenset(range(5, 12)))
    passages = await heard(recording(15), reader)
    assert numbers(passages) == list(range(1, 16))
    assert len(reader.asked) == 2


async def test_a_word_on_both_sides_of_a_cut_is_said_once() -> None:
    reader = Reader(deaf_to=frozenset(range(8, 14)))
    reader.late_s = 0.1
    passages = await heard(recording(20), reader)
    assert numbers(passages) == list(range(1, 21))
    assert len(passages) > 1


async def test_words_left_out_at_the_end_are_heard_too() -> None:
    passages = await heard(recording(15), Reader(deaf_to=frozenset(range(8, 16))))
    assert numbers(passages) == list(range(1, 16))


async def test_words_left_out_at_the_begin_are_heard_too() -> None:
    passages = await heard(recording(15), Reader(deaf_to=frozenset(range(1, 9))))
    assert numbers(passages) == list(range(1, 16))


async def test_a_window_that_breaks_is_heard_in_halves() -> None:
    reader = Reader()
    reader.breaks_over_s = 8.0
    passages = await heard(recording(30), reader)
    assert numbers(passages) == list(range(1, 31))
    assert "and" not in " ".join(passage.text for passage in passages)


async def test_what_has_no_words_is_not_listened_to_for_ever() -> None:
    reader = Reader(deaf_to=frozenset(range(4, 30)))
    reader.hear_better = False
    passages = await heard(recording(20), reader)
    assert numbers(passages) == [1, 2, 3]
    assert len(reader.asked) <= 1 + 2 * MOST_LOOKS


async def test_an_engine_without_times_is_taken_at_its_word() -> None:
    reader = Reader(times=False)
    passages = await heard(recording(15), reader)
    assert numbers(passages) == list(range(1, 16))
    assert [passage.words for passage in passages] == [()]


async def test_silence_costs_nobody_an_engine() -> None:
    reader = Reader()
    assert await heard([_stretch([np.zeros(FRAME, np.float32)] * 300)] * 20, reader) == []
    assert reader.asked == []


async def test_the_first_words_decide_the_language_of_the_rest() -> None:
    reader = Reader()
    await heard(recording(30, 30, pause_s=3), reader)
    assert [window.language for window in reader.asked] == [None] + ["de"] * (len(reader.asked) - 1)


async def test_what_was_wished_for_is_passed_on() -> None:
    reader = Reader()
    await heard(recording(60), reader, Wish("en", "Names: Anna.", 0.3))
    assert len(reader.asked) > 1
    for window in reader.asked:
        assert (window.language, window.prompt) == ("en", "Names: Anna.")
        assert window.temperature == 0.3
        assert len(window.audio) <= 30 * SPEECH_HZ


async def test_a_failure_of_the_engine_is_passed_on() -> None:
    reader = Reader()
    reader.error = SttFailed("no")
    with pytest.raises(SttFailed):
        await heard(recording(15), reader)


async def test_the_engine_is_free_between_two_windows() -> None:
    async with ResourcePool({STT: [Reader()]}) as pool:
        transcribing = Transcribing(Wish(), "request", pool, Watcher())
        stretches = given_stretches(recording(60, 60, pause_s=1))
        async with aclosing(transcribing.passages(stretches)) as passages:
            async for _ in passages:
                assert pool.claims("request")["stt"] == 0
                async with pool.lease(STT, "a session", purpose=Purpose.FINAL, max_wait_s=1):
                    pass


async def test_who_leaves_takes_nothing_along() -> None:
    async with ResourcePool({STT: [Reader()]}) as pool:
        transcribing = Transcribing(Wish(), "request", pool, Watcher())
        passages = transcribing.passages(given_stretches(recording(200)))
        await anext(passages)
        await passages.aclose()
        assert pool.claims("request")["stt"] == 0
        assert pool.status()["stt"].claimed == 0


async def test_the_wait_for_an_engine_has_an_end() -> None:
    config = PoolConfig(max_wait_s=0.01)
    async with ResourcePool({STT: [Reader()]}, config) as pool, pool.lease(STT, "other"):
        transcribing = Transcribing(Wish(), "request", pool, Watcher())
        with pytest.raises(PoolTimeout):
            await anext(transcribing.passages(given_stretches(recording(40))))
