"""How long to wait, by what was said."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.endpointing import (
    LIKELY_S,
    PACE_FACTOR,
    SURE,
    SURE_S,
    UNFINISHED_S,
    UNSURE,
    Pace,
    Reading,
    patience_s,
    read,
)

votes = st.floats(0, 1)
anything = st.text() | st.lists(
    st.sampled_from(
        ["and", "the", "I'm", "Dr.", "3,", "if", "well,", "そう。", "too", "?", "", "’"]
    )
).map(" ".join)


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
        "The weather is",
        "If it rains tomorrow.",
        "Even though it was late.",
        "When I was",
        "Hold on, let me think.",
        "Let me think.",
        "You know.",
        "Can I pay by card or?",
        "Set a timer for.",
        "And then she.",
        "Well, I’m",
        "It's.",
        "You'll have to ask Mr.",
        "Please send a message to my brother",
        "A tiny village",
        "My brother",
        "Would",
        "You can",
        "From",
        "Is this",
        "And now",
        "Please",
        "それは、",
        "¿Quiere usted un café.",
        'he said "and"',
    ],
)
def test_an_unfinished_clause_waits_however_it_sounds(text: str) -> None:
    assert read(text) is Reading.UNFINISHED
    assert patience_s(text, 0.99, "normal") == UNFINISHED_S


@pytest.mark.parametrize(
    "text",
    [
        "Are you sure that?",
        "I'd like to speak too.",
        "We were walking along the river when.",
        "Where are you from?",
        "Turn it on.",
        "My number is 0 7 4.",
        "There will be Tom, Aisha.",
        "The heating is broken.",
        "I've got a problem.",
    ],
)
def test_what_often_goes_on_waits_a_little(text: str) -> None:
    assert read(text) is Reading.OPEN
    assert patience_s(text, 0.99, "normal") == LIKELY_S
    assert patience_s(text, 0.01, "normal") == UNFINISHED_S


@pytest.mark.parametrize("text", ["What time is it?", "هل تسمعني؟", "元気ですか？", '"Really?"'])
def test_a_question_is_over_soon_even_when_nobody_asked_the_model(text: str) -> None:
    assert read(text) is Reading.QUESTION
    assert patience_s(text, None, "normal") == SURE_S


@pytest.mark.parametrize(
    "text",
    [
        "Turn off the lights in the kitchen.",
        "Yes, please.",
        "No!",
        "Plan B.",
        "No",
        "OK",
        "Berlin",
        "John Smith",
        "Morgen früh",
        "in being comparatively modern.",
        "We missed the last train and had to sleep at the station.",
        "I need flour, sugar and salt in the morning.",
        "If it rains tomorrow, we stay at home.",
        "Book a table for Tom and Anna, please.",
        "Merci beaucoup.",
        "お願いします。",
        "谢谢",
        "धन्यवाद।",
    ],
)
def test_of_what_could_be_the_whole_turn_the_model_decides(text: str) -> None:
    assert read(text) is Reading.WHOLE
    assert patience_s(text, SURE, "normal") == SURE_S
    assert patience_s(text, UNSURE, "normal") == UNFINISHED_S
    assert patience_s(text, None, "normal") == LIKELY_S


@given(anything, votes, votes)
def test_the_surer_the_model_the_sooner(text: str, one: float, other: float) -> None:
    less, more = sorted((one, other))
    assert patience_s(text, more, "normal") <= patience_s(text, less, "normal")


@given(anything, st.none() | votes, st.sampled_from(get_args(Pace)))
def test_the_wait_is_bounded_for_any_text_in_any_script(
    text: str, end_of_turn: float | None, pace: Pace
) -> None:
    wait_s = patience_s(text, end_of_turn, pace)
    assert SURE_S * PACE_FACTOR[pace] <= wait_s <= UNFINISHED_S * PACE_FACTOR[pace]


@given(anything, st.none() | votes)
def test_a_patient_user_waits_longer_than_a_quick_one(text: str, end_of_turn: float | None) -> None:
    quick, normal, patient = (patience_s(text, end_of_turn, pace) for pace in get_args(Pace))
    assert quick < normal < patient
