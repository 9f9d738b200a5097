"""What comes while the words of a turn that was ended are awaited: typed turns, in their order. In
virtual time."""

from __future__ import annotations

import pytest

from pipeline.ends import MOST_ENDS, MOST_TYPED, MOST_TYPED_CHARACTERS
from pipeline.events import Interrupted, ReplyDone, ReplyStarted, UserTranscript
from pipeline.signals import Draft, EndTurn, Look, Typed
from pipeline.turn import TurnConfig
from pipeline.turn_config import Detection
from tests.pipeline.test_turn import Scene


def ended(detection: Detection = "auto") -> Scene:
    """A turn is ended, and its words are awaited."""
    scene = Scene(TurnConfig(detection=detection))
    scene.speak(1.0)
    scene.step(EndTurn(scene.sample))
    assert scene.machine.user.owes_words
    return scene


def finals(scene: Scene) -> list[tuple[int, str]]:
    return [(said.turn, said.text) for said in scene.all(UserTranscript) if said.final]


@pytest.mark.parametrize("detection", ["auto", "manual"])
def test_what_is_typed_after_a_commit_comes_behind_its_words_and_is_answered(
    detection: Detection,
) -> None:
    scene = ended(detection)
    scene.step(Typed("And in Rome?", ref="r"))
    assert not scene.all(Draft)
    scene.understand("What time is it?")
    assert finals(scene) == [(1, "What time is it?"), (2, "And in Rome?")]
    assert scene.last(UserTranscript).ref == "r"
    assert [started.turn for started in scene.all(ReplyStarted)] == [2]
    scene.answer()
    scene.wait(4.0)
    assert [done.status for done in scene.all(ReplyDone)] == ["completed"]


def test_what_is_typed_between_two_commits_stands_between_them() -> None:
    scene = ended()
    scene.step(Typed("And in Rome?"))
    scene.speak(1.0)
    scene.step(EndTurn(scene.sample))
    scene.understand("What time is it?")
    scene.understand("And in Oslo?")
    assert finals(scene) == [
        (1, "What time is it?"),
        (2, "And in Rome?"),
        (3, "And in Oslo?"),
    ]
    assert [cut.reply for cut in scene.all(Interrupted)] == [1]
    assert scene.last(Draft).text == "And in Oslo?"


def test_of_several_typed_turns_that_waited_the_last_is_answered() -> None:
    scene = ended()
    scene.step(Typed("And in Rome?"))
    scene.step(Typed("Or in Oslo?"))
    scene.understand("What time is it?")
    assert finals(scene)[1:] == [(2, "And in Rome?"), (3, "Or in Oslo?")]
    assert [started.turn for started in scene.all(ReplyStarted)] == [3]


def test_what_is_typed_in_a_pause_ends_what_was_said() -> None:
    scene = Scene()
    scene.speak(1.0)
    scene.hush(0.13)
    scene.step(Typed("And in Rome?"))
    assert not scene.all(Draft)
    scene.understand("I went to the")
    assert finals(scene) == [(1, "I went to the"), (2, "And in Rome?")]


def test_what_is_typed_while_somebody_speaks_does_not_wait_for_them() -> None:
    scene = Scene()
    scene.speak(1.0)
    scene.step(Typed("And in Rome?"))
    assert scene.last(ReplyStarted).turn == 2


def test_so_many_typed_turns_may_wait_and_so_much_text() -> None:
    scene = ended()
    ends = scene.machine.user.ends
    for _ in range(MOST_TYPED):
        assert ends.has_room_for("Hello?")
        scene.step(Typed("Hello?"))
    assert not ends.has_room_for("Hello?")
    scene.step(Typed("Hello?"))
    assert len(ends.typed) == MOST_TYPED
    long = ended().machine.user.ends
    assert long.has_room_for("x" * (MOST_TYPED_CHARACTERS + 1)), "one may always wait"
    long.type(Typed("x"))
    assert not long.has_room_for("x" * MOST_TYPED_CHARACTERS)


def test_when_too_many_ends_wait_what_was_typed_among_them_is_kept() -> None:
    scene = ended("manual")
    for _ in range(MOST_ENDS):
        scene.speak(0.1)
        scene.step(EndTurn(scene.sample))
    scene.step(Typed("Hello?"))
    scene.speak(0.1)
    scene.step(EndTurn(scene.sample))
    for number in range(MOST_ENDS + 1):
        scene.answer_look(scene.all(Look)[number], f"words {number}")
    assert len(finals(scene)) == MOST_ENDS + 2
    assert finals(scene)[-2][1] == "Hello?"
