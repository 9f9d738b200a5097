"""The ruler of the recogniser: words, and how many of them are wrong."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.wer import WordErrors, distance, word_errors, words

sentences = st.lists(st.sampled_from(["in", "being", "modern", "books"]), max_size=8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("And so, my fellow Americans!", ["and", "so", "my", "fellow", "americans"]),
        ("It\u2019s well-known \u2014 isn't it?", ["it's", "well", "known", "isn't", "it"]),
        ("At 20:15, **twenty** people", ["at", "20", "15", "twenty", "people"]),
        ("...", []),
    ],
)
def test_case_and_punctuation_are_no_words(text: str, expected: list[str]) -> None:
    assert words(text) == expected


def test_a_substitution_a_deletion_and_an_insertion_count_one_each() -> None:
    said = "ask not what your country can do"
    assert word_errors(said, "ask what your county can do it") == WordErrors(3, 7)


def test_errors_add_up_over_clips() -> None:
    total = WordErrors(1, 4) + WordErrors(0, 6)
    assert total.rate == pytest.approx(0.1)


def test_words_out_of_nothing_are_not_forgiven() -> None:
    assert word_errors("", "").rate == 0
    assert word_errors("", "thank you").rate == float("inf")


@given(sentences, sentences)
def test_the_distance_is_a_distance(a: list[str], b: list[str]) -> None:
    assert distance(a, b) == distance(b, a)
    assert (distance(a, b) == 0) == (a == b)
    assert abs(len(a) - len(b)) <= distance(a, b) <= max(len(a), len(b))
