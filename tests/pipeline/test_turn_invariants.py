"""Random conversations through the turn machine: what must hold whatever happens, in any order."""

from __future__ import annotations

from typing import get_args

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.signals import DropTurn, EndTurn, Event
from pipeline.turn import TurnConfig
from tests.pipeline.conversing import ALPHABET, CONFIGS, Conversation, Move, conversations

FLUSHED = [
    ("typed",),
    ("make", "It is noon. ", 1_500),
    ("make", "Yes. ", 1_500),
    ("finish", None),
    ("wait", 2.5),
    ("played", 0, 100.0, True),
]
CUT_SHORT = [*FLUSHED[:3], ("wait", 2.0), ("played", 0, 1_600.0, False), ("cancel",)]
CUT_INSIDE = [("typed",), ("stream", "It is noon. ", 400), ("wait", 0.3), ("cancel",)]
END_NOW = st.tuples(st.just("end"), st.just(0), st.booleans(), st.booleans())
WHILE_WORDS_ARE_AWAITED = [("sound", 10, 0.95, -20.0), ("end",), ("sound", 40, 0.95, -20.0)]
OVER_A_REPLY = [("typed",), ("make", "Yes. ", 3_000), ("sound", 10, 0.95, -20.0)]

A_SHORT_CUT_IN = [
    *OVER_A_REPLY[:2],
    ("sound", 12, 0.95, -20.0),
    ("answer", -1, "What time is it?"),
    ("sound", 5, 0.95, -70.0),
    ("sound", 4, 0.02, -70.0),
    ("answer", -1, "What time is it?"),
    ("sound", 30, 0.02, -70.0),
    ("make", "It is noon. ", 300),
]

ENDED_WHERE_IT_WAS_LOOKED_AT = [
    *OVER_A_REPLY[:1],
    ("sound", 13, 0.95, -20.0),
    ("end",),
    ("sound", 12, 0.95, -20.0),
    ("answer", 1, ""),
    ("vote", 0.1),
]


def test_every_kind_of_event_has_its_move() -> None:
    assert set(ALPHABET) == set(get_args(Event))


@settings(max_examples=100, deadline=None)
@example(FLUSHED, TurnConfig())
@example(CUT_SHORT, TurnConfig())
@example(CUT_INSIDE, TurnConfig())
@example(A_SHORT_CUT_IN, TurnConfig())
@given(conversations(), CONFIGS)
def test_the_rules_hold_in_any_conversation(moves: list[Move], config: TurnConfig) -> None:
    Conversation(config, moves)


@settings(max_examples=50, deadline=None)
@example(OVER_A_REPLY)
@example(WHILE_WORDS_ARE_AWAITED)
@example(ENDED_WHERE_IT_WAS_LOOKED_AT)
@given(conversations(EndTurn, DropTurn, besides=False, and_also=[END_NOW]))
def test_no_voice_goes_unheard(moves: list[Move]) -> None:
    """Whatever is said, while whatever goes on, lies in a window that is listened to."""
    conversation = Conversation(moves=moves)
    conversation.sound(60, 0.01)
    while conversation.looks:
        conversation.answer(0, "Yes.")
    deaf = [
        end
        for end in conversation.voices
        if not any(start < end <= to for start, to in conversation.heard)
    ]
    assert not deaf


@settings(max_examples=50, deadline=None)
@given(conversations(), CONFIGS)
def test_every_conversation_comes_to_rest(moves: list[Move], config: TurnConfig) -> None:
    """When the user falls silent and every stage answers, nothing is left under way."""
    Conversation(config, moves).come_to_rest()
