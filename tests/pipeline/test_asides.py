"""Replies beside the conversation, in virtual time: they are in nobody's way."""

from __future__ import annotations

from pipeline.asides import MOST_ASIDES, MOST_WAITING
from pipeline.events import (
    Failed,
    Interrupted,
    ReplyDone,
    ReplyPaused,
    ReplyStarted,
    UserTranscript,
)
from pipeline.signals import (
    Ask,
    Cancel,
    Draft,
    DraftAudio,
    DraftMade,
    DraftText,
    EndTurn,
    Forget,
    Leave,
    Look,
    Send,
)
from pipeline.turn import TurnConfig
from tests.pipeline.test_turn import RATE, Scene


def ask(scene: Scene, number: int, *, silent: bool = True) -> Draft:
    """One beside the conversation; its draft, if it begins at once."""
    scene.step(Ask(number, aside=True, silent=silent))
    return scene.last(Draft)


def make(scene: Scene, draft: Draft, text: str = "Content.") -> None:
    scene.step(DraftText(draft.draft, text))
    scene.step(DraftMade(draft.draft))


def speaking() -> Scene:
    """A reply of 20 s is being heard."""
    scene = Scene()
    scene.step(Ask(1))
    scene.answer("A long story of the sea.", seconds=20.0)
    return scene


def ended(scene: Scene) -> list[int]:
    return [done.reply for done in scene.all(ReplyDone)]


def test_one_begins_and_ends_while_a_reply_is_heard() -> None:
    scene = speaking()
    draft = ask(scene, 2)
    assert (draft.aside, scene.last(ReplyStarted).aside) == (True, True)
    make(scene, draft)
    done = scene.last(ReplyDone)
    assert (done.reply, done.aside, done.turn, done.heard) == (2, True, 0, "Content.")
    scene.wait(25.0)
    assert ended(scene) == [2, 1]
    assert sum(send.end - send.start for send in scene.all(Send)) == 20 * RATE


def test_so_many_are_made_at_once_and_the_next_when_one_has_ended() -> None:
    scene = speaking()
    drafts = [ask(scene, number) for number in range(2, 2 + MOST_ASIDES)]
    ask(scene, 9)
    assert scene.last(ReplyStarted).ask == 1 + MOST_ASIDES
    assert scene.machine.asides.waiting == 1
    make(scene, drafts[1])
    assert scene.last(ReplyStarted).ask == 9


def test_so_many_may_wait() -> None:
    scene = speaking()
    for number in range(MOST_ASIDES + MOST_WAITING + 5):
        ask(scene, 2 + number)
    assert scene.machine.asides.waiting == MOST_WAITING


def test_nothing_that_is_said_ends_one() -> None:
    scene = Scene()
    draft = ask(scene, 1)
    assert not scene.machine.busy
    scene.say()
    assert scene.committed
    scene.answer()
    scene.step(Cancel())
    assert not scene.all(ReplyPaused)
    assert not scene.all(Interrupted)
    assert ended(scene) == [2]
    make(scene, draft)
    assert ended(scene) == [2, 1]


def test_its_audio_is_paced_and_is_not_what_the_microphone_may_hear() -> None:
    scene = Scene()
    draft = ask(scene, 1, silent=False)
    scene.step(DraftAudio(draft.draft, 3 * RATE))
    scene.step(DraftMade(draft.draft))
    sent = scene.last(Send).end
    assert RATE <= sent < 2 * RATE
    scene.speak(0.2)
    scene.hush(0.13)
    assert not scene.last(Look).over_reply
    scene.wait(3.0)
    assert scene.last(Send).end == 3 * RATE
    assert scene.last(ReplyDone).status == "completed"


def test_cancelled_by_its_number_it_ends_and_nothing_else_does() -> None:
    scene = speaking()
    for number in (2, 3):
        ask(scene, number)
    assert scene.machine.can_cancel()
    assert scene.machine.can_cancel(2)
    scene.step(Cancel(2))
    assert [(done.reply, done.status) for done in scene.all(ReplyDone)] == [(2, "cancelled")]
    assert not scene.machine.can_cancel(2)
    scene.step(Cancel(2))
    assert ended(scene) == [2]
    scene.step(Cancel(1))
    assert ended(scene) == [2, 1]
    assert scene.machine.asides.has(3)


def test_one_waits_for_the_words_that_it_may_be_about() -> None:
    scene = Scene(TurnConfig(detection="manual", answers=False))
    scene.speak(1.0)
    scene.step(EndTurn(scene.sample))
    scene.step(Ask(1, aside=True))
    assert scene.machine.asides.under_way
    assert not scene.all(ReplyStarted)
    scene.understand("What time is it?")
    assert scene.effects.index(scene.last(UserTranscript)) < scene.effects.index(
        scene.last(ReplyStarted)
    )


def test_forgetting_the_conversation_ends_what_was_made_from_it() -> None:
    scene = speaking()
    for number in range(2, 6):
        ask(scene, number)
    scene.step(Forget())
    assert sorted(ended(scene)) == [1, 2, 3]
    assert not scene.machine.asides.under_way
    assert not scene.all(Failed)


def test_who_leaves_hears_no_more_and_nothing_that_waited_begins() -> None:
    scene = speaking()
    scene.step(Ask(2))
    for number in range(3, 7):
        ask(scene, number)
    scene.wait(1.0)
    scene.step(Leave())
    assert scene.last(Interrupted).reply == 1
    ends = {done.reply: done.status for done in scene.all(ReplyDone)}
    assert ends == {1: "interrupted", 2: "cancelled", 3: "cancelled"}
    assert not scene.machine.busy
    assert not scene.machine.asides.under_way
