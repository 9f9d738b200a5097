"""Clauses become one voice: without the engine's silence, without a click, equally loud."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.ports import Float32
from pipeline.seams import (
    CLAUSE_PAUSE_S,
    LEAD_MS,
    LOUDNESS_DBFS,
    PEAK,
    QUIET,
    SENTENCE_PAUSE_S,
    TAIL_MS,
    ClauseShaper,
    line_break_s,
    loudness_dbfs,
    pause_s,
)

RATE_HZ = 24_000
A_MS = RATE_HZ // 1000


def tone(ms: int, level: float = 0.2) -> Float32:
    t = np.arange(ms * A_MS) / RATE_HZ
    return (level * np.cos(2 * np.pi * 200 * t)).astype(np.float32)


def silence(ms: int, level: float = 0.0) -> Float32:
    return np.full(ms * A_MS, level, np.float32)


def shaped(*chunks: Float32) -> Float32:
    shaper = ClauseShaper(RATE_HZ)
    return np.concatenate([*map(shaper.feed, chunks), shaper.finish()])


def cut(audio: Float32, at: list[int]) -> list[Float32]:
    return np.split(audio, sorted(place % len(audio) for place in at))


class TestEdges:
    def test_long_silence_around_the_words_is_cut_to_a_breath(self) -> None:
        audio = shaped(silence(300), tone(500), silence(400))
        assert len(audio) == (LEAD_MS + 500 + TAIL_MS) * A_MS

    def test_silence_that_is_short_already_is_left(self) -> None:
        audio = shaped(silence(10), tone(500), silence(20))
        assert len(audio) == 530 * A_MS

    def test_silence_inside_a_clause_is_speech_too(self) -> None:
        audio = shaped(tone(300), silence(250), tone(300))
        assert len(audio) == 850 * A_MS
        assert not audio[350 * A_MS : 500 * A_MS].any()

    def test_what_is_too_soft_to_hear_counts_as_silence(self) -> None:
        audio = shaped(silence(300, QUIET * 0.9), tone(500), silence(300, QUIET * 0.9))
        assert len(audio) == (LEAD_MS + 500 + TAIL_MS) * A_MS

    @pytest.mark.parametrize("ms", [1, 3, 8, 200])
    def test_sound_that_breaks_off_is_faded_at_both_ends(self, ms: int) -> None:
        audio = shaped(tone(ms))
        assert len(audio) == ms * A_MS
        assert np.abs(audio[[0, -1]]).max() < 0.001
        assert np.abs(np.diff(audio)).max() < 0.05

    def test_a_clause_in_which_nothing_is_heard_keeps_its_length(self) -> None:
        assert len(shaped(silence(120), silence(80))) == 200 * A_MS

    def test_no_audio_at_all_is_no_audio(self) -> None:
        assert len(shaped()) == 0
        assert len(shaped(silence(0))) == 0

    def test_sound_is_given_as_it_comes_but_for_the_last_5_ms(self) -> None:
        shaper = ClauseShaper(RATE_HZ)
        assert len(shaper.feed(tone(100))) == 95 * A_MS
        assert len(shaper.feed(tone(100))) == 100 * A_MS

    @given(
        st.lists(st.sampled_from([silence(3), silence(60), tone(7), tone(90)]), max_size=6),
        st.lists(st.integers(0, 20_000), max_size=6),
    )
    def test_how_the_audio_was_cut_into_chunks_does_not_matter(
        self, parts: list[Float32], places: list[int]
    ) -> None:
        audio = np.concatenate([silence(1), *parts])
        whole, pieces = shaped(audio), shaped(*cut(audio, places))
        assert np.array_equal(whole, pieces) or not is_level_the_same(audio, cut(audio, places))

    @given(st.binary(max_size=4_000), st.integers(0, 4_000))
    def test_any_sound_ends_where_it_began_at_zero(self, noise: bytes, place: int) -> None:
        audio = (np.frombuffer(noise, np.int8) / 128).astype(np.float32)
        out = shaped(audio[:place], audio[place:])
        assert np.isfinite(out).all()
        assert len(out) <= len(audio)
        assert np.abs(out[[0, -1]]).max() < 0.01 if len(out) else not len(audio)


def is_level_the_same(whole: Float32, pieces: list[Float32]) -> bool:
    """Whether the first piece that is heard says as much about the loudness as all of it."""
    heard = [piece for piece in pieces if np.abs(piece).max(initial=0.0) > QUIET]
    one, other = (loudness_dbfs(x, RATE_HZ) for x in (whole, heard[0] if heard else whole))
    return one == other


class TestLoudness:
    @pytest.mark.parametrize("level", [0.1, 0.2, 0.24])
    def test_soft_and_loud_clauses_come_out_equally_loud(self, level: float) -> None:
        out = loudness_dbfs(shaped(tone(800, level)), RATE_HZ)
        assert out == pytest.approx(LOUDNESS_DBFS, abs=0.3)

    def test_a_whisper_is_not_made_a_shout(self) -> None:
        out = loudness_dbfs(shaped(tone(800, 0.01)), RATE_HZ)
        assert out is not None
        assert out < LOUDNESS_DBFS - 10

    def test_silence_counts_for_nothing(self) -> None:
        paused = shaped(tone(400), silence(400), tone(400))
        assert loudness_dbfs(paused, RATE_HZ) == pytest.approx(LOUDNESS_DBFS, abs=0.3)

    def test_the_level_does_not_change_within_a_clause(self) -> None:
        out = shaped(tone(300, 0.2), tone(300, 0.05))
        loud, soft = np.abs(out[: 300 * A_MS]).max(), np.abs(out[310 * A_MS :]).max()
        assert loud / soft == pytest.approx(4, rel=0.01)

    def test_too_little_sound_says_nothing_about_its_loudness(self) -> None:
        assert np.abs(shaped(tone(100, 0.5))).max() == pytest.approx(0.5)

    def test_nothing_clips(self) -> None:
        quiet_then_loud = shaped(tone(500, 0.05), tone(500, 1.2))
        assert np.abs(quiet_then_loud).max() <= PEAK + 0.001


@pytest.mark.parametrize(
    ("said", "pause"),
    [
        ("Yes.", SENTENCE_PAUSE_S),
        ("Is it?", SENTENCE_PAUSE_S),
        ('He said "no!"', SENTENCE_PAUSE_S),
        ("そうです。", SENTENCE_PAUSE_S),
        ("These are:", SENTENCE_PAUSE_S),
        ("Well…", SENTENCE_PAUSE_S),
        ("Well, ", CLAUSE_PAUSE_S),
        ("first (of two);", CLAUSE_PAUSE_S),
        ("I think", 0.0),
        ("", 0.0),
    ],
)
def test_the_pause_is_that_of_the_mark(said: str, pause: float) -> None:
    assert pause_s(said) == pause


def test_a_new_line_is_a_sentence_to_the_ear() -> None:
    assert line_break_s("A title", "\nThe text") == SENTENCE_PAUSE_S
    assert line_break_s("An end.", "\n\nThe text") == 0
    assert line_break_s("A title", " goes\non") == 0
    assert line_break_s("", "\nHello") == 0
