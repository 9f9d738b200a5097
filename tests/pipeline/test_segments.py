"""Words in segments of about a sentence."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.ports import Transcript, Word
from pipeline.segments import LONGEST, segments
from pipeline.transcribing import Passage


def passage(text: str, *, each_s: float = 0.3, pauses: dict[int, float] | None = None) -> Passage:
    """Its words one after the other, with pauses after some."""
    words, now = [], 0.0
    for number, word in enumerate(text.split()):
        words.append(Word(f" {word}", now, now + each_s, (number,)))
        now += each_s + (pauses or {}).get(number, 0.0)
    return Passage(0.0, now, Transcript(text, "en"), tuple(words))


def texts(*passages: Passage) -> list[str]:
    return [segment.text for segment in segments(passages)]


def test_every_sentence_is_a_segment() -> None:
    assert texts(passage('He said "Go." Did I? Yes!')) == ['He said "Go."', "Did I?", "Yes!"]


def test_a_long_sentence_ends_at_a_comma() -> None:
    long = (
        "When the lights went out in all of the town, we lit a candle and told each other stories"
    )
    assert texts(passage(long)) == [
        "When the lights went out in all of the town,",
        "we lit a candle and told each other stories",
    ]


def test_a_pause_ends_a_segment() -> None:
    assert texts(passage("one two three", pauses={1: 1.5})) == ["one two", "three"]


def test_a_segment_has_the_times_of_its_words() -> None:
    first, second = segments([passage("One two. Three.", each_s=1.0)])
    assert (first.start_s, first.end_s, first.tokens) == (0.0, 2.0, (0, 1))
    assert (second.start_s, second.end_s, second.tokens) == (2.0, 3.0, (2,))


def test_words_without_times_are_one_segment() -> None:
    (segment,) = segments([Passage(3.0, 9.0, Transcript("One. Two.", "en"))])
    assert (segment.start_s, segment.end_s, segment.text) == (3.0, 9.0, "One. Two.")


@given(st.lists(st.text("ab.,?", min_size=1, max_size=120), max_size=40))
def test_no_word_is_lost_and_no_segment_too_long(words: list[str]) -> None:
    found = texts(passage(" ".join(words)))
    assert " ".join(found).split() == words
    assert all(len(text) <= LONGEST or " " not in text for text in found)
