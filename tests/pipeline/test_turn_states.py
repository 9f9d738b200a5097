"""Every kind of event, told in every state of the turn machine: each pair is decided, the rules
hold meanwhile, and whatever follows comes to an end."""

from __future__ import annotations

from typing import get_args

import pytest

from pipeline.errors import LlmFailed
from pipeline.signals import (
    Ask,
    Cancel,
    DraftAudio,
    DraftCall,
    DraftClause,
    DraftMade,
    DraftText,
    DraftVoiced,
    DropTurn,
    EndTurn,
    Event,
    Forget,
    Greet,
    Heard,
    Leave,
    Looked,
    LookFailed,
    Played,
    SaidNothing,
    Typed,
    Voted,
)
from pipeline.turn import Phase, TurnConfig, TurnMachine
from tests.pipeline.conversing import Conversation, Move

MANUAL = TurnConfig(detection="manual")
REALTIME = TurnConfig(holds=False, follows_playback=False)

SPEECH: list[Move] = [("sound", 12, 0.95)]
PAUSE: list[Move] = [*SPEECH, ("sound", 4, 0.01)]
UNDERSTOOD: list[Move] = [*PAUSE, ("answer", 0, "What time is it?")]
COMMITTED: list[Move] = [*UNDERSTOOD, ("sound", 8, 0.01)]
ANSWERING: list[Move] = [("typed",)]
HEARD: list[Move] = [*ANSWERING, ("make", "It is noon. ", 3_000), ("wait", 0.5)]
HELD: list[Move] = [*HEARD, ("sound", 8, 0.95)]
ECHO: list[Move] = [*HELD, ("answer", 0, "")]
SENT: list[Move] = [
    *ANSWERING, ("make", "Shall I go on? ", 1_500), ("finish",), ("wait", 1.0),
]  # fmt: skip
ASIDE: list[Move] = [("ask", True, False, True), ("ask", True, False, False)]

STATES: dict[str, tuple[TurnConfig, list[Move]]] = {
    "nothing was said yet": (TurnConfig(), []),
    "somebody speaks": (TurnConfig(), SPEECH),
    "a voice fell away": (TurnConfig(), [*SPEECH, ("sound", 1, 0.9, -70.0)]),
    "a pause, its words unknown": (TurnConfig(), PAUSE),
    "a pause in a sentence": (TurnConfig(), [*PAUSE, ("answer", 0, "I went to the")]),
    "a pause without words": (TurnConfig(), [*PAUSE, ("answer", 0, "")]),
    "a guess is made": (TurnConfig(), UNDERSTOOD),
    "a guess is ready": (TurnConfig(), [*UNDERSTOOD, ("make", "Noon. ", 500)]),
    "a guess has failed": (TurnConfig(), [*UNDERSTOOD, ("finish", LlmFailed("no"))]),
    "committed": (TurnConfig(), COMMITTED),
    "committed, its text begun": (TurnConfig(), [*COMMITTED, ("write", "No")]),
    "ended, its words unknown": (TurnConfig(), [*SPEECH, ("end",)]),
    "ended, and no reply is wanted": (TurnConfig(), [*SPEECH, ("end", 0, False, True)]),
    "to be ended, when that was heard": (TurnConfig(), [*SPEECH, ("end", 2_000)]),
    "muted in mid-speech": (TurnConfig(), [*SPEECH, ("end", 0, True)]),
    "push to talk": (MANUAL, SPEECH),
    "push to talk, over": (MANUAL, [*SPEECH, ("end",)]),
    "push to talk over a reply": (MANUAL, [*HEARD, *SPEECH]),
    "a reply is made": (TurnConfig(), ANSWERING),
    "a reply is heard": (TurnConfig(), HEARD),
    "a reply is held": (TurnConfig(), HELD),
    "a reply is held, and its turn ended": (TurnConfig(), [*HELD, ("end",)]),
    "a reply is held, and it is its echo": (TurnConfig(), ECHO),
    "a loudspeaker that is heard for sure": (
        TurnConfig(), [*ECHO, ("sound", 20, 0.95), ("answer", 0, ""), ("sound", 10, 0.95)],
    ),
    "a reply that is not held is spoken over": (REALTIME, HELD),
    "a reply that nobody may end is spoken over": (TurnConfig(interrupts=False), HELD),
    "a whole reply is sent": (TurnConfig(), SENT),
    "a question is being answered": (TurnConfig(), [*SENT, ("sound", 8, 0.95)]),
    "a reply is text": (TurnConfig(silent=True), [*ANSWERING, ("write", "No")]),
    "a reply breaks off": (TurnConfig(), [*HEARD, ("finish", LlmFailed("no"))]),
    "a reply wants a tool": (TurnConfig(), [*ANSWERING, ("tool", "c")]),
    "a greeting": (TurnConfig(), [("greet",), ("make", "Hello. ", 900)]),
    "a reply is asked for and waits for words": (
        TurnConfig(answers=False), [*SPEECH, ("end", 0, False, True), ("ask", False, False, False)],
    ),
    "a reply is asked for and waits for another": (
        TurnConfig(), [*HEARD, ("ask", False, False, False)],
    ),
    "a reply waits until nobody speaks": (TurnConfig(), [*SPEECH, ("ask", False, True, False)]),
    "a reply is asked for": (TurnConfig(), [("ask", False, False, False)]),
    "replies beside nothing": (TurnConfig(), [*ASIDE, ("make", "Sea. ", 900, 2)]),
    "replies beside another, and more wait": (TurnConfig(), [*HEARD, *ASIDE, *ASIDE]),
    "replies beside one that is held": (TurnConfig(), [*HEARD, *ASIDE, ("sound", 8, 0.95)]),
    "nobody answers turns": (TurnConfig(answers=False), UNDERSTOOD),
}  # fmt: skip

