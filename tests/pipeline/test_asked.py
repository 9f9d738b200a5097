"""Replies that no turn begins: asked for by the client, text only, or after its tools' answers; and
turns that begin none. In virtual time."""

from __future__ import annotations

import pytest

from pipeline.assistant import MOST_ASKS
from pipeline.errors import LlmFailed, NothingToCommit
from pipeline.events import (
    Failed,
    Interrupted,
    ReplyAudioEnd,
    ReplyDone,
    ReplyPaused,
    ReplyStarted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCalled,
    ToolText,
    UserTranscript,
)
from pipeline.signals import (
    Ask,
    Cancel,
    Draft,
    DraftCall,
    DraftMade,
    DraftText,
    Drop,
    DropTurn,
    EndTurn,
    Forget,
    Look,
    SaidNothing,
)
from pipeline.turn import Phase, TurnConfig
from pipeline.turn_config import Detection
from tests.pipeline.test_turn import Scene

REALTIME = TurnConfig(holds=False, follows_playback=False)
MANUAL = TurnConfig(detection="manual", answers=False)


def called(scene: Scene, call: str = "c", *, whole: bool = True) -> None:
    draft = scene.last(Draft).draft
    scene.step(DraftCall(draft, call, "clock", ""))
    scene.step(DraftCall(draft, call, "", '{"zone"'))
    scene.step(DraftCall(draft, call, "", ': "UTC"}'))
    if whole:
        scene.step(DraftMade(draft))


# --- asked for ------------------------------------------------------------------------------------


def test_a_reply_that_is_asked_for_starts_at_once() -> None:
    scene = Scene()
    scene.step(Ask(7))
    assert (scene.last(Draft).ask, scene.last(ReplyStarted).ask) == (7, 7)
    scene.answer(seconds=0.5)
    scene.wait(1.0)
    assert scene.last(ReplyDone).status == "completed"
    assert not scene.all(UserTranscript)


def test_it_waits_for_the_words_of_the_turn_that_was_ended() -> None:
    scene = Scene(MANUAL)
    scene.speak(1.0)
    scene.step(EndTurn(scene.sample))
    scene.step(Ask(1))
    assert scene.machine.answering
    assert not scene.all(ReplyStarted)
    scene.understand("What time is it?")
    assert scene.last(UserTranscript).text == "What time is it?"
    assert scene.effects.index(scene.last(UserTranscript)) < scene.effects.index(
        scene.last(ReplyStarted)
    )


def test_cancelled_before_it_began_it_begins_and_ends() -> None:
    scene = Scene(MANUAL)
    scene.speak(1.0)
    scene.step(EndTurn(scene.sample))
    scene.step(Ask(1))
    assert scene.machine.cancellable
    scene.step(Cancel())
    assert scene.last(ReplyStarted).ask == 1
    assert scene.last(ReplyDone).status == "cancelled"
    assert not scene.machine.answering


def test_one_waits_for_the_reply_that_began_meanwhile() -> None:
    scene = Scene()
    scene.step(Ask(1))
    scene.step(Ask(2))
    assert [draft.ask for draft in scene.all(Draft)] == [1]
    scene.answer(seconds=0.2)
    scene.wait(1.0)
    assert scene.last(ReplyStarted).ask == 2


def test_one_that_waits_begins_when_nobody_speaks() -> None:
    scene = Scene()
    scene.speak(0.5)
    scene.step(Ask(0, turn=1, waits=True))
    assert scene.machine.busy
    assert not scene.all(ReplyStarted)
    scene.hush(0.13)
    scene.understand("")
    scene.hush(1.0)
    assert scene.last(ReplyStarted).turn == 1


def test_a_reply_asked_for_takes_the_place_of_a_guess() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    scene.understand("What time is it?")
    guess = scene.last(Draft)
    assert guess.speculative
    scene.step(Ask(1))
    assert Drop(guess.draft) in scene.effects
    assert scene.last(ReplyStarted).ask == 1


def test_so_many_may_wait_and_forgetting_forgets_them() -> None:
    scene = Scene()
    scene.step(Ask(1))
    for ask in range(2, MOST_ASKS + 10):
        scene.step(Ask(ask, waits=True))
    assert scene.machine.asked == MOST_ASKS
    scene.step(Forget())
    assert scene.machine.asked == 0
    assert scene.last(ReplyDone).status == "cancelled"


# --- text only ------------------------------------------------------------------------------------


def test_a_reply_of_text_ends_when_it_is_made_and_all_of_it_counts() -> None:
    scene = Scene()
    scene.step(Ask(1, silent=True))
    draft = scene.last(Draft)
    assert draft.silent
    scene.step(DraftText(draft.draft, "It is noon."))
    scene.step(DraftMade(draft.draft))
    done = scene.last(ReplyDone)
    assert (done.status, done.heard) == ("completed", "It is noon.")
    assert scene.last(ReplyAudioEnd).audio_ms == 0


