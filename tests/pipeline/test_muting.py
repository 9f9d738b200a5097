"""The microphone is muted, in every state of a turn: what was said before is answered, what comes
after is not there. In virtual time."""

from __future__ import annotations

import pytest

from pipeline.cutting_in import CUT_IN_LAST
from pipeline.errors import SttFailed
from pipeline.events import (
    Interrupted,
    ReplyDone,
    ReplyPaused,
    ReplyResumed,
    ReplyStarted,
    SpeechStarted,
    SpeechStopped,
    UserTranscript,
)
from pipeline.signals import Confirm, Draft, Drop, EndTurn, Look, LookFailed
from pipeline.turn import Phase, TurnConfig
from pipeline.utterance import SPEECH_HZ
from tests.pipeline.test_turn import Scene, over_a_reply

NOTHING_SAID = UserTranscript(2, "", final=True, discarded=True)


def mute(scene: Scene) -> None:
    """No frame comes from here on, until the test speaks again."""
    scene.step(EndTurn(scene.sample, if_any=True))


def finals(scene: Scene) -> list[str]:
    return [said.text for said in scene.all(UserTranscript) if said.final]


def answered(scene: Scene, *words: str) -> None:
    """These turns, and no others, were told and answered; nothing waits any more."""
    scene.answer(seconds=0.3)
    scene.wait(2.0)
    assert finals(scene) == list(words)
    assert [reply.turn for reply in scene.all(ReplyStarted)] == list(range(1, len(words) + 1))
    assert [done.status for done in scene.all(ReplyDone)] == ["completed"] * len(words)
    assert not scene.machine.busy


def held_by(seconds: float = 0.25) -> Scene:
    """Somebody has spoken for so long over a reply, which is held."""
    scene = over_a_reply()
    scene.speak(seconds)
    assert scene.machine.replies.held
    return scene


# --- while the user speaks, or has just spoken ----------------------------------------------------


def test_muted_while_nobody_speaks_nothing_happens() -> None:
    scene = Scene()
    scene.hush(1.0)
    mute(scene)
    scene.wait(60.0)
    assert not scene.effects


def test_muted_in_mid_sentence_what_was_said_is_answered() -> None:
    scene = Scene()
    scene.speak(1.0)
    mute(scene)
    assert scene.last(Look).end == scene.sample
    assert len(scene.all(SpeechStopped)) == 1
    scene.understand("I would like to go to the")
    answered(scene, "I would like to go to the")


def test_muted_in_a_pause_of_a_sentence_its_words_are_not_asked_for_again() -> None:
    scene = Scene()
    scene.speak(1.0)
    scene.hush(0.2)
    looks = len(scene.all(Look))
    mute(scene)
    assert len(scene.all(Look)) == looks
    scene.understand("I like it because", 0.1)
    answered(scene, "I like it because")


def test_muted_before_the_last_of_it_was_heard_all_of_it_is() -> None:
    scene = Scene()
    scene.speak(0.5)
    end = scene.sample + SPEECH_HZ // 2
    scene.step(EndTurn(end, if_any=True))
    assert not scene.all(Look)
    scene.speak(0.5)
    assert scene.last(Look).end == end


def test_muted_while_its_words_are_speculated_on_the_draft_is_the_answer() -> None:
    scene = Scene()
    scene.speak(1.0)
    scene.hush(0.13)
    scene.understand("I like it.", 0.95)
    draft = scene.last(Draft)
    assert draft.speculative
    scene.answer("Fine.", seconds=0.3)
    assert not scene.all(ReplyStarted)
    mute(scene)
    assert scene.last(Confirm).draft == draft.draft
    assert len(scene.all(Draft)) == 1
    scene.wait(2.0)
    assert finals(scene) == ["I like it."]
    assert scene.last(ReplyDone).status == "completed"


@pytest.mark.parametrize("words", ["What time is it?", "What time is it in Rome?"])
def test_muted_when_a_voice_fell_away_the_draft_stays_if_the_words_do(words: str) -> None:
    scene = Scene()
    scene.speak(1.0)
    scene.sound(0.032, 0.9, dbfs=-50)
    scene.understand("What time is it?")
    first = scene.last(Draft)
    scene.sound(0.032, 0.9, dbfs=-50)
    mute(scene)
    scene.understand(words)
    kept = words == first.text
    assert (scene.last(Draft) == first) is kept
    assert bool(scene.all(Drop)) is not kept
    answered(scene, words)


def test_muted_with_a_click_that_is_no_word_the_turn_is_dropped() -> None:
    scene = Scene()
    scene.say()
    scene.answer(seconds=0.3)
    scene.wait(1.0)
    scene.speak(0.2)
    mute(scene)
    scene.understand("")
    assert scene.last(UserTranscript) == NOTHING_SAID
    assert not scene.machine.busy


def test_muted_though_nobody_can_say_what_was_said_the_turn_is_over() -> None:
    scene = Scene()
    scene.speak(1.0)
    mute(scene)
    for _ in range(2):
        look = scene.last(Look)
        scene.step(LookFailed(look.key, look.segment, look.attempt, SttFailed("no")))
    assert scene.last(UserTranscript).discarded
    assert not scene.machine.busy


