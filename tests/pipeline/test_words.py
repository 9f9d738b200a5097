"""Words and the voice they were said with."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.ports import SPEECH_HZ, Word
from pipeline.windows import Window
from pipeline.words import placed, unheard


def window(seconds: float, *voiced: tuple[float, float], start_s: float = 0.0) -> Window:
    start = round(start_s * SPEECH_HZ)
    spans = tuple((start + round(a * SPEECH_HZ), start + round(b * SPEECH_HZ)) for a, b in voiced)
    return Window(start, np.zeros(round(seconds * SPEECH_HZ), np.float32), spans)


def said(*times: tuple[float, float]) -> tuple[Word, ...]:
    return tuple(Word(f" w{number}", a, b) for number, (a, b) in enumerate(times))


def times(words: tuple[Word, ...]) -> list[tuple[float, float]]:
    return [(word.start_s, word.end_s) for word in words]


def test_a_word_has_its_time_in_the_recording() -> None:
    heard = placed(said((1, 1.5)), window(5, (0, 5), start_s=60))
    assert times(heard) == [(61, 61.5)]


def test_the_pause_before_or_after_a_word_is_not_its_own() -> None:
    heard = placed(said((0, 2), (2, 5)), window(5, (0.3, 1.0), (3.0, 5.0)))
    assert times(heard) == [(0.3, 1.0), (3.0, 5.0)]


def test_of_a_word_across_a_pause_the_longer_side_is_kept() -> None:
    assert times(placed(said((0, 3)), window(3, (0, 0.4), (2.0, 3.0)))) == [(2.0, 3.0)]


def test_a_word_where_nobody_speaks_keeps_its_time() -> None:
    assert times(placed(said((1, 2)), window(5, (3, 5)))) == [(1, 2)]


@given(
    st.lists(st.floats(0, 10), max_size=12).map(sorted),
    st.lists(st.floats(0, 10), max_size=8).map(sorted),
)
def test_placed_words_follow_each_other(edges: list[float], voiced: list[float]) -> None:
    words = said(*pairwise(edges)) if edges else ()
    spans = list(zip(voiced[::2], voiced[1::2], strict=False))
    found = placed(words, window(10, *spans, start_s=7))
    flat = [time for word in found for time in (word.start_s, word.end_s)]
    assert flat == sorted(flat)
    assert [word.text for word in found] == [word.text for word in words]


def test_nothing_is_missing_where_every_voice_has_its_words() -> None:
    assert unheard(said((0, 0.5), (0.5, 4.0)), window(4, (0, 0.5), (3.2, 4))) == []
    assert unheard((), window(4, (0, 4))) == []  # an engine that tells no times


WORDS = said(*((number * 0.5, number * 0.5 + 0.5) for number in range(8)))


def stretched(at: int, by_s: float) -> tuple[Word, ...]:
    """The words, one of them far too long."""
    return said(
        *(
            (word.start_s + by_s * (number > at), word.end_s + by_s * (number >= at))
            for number, word in enumerate(WORDS)
        )
    )


def test_a_word_that_takes_too_long_hides_others() -> None:
    assert unheard(stretched(4, 5.0), window(9, (0, 9))) == [(3, 6)]


def test_a_neighbour_that_is_long_too_hides_some_of_them() -> None:
    words = said((0, 0.5), (0.5, 1.0), (1.0, 2.0), (2.0, 4.0), (4.0, 4.5), (4.5, 5), (5, 5.5))
    assert unheard(words, window(5.5, (0, 5.5))) == [(1, 5)]


def test_words_are_missing_at_the_begin_or_at_the_end() -> None:
    assert unheard(stretched(0, 5.0), window(9, (0, 9), start_s=10)) == [(0, 2)]
    assert unheard(WORDS, window(9, (0, 9))) == [(6, 8)]


def test_words_may_be_missing_in_several_places() -> None:
    words = said(*((start, start + 0.5) for start in (0, 3, 3.5, 4, 4.5, 5, 5.5, 8.5)))
    assert unheard(words, window(9, (0, 9))) == [(0, 2), (5, 8)]


@pytest.mark.parametrize("tail_s", [0.2, 0.6])
def test_a_breath_after_the_last_word_is_nothing(tail_s: float) -> None:
    assert unheard(WORDS, window(9, (0, 4 + tail_s))) == []