def test_what_was_written_of_a_cancelled_text_was_read() -> None:
    scene = Scene()
    scene.step(Ask(1, silent=True))
    scene.step(DraftText(scene.last(Draft).draft, "It is"))
    scene.step(Cancel())
    assert scene.last(ReplyDone).heard == "It is"


def test_a_spoken_turn_is_answered_in_text_from_its_first_word_on() -> None:
    scene = Scene(TurnConfig(silent=True))
    scene.say()
    draft = scene.last(Draft).draft
    assert scene.committed
    scene.step(DraftText(draft, "It"))
    assert scene.last(ReplyText).text == "It"


# --- what was sent counts as heard ----------------------------------------------------------------


def test_where_playback_is_not_followed_a_reply_ends_when_it_was_sent() -> None:
    scene = Scene(REALTIME)
    scene.step(Ask(1))
    scene.answer(seconds=3.0)
    scene.wait(2.2)
    done = scene.last(ReplyDone)
    assert done.status == "completed"
    assert [voiced.end for voiced in done.voiced] == [72_000]


def test_what_was_sent_may_still_come_out_of_a_loudspeaker() -> None:
    scene = Scene(REALTIME)
    scene.step(Ask(1))
    scene.answer(seconds=3.0)
    scene.wait(2.2)
    unheard_ms = scene.last(ReplyDone).unheard_ms
    assert 500 < unheard_ms <= 1_100
    scene.speak(0.2)
    scene.hush(0.13)
    assert scene.last(Look).over_reply
    scene.hush(1.0)
    scene.speak(0.2)
    scene.hush(0.13)
    assert not scene.last(Look).over_reply


# --- tools ----------------------------------------------------------------------------------------


def test_a_call_is_told_as_it_is_written_and_once_it_is_whole() -> None:
    scene = Scene()
    scene.step(Ask(1))
    called(scene)
    assert [piece.arguments for piece in scene.all(ToolText)] == ["", '{"zone"', ': "UTC"}']
    assert scene.all(ToolCalled) == [ToolCalled(1, "c", "clock", '{"zone": "UTC"}')]
    assert scene.last(ReplyDone).status == "completed"


def test_a_call_of_a_guess_is_told_when_its_turn_is_over() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    scene.understand("What time is it?")
    called(scene)
    assert not scene.all(ToolText)
    scene.hush(0.3)
    assert scene.all(ToolText) == [ToolText(1, "c", "clock", '{"zone": "UTC"}')]
    assert len(scene.all(ToolCalled)) == 1


def test_a_call_of_a_reply_that_starts_before_it_is_whole_is_told_in_full() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    scene.understand("What time is it?")
    called(scene, whole=False)
    scene.hush(0.3)
    scene.step(EndTurn(scene.sample))
    scene.answer(whole=False)
    assert [piece.arguments for piece in scene.all(ToolText)] == ['{"zone": "UTC"}']
    assert not scene.all(ToolCalled)
    scene.step(DraftMade(scene.last(Draft).draft))
    assert len(scene.all(ToolCalled)) == 1


@pytest.mark.parametrize("how", [{"error": LlmFailed("gone")}, {"cut_short": True}])
def test_a_call_that_broke_off_is_not_made(how: dict) -> None:
    scene = Scene()
    scene.step(Ask(1))
    called(scene, whole=False)
    scene.step(DraftMade(scene.last(Draft).draft, **how))
    assert not scene.all(ToolCalled)
    assert scene.last(ReplyDone).cut_short is ("cut_short" in how)


# --- turns that are taken down and not answered ---------------------------------------------------


def test_a_turn_that_is_not_to_be_answered_is_final_and_no_more() -> None:
    scene = Scene(TurnConfig(answers=False))
    scene.speak()
    scene.hush(0.13)
    scene.understand("What time is it?")
    scene.hush(1.0)
    assert scene.last(UserTranscript).final
    assert not scene.all(Draft)
    assert scene.machine.phase is Phase.QUIET


def test_words_over_a_reply_that_nothing_interrupts_are_taken_down() -> None:
    scene = Scene(TurnConfig(interrupts=False))
    scene.step(Ask(1))
    scene.answer("A long story of the sea.", seconds=20.0)
    scene.speak()
    scene.hush(0.13)
    scene.understand("What time is it?")
    scene.hush(1.0)
    assert scene.last(UserTranscript).text == "What time is it?"
    assert not scene.all(Interrupted)
    assert not scene.all(ReplyPaused)
    assert len(scene.all(Draft)) == 1