EVENTS: dict[type, list[list[Move]]] = {
    Heard: [
        [("sound", 1, 0.01)], [("sound", 1, 0.95)], [("sound", 12, 0.95)], [("sound", 24, 0.01)],
    ],
    Looked: [[("answer", 0, "What time is it?")], [("answer", 0, "")], [("answer", 0, "Mm-hm.")]],
    LookFailed: [[("fail",)], [("fail",), ("fail",)]],
    Voted: [[("vote", 0.95)], [("vote", 0.1)]],
    EndTurn: [
        [("end",)], [("end", 0, True)], [("end", 0, False, True)], [("end", 2_000)],
    ],
    DropTurn: [[("drop",)], [("drop", 4_000)]],
    Typed: [[("typed",)]],
    Greet: [[("greet",)]],
    Ask: [
        [("ask", False, False, False)], [("ask", False, True, False)], [("ask", True, False, True)],
    ],
    SaidNothing: [[("say_nothing",)]],
    Cancel: [[("cancel",)], [("cancel", 1)], [("cancel", 9)]],
    Forget: [[("forget",)]],
    Leave: [[("leave",)]],
    Played: [
        [("played", 0, 100.0, False)], [("played", 0, 9_000.0, True)], [("played", 9, 10.0, True)],
    ],
    DraftText: [[("write", "More. ")], [("write", "More. ", 1)]],
    DraftCall: [[("tool", "d")], [("tool", "d", 1)]],
    DraftClause: [[("stream", "More. ", 700)], [("stream", "More. ", 0, 1)]],
    DraftAudio: [[("late",)], [("stream", "More. ", 1_200)]],
    DraftVoiced: [[("make", "More. ", 700)], [("complete",)]],
    DraftMade: [
        [("finish",)], [("finish", LlmFailed("no"))], [("finish", None, 1)], [("late",)],
    ],
}  # fmt: skip
BESIDES: list[list[Move]] = [
    [("wait", 0.0)],
    [("wait", 3.0)],
    [("configure", MANUAL)],
    [("configure", TurnConfig(answers=False, interrupts=False))],
    [("configure", TurnConfig(silent=True, speculate=False))],
]


def at(state: str) -> Conversation:
    config, moves = STATES[state]
    return Conversation(config, moves)


@pytest.mark.parametrize("state", STATES)
def test_whatever_happens_in_this_state_is_decided_and_comes_to_an_end(state: str) -> None:
    for happens in [*(moves for each in EVENTS.values() for moves in each), *BESIDES]:
        conversation = at(state)
        try:
            conversation.play(happens)
            conversation.come_to_rest()
        except Exception as error:
            error.add_note(f"{state}, and then {happens}")
            raise


def test_every_kind_of_event_is_told() -> None:
    assert set(EVENTS) == set(get_args(Event))
    for kind, examples in EVENTS.items():
        reached = any(kind in _told(state, examples[0]) for state in STATES)
        assert reached, f"{kind.__name__} never reaches the machine"


def _told(state: str, moves: list[Move]) -> set[type]:
    conversation = at(state)
    conversation.told.clear()
    conversation.play(moves)
    return conversation.told


def test_there_is_a_state_of_every_kind() -> None:
    kinds = {kind_of(at(name).machine) for name in STATES}
    assert {phase for phase, *_ in kinds} == set(Phase)
    assert {reply for _, _, reply, _ in kinds} == {
        "none", "guess", "draft", "made", "heard", "held", "sent", "failing",
    }  # fmt: skip
    assert {ended for _, ended, _, _ in kinds} == {True, False}
    assert {beside for *_, beside in kinds} == {(0, 0, 0), (1, 0, 0), (0, 2, 0), (0, 2, 2)}


def kind_of(machine: TurnMachine) -> tuple[Phase, bool, str, tuple[int, int, int]]:
    """Where the turn stands and whether it is ended, where its reply stands, and what waits, is
    made beside it, and waits for that."""
    turn, reply = machine.user.turn, machine.replies.current
    if reply is None:
        stands = "none"
    elif reply.number is None:
        stands = "guess" if machine.speculation.open else "draft"
    elif reply.error is not None:
        stands = "failing"
    elif reply.playback.held:
        stands = "held"
    elif reply.playback.all_sent:
        stands = "sent"
    else:
        stands = "heard" if reply.playback.sent else "made"
    asides = sum(slot.started is not None for slot in machine.asides._slots)
    waiting = (len(machine.assistant.asks), asides, machine.asides.waiting)
    return machine.phase, turn is not None and turn.forced, stands, waiting
