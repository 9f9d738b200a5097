"""How long to wait, by what was said."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.endpointing import LIKELY_S, SURE_S, UNFINISHED_S, patience_s


@pytest.mark.parametrize(
    "text",
    [
        "I was thinking...",
        "I was thinking…",
        "Well,",
        "on the one hand -",
        "I want to go to the",
        "I like it because.",
        "and",
        "the weather is",
        "If you could.",
        "When I was",
        "Hold on, let me think.",
        "それは、",
        'he said "and"',
    ],
)
def test_an_unfinished_clause_waits(text: str) -> None:
    assert patience_s(text, 0.99, "normal") == UNFINISHED_S


@pytest.mark.parametrize("text", ["What time is it?", "هل تسمعني؟", "元気ですか？", '"Really?"'])
def test_a_question_does_not(text: str) -> None:
    assert patience_s(text, None, "normal") == SURE_S


def test_the_model_is_believed_only_when_it_is_very_sure() -> None:
    assert patience_s("I think so.", 0.95, "normal") == SURE_S
    assert patience_s("I think so.", 0.6, "normal") == LIKELY_S
    assert patience_s("I think so.", None, "normal") == LIKELY_S


def test_the_words_count_more_than_the_model() -> None:
    assert patience_s("I went to the", 0.99, "normal") == UNFINISHED_S


@given(st.text(), st.none() | st.floats(0, 1), st.sampled_from(["quick", "normal", "patient"]))
def test_the_wait_is_bounded_for_any_text_in_any_script(
    text: str, end_of_turn: float | None, pace: str
) -> None:
    assert 0.2 <= patience_s(text, end_of_turn, pace) <= 1.8  # type: ignore[arg-type]