def test_where_a_reply_cannot_be_held_words_still_end_it() -> None:
    scene = Scene(REALTIME)
    scene.step(Ask(1))
    scene.answer("A long story of the sea.", seconds=20.0)
    scene.speak(0.4)
    scene.hush(0.13)
    scene.understand("What time is it?")
    assert not scene.all(ReplyPaused)
    assert scene.last(ReplyDone).status == "interrupted"
    assert scene.machine.barge_ins.held == 0


def test_whoever_ends_a_turn_and_asks_for_its_reply_gets_one() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    scene.understand("What time is it?")
    guess = scene.last(Draft).draft
    scene.step(EndTurn(scene.sample, must=True))
    assert scene.last(UserTranscript).final
    assert Drop(guess) in scene.effects
    assert not scene.all(ReplyStarted)
    scene.step(Ask(1))
    assert scene.last(ReplyStarted).ask == 1


# --- audio that is thrown away --------------------------------------------------------------------


def test_what_is_thrown_away_was_never_said() -> None:
    scene = Scene(MANUAL)
    scene.speak(1.0)
    scene.step(DropTurn(scene.sample + 512))
    assert not scene.effects  # nobody has been told of it
    scene.speak(0.032)
    scene.speak(0.5)
    scene.step(EndTurn(scene.sample))
    assert scene.last(Look).start >= 16_000


def test_throwing_away_nothing_is_nothing() -> None:
    scene = Scene()
    scene.step(DropTurn(0))
    scene.say()
    scene.step(DropTurn(scene.sample))
    assert scene.committed


def test_a_turn_that_goes_on_is_thrown_away_with_its_guess() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    scene.understand("What time is it?")
    scene.step(DropTurn(scene.sample))
    assert scene.last(Drop).draft == scene.last(Draft).draft
    assert scene.machine.phase is Phase.QUIET


@pytest.mark.parametrize("detection", ["auto", "manual"])
def test_what_was_ended_is_not_thrown_away_though_it_is_still_to_be_heard(
    detection: Detection,
) -> None:
    scene = Scene(TurnConfig(detection=detection))
    scene.speak(1.0)
    thrown_to = scene.sample + 3_000
    scene.step(EndTurn(scene.sample + 1_000))
    scene.step(DropTurn(thrown_to))
    scene.speak(0.3)
    scene.understand("What time is it?")
    assert scene.last(Draft).text == "What time is it?"
    scene.speak(1.0)
    scene.step(EndTurn(scene.sample))
    assert scene.last(Look).start == thrown_to


def test_who_must_know_is_told_that_there_was_nothing_to_end() -> None:
    scene = Scene()
    scene.hush(0.5)
    scene.step(EndTurn(scene.sample, must=True, ref="r"))
    failed = scene.last(Failed)
    assert isinstance(failed.error, NothingToCommit)
    assert failed.ref == "r"
    scene.say()
    count = len(scene.all(Failed))
    scene.step(EndTurn(scene.sample, must=True))
    assert len(scene.all(Failed)) == count


# --- a detector as the client wants it ------------------------------------------------------------


def test_a_silence_that_is_asked_for_ends_a_turn_whatever_was_said() -> None:
    scene = Scene(TurnConfig(silence_s=0.6))
    scene.speak()
    scene.hush(0.13)
    scene.understand("I went to the")
    scene.hush(0.36)
    assert not scene.committed
    scene.hush(0.2)
    assert scene.committed


@pytest.mark.parametrize(("threshold", "heard"), [(0.9, False), (0.3, True), (1.0, False)])
def test_a_threshold_moves_what_counts_as_a_voice(threshold: float, heard: bool) -> None:
    scene = Scene(TurnConfig(threshold=threshold))
    scene.sound(0.5, 0.6)
    assert bool(scene.all(SpeechStarted)) is heard


def test_what_is_sure_is_a_voice_at_any_threshold() -> None:
    scene = Scene(TurnConfig(threshold=1.0))
    scene.sound(0.5, 1.0)
    scene.hush(0.3)
    assert scene.all(SpeechStarted)
    assert scene.all(SpeechStopped)


def test_a_turn_begins_as_early_as_is_asked_for() -> None:
    starts = []
    for preroll in (0, 8_000):
        scene = Scene(TurnConfig(preroll=preroll))
        scene.hush(1.0)
        scene.speak(0.5)
        scene.hush(0.13)
        starts.append(scene.last(Look).start)
    assert starts[0] - starts[1] == 8_000


# --- silence --------------------------------------------------------------------------------------


def test_silence_is_answered_as_a_turn_without_words() -> None:
    scene = Scene()
    scene.step(SaidNothing())
    assert scene.last(UserTranscript).ended
    assert scene.last(ReplyStarted).turn == 1
    scene.step(SaidNothing())
    assert len(scene.all(ReplyStarted)) == 1, "somebody speaks already"
