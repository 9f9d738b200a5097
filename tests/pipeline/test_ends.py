"""What comes while the words of a turn that was ended are awaited: typed turns, in their order. In
virtual time."""

from __future__ import annotations

import pytest

from pipeline.ends import MOST_ENDS, MOST_TYPED, MOST_TYPED_CHARACTERS
from pipeline.events import Interrupted, ReplyDone, ReplyStarted, UserTranscript
from pipeline.signals import Cancel, Draft, DropTurn, EndTurn, Forget, Look, Typed
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


def test_what_is_thrown_away_behind_a_typed_turn_is_not_heard() -> None:
    scene = ended("manual")
    scene.speak(0.5)
    scene.step(EndTurn(scene.sample))
    scene.step(Typed("Hello?"))
    scene.speak(0.3)
    thrown_to = scene.sample
    scene.step(DropTurn(thrown_to))
    scene.understand("one")
    scene.understand("two")
    scene.speak(0.5)
    scene.step(EndTurn(scene.sample))
    assert scene.last(Look).start == thrown_to


# --- cancelled, or forgotten, before the words come -----------------------------------------------


def test_a_reply_that_is_cancelled_before_the_words_of_its_turn_ends_as_it_starts() -> None:
    scene = ended()
    assert scene.machine.cancellable
    scene.step(Cancel())
    scene.understand("What time is it?")
    assert finals(scene) == [(1, "What time is it?")]
    assert [done.status for done in scene.all(ReplyDone)] == ["cancelled"]
    scene.say("And in Rome?")
    scene.answer()
    scene.wait(4.0)
    assert scene.last(ReplyDone).status == "completed"


def test_a_cancel_while_a_reply_is_heard_is_of_that_reply() -> None:
    scene = Scene(TurnConfig(detection="manual"))
    scene.step(Typed("hello"))
    scene.answer(seconds=5.0)
    scene.speak(1.0)
    scene.step(EndTurn(scene.sample))
    scene.step(Cancel())
    scene.understand("What time is it?")
    scene.answer()
    scene.wait(4.0)
    assert [done.status for done in scene.all(ReplyDone)] == ["cancelled", "completed"]


def test_a_turn_that_is_forgotten_before_its_words_come_was_never_said() -> None:
    scene = ended()
    scene.step(Typed("And in Rome?", ref="r"))
    scene.step(Forget())
    scene.step(Cancel())
    scene.understand("What time is it?")
    assert all(said.discarded and not said.text for said in scene.all(UserTranscript))
    assert [said.ref for said in scene.all(UserTranscript)] == [None, "r"]
    assert not scene.all(Draft)
    assert not scene.machine.busy


def test_what_waits_behind_a_turn_is_cancelled_with_it() -> None:
    scene = ended()
    scene.step(Typed("And in Rome?"))
    scene.step(Cancel())
    scene.understand("What time is it?")
    assert len(finals(scene)) == 2
    assert [(done.turn, done.status) for done in scene.all(ReplyDone)] == [(2, "cancelled")]


@pytest.mark.parametrize("stop", [Cancel(), Forget()])
def test_what_is_over_by_itself_before_its_end_was_heard_is_stopped_too(
    stop: Cancel | Forget,
) -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    scene.understand("What time is it?", 0.95)
    scene.step(EndTurn(scene.sample + 6_400))
    scene.step(stop)
    scene.hush(0.3)
    assert scene.committed
    scene.hush(0.2)
    assert scene.last(UserTranscript).discarded is isinstance(stop, Forget)
    statuses = [done.status for done in scene.all(ReplyDone)]
    assert statuses == ([] if isinstance(stop, Forget) else ["cancelled"])
    assert not scene.machine.busy