def test_muted_twice_is_muted_once() -> None:
    scene = Scene()
    scene.speak(1.0)
    mute(scene)
    mute(scene)
    scene.understand("What time is it?")
    mute(scene)
    answered(scene, "What time is it?")


def test_a_committed_turn_that_is_muted_is_not_taken_back() -> None:
    scene = Scene()
    scene.say("Is it late?")
    assert not finals(scene)
    mute(scene)
    assert finals(scene) == ["Is it late?"]
    scene.speak(0.5)  # unmuted, before any of the reply has left
    assert scene.last(SpeechStarted).turn == 2
    assert finals(scene) == ["Is it late?"]


# --- while a reply is heard -----------------------------------------------------------------------


def test_muted_while_a_reply_is_heard_it_goes_on_to_its_end() -> None:
    scene = over_a_reply()
    mute(scene)
    scene.wait(8.0)
    assert scene.last(ReplyDone).status == "completed"
    assert finals(scene) == ["What time is it?"]


def test_muted_while_a_reply_is_held_words_end_it_and_are_answered() -> None:
    scene = held_by()
    mute(scene)
    scene.understand("No, tell me about Rome.")
    assert scene.last(Interrupted).reply == 1
    assert scene.last(ReplyStarted).turn == 2
    assert finals(scene)[-1] == "No, tell me about Rome."


@pytest.mark.parametrize("words", ["", "Mm-hm.", "Yeah, right.", "about the sea and"])
def test_muted_while_a_reply_is_held_what_says_nothing_lets_it_go_on(words: str) -> None:
    scene = held_by()
    mute(scene)
    scene.understand(words)
    assert scene.last(ReplyResumed) == ReplyResumed(1)
    assert scene.last(UserTranscript) == NOTHING_SAID
    scene.wait(8.0)
    assert scene.last(ReplyDone).status == "completed"
    assert not scene.all(Interrupted)


def test_who_says_that_their_yes_is_a_turn_is_answered_though_a_reply_is_heard() -> None:
    scene = held_by()
    scene.step(EndTurn(scene.sample))
    scene.understand("Yes.")
    assert scene.all(Interrupted)
    assert finals(scene)[-1] == "Yes."


@pytest.mark.parametrize("if_any", [True, False])
def test_a_held_reply_does_not_wait_for_words_that_are_late(if_any: bool) -> None:
    scene = held_by()
    ended = scene.now
    scene.step(EndTurn(scene.sample, if_any=if_any))
    while not scene.all(ReplyResumed):
        wake = scene.machine.next_wake(scene.now)
        assert wake is not None
        scene.now = wake
        scene.step(None)
    assert scene.now - ended <= CUT_IN_LAST / SPEECH_HZ + 1e-6
    scene.understand("No, tell me about Rome.")
    assert scene.last(Interrupted).reply == 1
    assert finals(scene)[-1] == "No, tell me about Rome."


def test_what_was_heard_before_the_mute_is_no_evidence_after_it() -> None:
    scene = over_a_reply()
    scene.sound(0.064, 0.4)  # not yet a voice
    mute(scene)
    scene.sound(0.032, 0.5)
    assert not scene.all(ReplyPaused)
    scene = over_a_reply()
    scene.sound(0.096, 0.5)
    assert scene.all(ReplyPaused)  # it would have been enough


def test_a_voice_after_the_mute_is_a_turn_of_its_own() -> None:
    scene = Scene()
    scene.speak(1.0)
    mute(scene)
    at = scene.sample
    scene.speak(1.0)
    scene.understand("What time is it?")
    scene.speak(0.3)
    assert scene.last(SpeechStarted).turn == 2
    scene.hush(0.13)
    assert scene.last(Look).start == at


# --- push to talk ---------------------------------------------------------------------------------


def test_in_push_to_talk_muting_ends_the_turn() -> None:
    scene = Scene(TurnConfig(detection="manual"))
    scene.speak(1.0)
    scene.hush(3.0)
    mute(scene)
    assert scene.last(Look).end == scene.sample
    scene.understand("What time is it?")
    answered(scene, "What time is it?")


def test_in_push_to_talk_a_yes_is_meant_whatever_it_is_said_over() -> None:
    scene = Scene(TurnConfig(detection="manual"))
    scene.speak(1.0)
    mute(scene)
    scene.understand("Tell me of the sea.")
    scene.answer("Shall I tell you all of it, with its ships?", seconds=5.0)
    scene.wait(1.0)
    scene.speak(0.5)
    assert not scene.all(ReplyPaused)
    mute(scene)
    scene.understand("Yes.")
    assert [done.status for done in scene.all(ReplyDone)] == ["interrupted"]
    assert finals(scene)[-1] == "Yes."


def test_in_push_to_talk_muting_before_anything_was_said_is_no_turn() -> None:
    scene = Scene(TurnConfig(detection="manual"))
    mute(scene)
    assert not scene.effects
    assert scene.machine.phase is Phase.QUIET
