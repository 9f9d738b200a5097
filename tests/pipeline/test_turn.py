"""The turn machine in virtual time: no clock, no loop, no sleep."""

from __future__ import annotations

from dataclasses import astuple, dataclass, field
from itertools import pairwise
from typing import TypeVar

import pytest

from pipeline import user
from pipeline.barge_in import Verdict, judge
from pipeline.cutting_in import BargeIns
from pipeline.edges import MOST_FALLS
from pipeline.endpointing import SURE_S
from pipeline.ends import MOST_ENDS
from pipeline.errors import AtCapacity, LlmFailed, RateLimited, SttFailed, TtsFailed
from pipeline.events import (
    Failed,
    Interrupted,
    ReplyAudioEnd,
    ReplyDone,
    ReplyPaused,
    ReplyResumed,
    ReplyStarted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    UserTranscript,
)
from pipeline.signals import (
    Cancel,
    Confirm,
    Draft,
    DraftAudio,
    DraftClause,
    DraftMade,
    DraftText,
    DraftVoiced,
    Drop,
    DropTurn,
    Effect,
    EndTurn,
    Event,
    Forget,
    Greet,
    Heard,
    Look,
    Looked,
    LookFailed,
    Played,
    Send,
    Typed,
    Voted,
)
from pipeline.turn import Phase, TurnConfig, TurnMachine
from pipeline.user import LEAST_S, MOST_SEGMENTS
from pipeline.utterance import CUT_AT, CUT_FROM, FRAME, SPEECH_HZ

T = TypeVar("T")
RATE = 24_000
WORDLESS = ("", ".", "...", "♪", "[BLANK_AUDIO]", "(coughs)", "[noise] (laughs).")
"""What recognisers write where nobody said a word."""


@dataclass
class Scene:
    """A conversation that a test plays, frame by frame."""

    config: TurnConfig = field(default_factory=TurnConfig)
    now: float = 100.0
    sample: int = 0
    effects: list[Effect] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.machine = TurnMachine(self.config)

    def step(self, event: Event | None) -> list[Effect]:
        new = self.machine.step(event, self.now)
        self.effects += new
        return new

    def sound(self, seconds: float, probability: float, dbfs: float = 0.0) -> None:
        """The microphone hears something for so long."""
        for _ in range(round(seconds * SPEECH_HZ / FRAME)):
            self.now += FRAME / SPEECH_HZ
            self.sample += FRAME
            self.step(Heard(probability, self.sample, self.now, dbfs))

    def speak(self, seconds: float = 1.0) -> None:
        self.sound(seconds, 0.95)

    def hush(self, seconds: float = 1.0) -> None:
        self.sound(seconds, 0.02)

    def understand(self, text: str, end_of_turn: float | None = None) -> None:
        """The latest look brings these words."""
        look = self.last(Look)
        self.answer_look(look, text)
        if end_of_turn is not None:
            self.step(Voted(look.key, look.segment, look.attempt, end_of_turn))

    def answer_look(self, look: Look, text: str) -> None:
        """This look, the latest or not, brings these words."""
        self.step(Looked(look.key, look.segment, look.attempt, text, end=look.end))

    def say(self, text: str = "What time is it?", seconds: float = 1.0) -> None:
        """A whole turn, understood and committed."""
        self.speak(seconds)
        self.hush(0.13)
        self.understand(text)
        self.hush(0.3)
        assert self.machine.phase is Phase.COMMITTED

    def answer(
        self, text: str = "It is noon.", seconds: float = 2.0, *, whole: bool = True
    ) -> None:
        """The reply's text and audio are made."""
        draft = self.last(Draft).draft
        self.step(DraftText(draft, text))
        self.step(DraftClause(draft))
        samples = round(seconds * RATE)
        self.step(DraftAudio(draft, samples))
        self.step(DraftVoiced(draft, 0, len(text), 0, samples))
        if whole:
            self.step(DraftMade(draft))

    def wait(self, seconds: float, tick: float = 0.05) -> None:
        """Time goes by, and the machine is woken when it asks to be."""
        end = self.now + seconds
        while self.now < end:
            wake = self.machine.next_wake(self.now)
            self.now = min(end, max(self.now + 1e-6, wake)) if wake is not None else end
            self.step(None)

    @property
    def committed(self) -> bool:
        return self.machine.phase is Phase.COMMITTED

    def all(self, kind: type[T]) -> list[T]:
        return [effect for effect in self.effects if isinstance(effect, kind)]

    def last(self, kind: type[T]) -> T:
        return self.all(kind)[-1]


def test_a_click_is_not_speech() -> None:
    scene = Scene()
    scene.hush()
    scene.sound(0.032, 0.9)
    scene.hush()
    assert not scene.effects


def test_speech_opens_a_turn_with_what_was_before_its_onset() -> None:
    scene = Scene()
    scene.hush(1.0)
    scene.speak(0.5)
    assert scene.last(SpeechStarted).turn == 1
    scene.hush(0.13)
    look = scene.last(Look)
    onset = scene.last(SpeechStarted).at_ms * SPEECH_HZ // 1000
    assert onset - 0.35 * SPEECH_HZ < look.start < onset - 0.25 * SPEECH_HZ


def test_a_question_is_answered_after_a_short_silence() -> None:
    scene = Scene()
    scene.speak()
    spoke_until = scene.now
    scene.hush(0.13)
    scene.understand("What time is it?")
    while not scene.committed:
        scene.hush(0.032)
    assert SURE_S <= scene.now - spoke_until + 1e-9 <= SURE_S + 2 * FRAME / SPEECH_HZ
    assert scene.last(Draft).text == "What time is it?"


def test_a_voice_that_falls_away_is_answered_before_its_end_is_certain() -> None:
    scene = Scene()
    scene.speak()
    scene.sound(0.032, 0.9, dbfs=-50)  # the detector still hears it
    look = scene.last(Look)
    assert look.end == scene.sample
    scene.understand("What time is it?")
    assert scene.last(Draft).speculative
    scene.hush(0.064)
    assert scene.last(Look) == look  # these are its words
    scene.hush(0.3)
    assert scene.committed
    assert len(scene.all(Draft)) == 1


def test_a_voice_that_comes_back_takes_its_draft_back() -> None:
    scene = Scene()
    scene.speak()
    scene.sound(0.032, 0.9, dbfs=-50)
    scene.understand("What time is it?")
    scene.speak(0.3)
    assert scene.last(Drop).draft == scene.last(Draft).draft
    scene.hush(0.064)
    assert scene.last(Look).end == scene.sample - FRAME


def test_an_old_fall_is_looked_at_again() -> None:
    scene = Scene()
    scene.speak()
    scene.sound(0.032, 0.9, dbfs=-50)
    before = scene.last(Look)
    scene.sound(0.32, 0.9, dbfs=-50)
    scene.hush(0.032)
    assert scene.last(Look).end > before.end


def test_silence_is_counted_from_where_the_voice_fell_away() -> None:
    scene = Scene()
    scene.speak()
    spoke_until, spoke_to = scene.now, scene.sample
    scene.sound(0.128, 0.9, dbfs=-50)  # the detector holds on
    scene.understand("What time is it?")
    while not scene.committed:
        scene.hush(0.032)
    assert SURE_S <= scene.now - spoke_until + 1e-9 <= SURE_S + 2 * FRAME / SPEECH_HZ
    assert abs(scene.last(SpeechStopped).at_ms * SPEECH_HZ // 1_000 - spoke_to) <= FRAME


def test_a_fall_that_was_not_looked_at_still_ends_the_voice() -> None:
    scene = Scene()
    for _ in range(MOST_FALLS):
        scene.speak(0.16)
        scene.sound(0.032, 0.9, dbfs=-50)
    scene.speak(0.064)
    spoke_until = scene.now
    before = scene.last(Look)
    scene.sound(0.128, 0.9, dbfs=-50)
    assert scene.last(Look) == before
    scene.hush(0.032)
    assert scene.last(Look).end == scene.sample
    scene.understand("What time is it?")
    while not scene.committed:
        scene.hush(0.032)
    assert scene.now - spoke_until <= SURE_S + 2 * FRAME / SPEECH_HZ + 1e-9


def test_what_is_far_softer_than_the_voice_is_not_the_voice_again() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.032)
    looks = len(scene.all(Look))
    scene.sound(0.128, 0.9, dbfs=-50)  # noise, which a detector may take for a breath of speech
    scene.understand("What time is it?")
    scene.hush(0.16)
    assert scene.committed
    assert len(scene.all(Look)) == looks


@pytest.mark.parametrize("seconds", [0, 5])
def test_who_begins_to_push_to_talk_after_a_long_silence_is_heard_from_then(seconds: float) -> None:
    scene = Scene()
    scene.hush(60)
    begun = scene.sample
    scene.effects += scene.machine.reconfigure(TurnConfig(detection="manual"), scene.now)
    scene.speak(seconds)
    scene.step(EndTurn(scene.sample))
    assert scene.all(Look)[0].start >= begun - CUT_FROM


def test_without_speculation_nothing_is_foreseen() -> None:
    scene = Scene(TurnConfig(speculate=False))
    scene.speak()
    scene.sound(0.064, 0.9, dbfs=-50)
    assert not scene.all(Look)


def test_an_unfinished_sentence_is_waited_for() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    scene.understand("I would like to go to the")
    scene.hush(0.8)
    assert not scene.committed
    scene.speak(0.5)
    scene.hush(0.13)
    scene.understand("I would like to go to the station?")
    scene.hush(0.3)
    assert scene.last(Draft).turn == 1
    assert scene.last(Draft).text == "I would like to go to the station?"


def test_nothing_is_told_of_a_reply_before_its_first_audio() -> None:
    scene = Scene()
    scene.say("What time is it?")
    draft = scene.last(Draft).draft
    scene.step(DraftText(draft, "It is noon."))
    assert not scene.all(ReplyStarted)
    assert not [t for t in scene.all(UserTranscript) if t.final]
    told = scene.step(DraftAudio(draft, RATE))
    assert [type(effect) for effect in told][:4] == [UserTranscript, ReplyStarted, ReplyText, Send]
    final = scene.last(UserTranscript)
    assert (final.text, final.final) == ("What time is it?", True)
    assert scene.last(ReplyStarted) == ReplyStarted(1, 1)


def test_who_goes_on_before_the_reply_leaves_was_never_cut_off() -> None:
    scene = Scene()
    scene.say("Is it late?")
    draft = scene.last(Draft).draft
    scene.step(DraftText(draft, "No."))
    scene.speak(0.5)
    assert scene.last(Drop).draft == draft
    assert scene.machine.phase is Phase.SPEAKING
    scene.step(DraftAudio(draft, RATE))  # late news of a dropped draft
    assert not scene.all(ReplyStarted)
    scene.hush(0.13)
    scene.understand("Is it late? Tell me.", 0.95)
    scene.hush(0.3)
    assert scene.last(Draft).turn == 1
    scene.answer()
    assert [t.text for t in scene.all(UserTranscript) if t.final] == ["Is it late? Tell me."]
    assert scene.last(ReplyStarted) == ReplyStarted(1, 1)


@pytest.mark.parametrize("text", WORDLESS)
def test_a_turn_without_words_is_dropped(text: str) -> None:
    scene = Scene()
    scene.speak(0.2)
    scene.hush(0.13)
    scene.understand(text)
    scene.hush(1.0)
    assert not scene.all(Draft)
    dropped = scene.last(UserTranscript)
    assert dropped == UserTranscript(1, "", final=True, discarded=True)
    assert dropped.timeline is not None
    assert dropped.timeline.transcript == 128
    assert dropped.timeline.commit == 512
    assert scene.machine.phase is Phase.QUIET
    scene.say()
    assert scene.last(Draft).turn == 2


def test_every_start_of_speech_that_is_told_has_its_stop() -> None:
    scene = Scene()
    for _ in range(3):
        scene.speak(0.4)
        scene.hush(0.25)
    scene.understand("one two three", 0.1)
    scene.hush(1.0)
    assert len(scene.all(SpeechStarted)) == len(scene.all(SpeechStopped)) == 3
    assert {event.turn for event in scene.all(SpeechStarted)} == {1}


def test_a_reply_is_sent_at_most_a_second_ahead_and_ends_when_it_has_been_heard() -> None:
    scene = Scene()
    scene.say()
    scene.answer(seconds=3.0)
    sent_at = scene.now
    sent = scene.last(Send).end
    assert RATE <= sent <= 1.1 * RATE
    scene.wait(1.0)
    assert 2.0 * RATE <= scene.last(Send).end <= 2.2 * RATE
    scene.wait(1.0)
    assert scene.last(ReplyAudioEnd) == ReplyAudioEnd(1, 3_000)
    assert not scene.all(ReplyDone)
    scene.wait(1.2)
    done = scene.last(ReplyDone)
    assert (done.status, done.heard) == ("completed", "It is noon.")
    assert scene.now - sent_at >= 3.0
    pieces = scene.all(Send)
    assert [piece.start for piece in pieces] == [0, *(piece.end for piece in pieces[:-1])]


def test_a_report_of_the_end_ends_the_reply() -> None:
    scene = Scene()
    scene.say()
    scene.answer(seconds=0.5)
    scene.now += 0.1
    scene.step(Played(1, 490))
    assert scene.last(ReplyDone).status == "completed"


def test_a_report_of_another_reply_is_nothing() -> None:
    scene = Scene()
    scene.say()
    scene.answer(seconds=0.5)
    scene.now += 0.1
    scene.step(Played(7, 490, done=True))
    assert not scene.all(ReplyDone)


def test_reports_hold_the_audio_back() -> None:
    scene = Scene()
    scene.say()
    scene.answer(seconds=5.0)
    for _ in range(8):  # a loudspeaker that stands still
        scene.now += 0.25
        scene.step(Played(1, 0))
    assert scene.last(Send).end <= 1.4 * RATE


def test_speech_during_a_reply_stops_it_at_what_was_heard() -> None:
    scene = Scene()
    scene.say()
    scene.answer("one two three four five six seven eight", seconds=4.0)
    scene.wait(2.0)
    scene.speak(0.6)
    interrupted, done = scene.last(Interrupted), scene.last(ReplyDone)
    assert done.status == "interrupted"
    assert interrupted.heard == done.heard
    assert done.text.startswith(done.heard)
    assert 2 <= len(done.heard.split()) <= 6
    assert scene.last(Drop).draft == 1
    sends = len(scene.all(Send))
    scene.wait(2.0)
    assert len(scene.all(Send)) == sends


@pytest.mark.parametrize("text", ["7.", "I [am] here.", "(a) yes", "¿Sí?", "はい。"])
def test_marks_and_brackets_among_words_are_part_of_them(text: str) -> None:
    scene = Scene()
    scene.speak(1.0)
    scene.step(EndTurn(scene.sample))
    scene.understand(text)
    scene.answer()
    assert scene.last(UserTranscript) == UserTranscript(1, text, final=True)


@pytest.mark.parametrize("text", WORDLESS)
def test_a_short_noise_does_not_stop_a_reply(text: str) -> None:
    scene = Scene()
    scene.say()
    scene.answer(seconds=3.0)
    scene.speak(0.1)
    scene.hush(0.2)
    scene.understand(text)
    scene.hush(0.5)
    assert not scene.all(Interrupted)
    assert scene.last(UserTranscript).discarded


def over_a_reply(words: str = "I shall tell you all about the sea and its ships") -> Scene:
    scene = Scene()
    scene.say()
    scene.answer(words, seconds=6.0)
    scene.wait(1.0)
    return scene


def test_a_yes_is_the_answer_as_soon_as_the_question_has_left() -> None:
    scene = Scene()
    scene.say()
    scene.answer("Shall I go on?", seconds=1.3)  # of which the last 0.3 s are still here
    scene.speak(0.3)
    scene.hush(0.13)
    scene.understand("Yes.")
    assert scene.last(ReplyResumed) == ReplyResumed(1)
    assert not scene.all(Interrupted)
    scene.hush(1.2)
    assert scene.last(Draft).text == "Yes."
    assert scene.last(ReplyDone).reply == 1


def echo(scene: Scene) -> None:
    look = scene.last(Look)
    assert look.over_reply
    scene.step(Looked(look.key, look.segment, look.attempt, "", echo=True))


def test_an_echo_of_the_reply_lets_it_go_on_and_is_transcribed_no_more() -> None:
    scene = over_a_reply()
    scene.speak(0.3)
    heard_to = scene.last(Look).end
    echo(scene)
    assert scene.last(ReplyResumed) == ReplyResumed(1)
    scene.speak(2.0)
    assert scene.last(Look).start == heard_to
    assert not scene.all(Interrupted)


def test_a_client_that_echoes_is_not_held_at_every_word_and_may_cut_in() -> None:
    scene = over_a_reply()
    scene.speak(0.3)
    echo(scene)
    scene.hush(0.1)
    echo(scene)
    scene.hush(0.7)
    assert scene.last(UserTranscript).discarded
    scene.speak(0.3)
    echo(scene)
    assert len(scene.all(ReplyPaused)) == 1
    scene.speak(0.6)
    scene.understand("Stop, I want")
    assert not scene.all(Interrupted)  # a look may miss an echo, two in a row do not
    scene.speak(0.6)
    scene.understand("Stop, I want to say something")
    assert scene.last(Interrupted).reply == 1


def test_one_look_that_misses_an_echo_is_forgiven() -> None:
    scene = over_a_reply()
    scene.speak(0.3)
    echo(scene)
    scene.speak(0.6)
    echo(scene)
    for _ in range(2):
        scene.speak(0.6)
        scene.understand("the seven ships")
        scene.speak(0.6)
        echo(scene)
    assert not scene.all(Interrupted)


def test_a_word_that_is_known_at_its_end_ends_the_reply_at_once() -> None:
    scene = over_a_reply()
    scene.speak(0.25)
    scene.sound(0.032, 0.9, dbfs=-50)  # it falls away
    scene.understand("Stop.")
    assert not scene.all(Interrupted)  # it may be half a word
    scene.hush(0.032)
    assert scene.last(Interrupted).reply == 1


def test_a_short_word_is_waited_for_a_little_and_then_the_reply_goes_on() -> None:
    scene = over_a_reply()
    scene.speak(0.35)
    scene.hush(0.16)
    assert not scene.all(ReplyResumed)
    scene.hush(0.1)
    assert scene.last(ReplyResumed) == ReplyResumed(1)
    scene.understand("Stop.")
    assert scene.last(Interrupted).reply == 1


def test_speech_over_a_reply_that_the_client_stops_is_plain_speech() -> None:
    scene = over_a_reply()
    scene.speak(0.2)
    scene.step(Cancel())
    looks = len(scene.all(Look))
    scene.speak(1.0)
    assert len(scene.all(Look)) - looks <= 1


def test_a_held_reply_is_held_once() -> None:
    scene = over_a_reply()
    replies = scene.machine.replies
    assert list(replies.hold(scene.now)) == [ReplyPaused(1)]
    assert not list(replies.hold(scene.now))


def test_speech_over_a_reply_holds_it_at_once() -> None:
    scene = over_a_reply()
    before = scene.now
    while not scene.all(ReplyPaused):
        scene.speak(0.032)
    assert scene.now - before <= 0.1
    sends = len(scene.all(Send))
    scene.speak(0.3)
    assert len(scene.all(Send)) == sends


def test_a_held_reply_that_had_been_played_already_is_let_go() -> None:
    scene = Scene()
    scene.say()
    scene.answer("It is three.", seconds=1.5)
    scene.wait(1.2)
    while not scene.all(ReplyPaused):
        scene.speak(0.032)
    scene.step(Played(1, 1_500, done=True))  # on its way when the reply was held
    assert scene.last(ReplyResumed) == ReplyResumed(1)
    assert scene.last(ReplyDone).status == "completed"


@pytest.mark.parametrize(
    "words",
    ["", "Mm-hm.", "uh huh", "Yeah, right.", "Oh, I see.", "Got it", "はい", "about the sea and"],
)
def test_what_says_nothing_lets_the_reply_go_on(words: str) -> None:
    scene = over_a_reply()
    onset = scene.now
    scene.speak(0.3)
    scene.hush(0.13)
    scene.understand(words)
    assert scene.last(ReplyResumed) == ReplyResumed(1)
    assert scene.now - onset <= 0.6
    scene.hush(0.6)
    assert not scene.all(Interrupted)
    assert scene.last(UserTranscript) == UserTranscript(2, "", final=True, discarded=True)
    scene.wait(8.0)
    assert scene.last(ReplyDone).status == "completed"


@pytest.mark.parametrize("words", ["I", "It", "Got", "See", "I see it"])
def test_the_beginning_of_a_sign_of_listening_may_be_that_of_anything(words: str) -> None:
    assert judge(words, "") is Verdict.CUT_IN


@pytest.mark.parametrize(
    "words", ["हाँ", "हां जी", "अच्छा", "对对对", "嗯嗯", "うんうん", "Mm-hm, yeah."]
)
def test_signs_of_listening_are_known_as_each_language_writes_them(words: str) -> None:
    assert judge(words, "") is Verdict.BACKCHANNEL


@pytest.mark.parametrize("words", ["हाँ लेकिन सुनो", "对不起", "ありがとう", "don't"])
def test_a_word_that_only_begins_like_one_is_a_word(words: str) -> None:
    assert judge(words, "") is Verdict.CUT_IN


def test_a_turn_that_is_dropped_while_it_holds_a_reply_lets_it_go_on() -> None:
    scene = over_a_reply()
    scene.speak(0.3)
    assert scene.last(ReplyPaused) == ReplyPaused(1)
    scene.step(DropTurn(scene.sample))
    assert scene.last(UserTranscript).discarded
    assert scene.last(ReplyResumed) == ReplyResumed(1)
    scene.hush(0.6)
    scene.wait(8.0)
    assert scene.last(ReplyDone).status == "completed"


def test_a_word_that_means_it_ends_the_reply_when_it_is_over() -> None:
    scene = over_a_reply()
    scene.speak(0.3)
    scene.hush(0.13)
    scene.understand("Stop.")
    assert scene.last(Interrupted).reply == 1
    scene.hush(0.6)
    assert scene.last(Draft).text == "Stop."


def test_who_keeps_speaking_has_cut_in_within_600_ms() -> None:
    scene = over_a_reply()
    onset = scene.now
    while not scene.all(Interrupted):
        scene.speak(0.032)
    assert scene.now - onset <= 0.6


def test_who_begins_with_a_yeah_and_goes_on_is_not_talked_over() -> None:
    scene = Scene()
    scene.step(Typed("hello"))
    scene.answer("A long story of the sea.", 20.0)
    scene.speak(0.4)
    scene.understand("Yeah.")
    scene.speak(0.2)
    assert scene.last(ReplyResumed).reply == 1
    looks = len(scene.all(Look))
    while len(scene.all(Look)) == looks:
        scene.speak(FRAME / SPEECH_HZ)
    look = scene.last(Look)
    assert look.end - scene.machine.user.ear.began_at <= SPEECH_HZ
    scene.understand("Yeah, but I wanted to ask")
    assert scene.last(Interrupted).reply == 1


def test_a_voice_that_goes_on_without_words_is_listened_to_less_after_a_while() -> None:
    scene = Scene()
    scene.step(Typed("hello"))
    scene.answer("A long story of the sea.", 30.0)
    for _ in range(4):
        scene.speak(3.0)
        scene.understand("")
    ends = [look.end / SPEECH_HZ for look in scene.all(Look)]
    gaps = [later - earlier for earlier, later in pairwise(ends)]
    assert sum(end < 4.0 for end in ends) <= 9
    assert min(gaps[-4:]) >= 1.4


def test_who_cuts_in_and_stops_at_once_is_transcribed_with_care_like_anybody_else() -> None:
    scene = Scene()
    scene.step(Typed("hello"))
    scene.answer("A long story of the sea.", 10.0)
    scene.speak(0.4)
    scene.understand("Tell me about")
    scene.sound(0.16, 0.9, dbfs=-70)  # it fell away undecided, and is decided before its silence
    quick = scene.last(Look)
    assert scene.all(Interrupted)
    scene.hush(0.064)
    sure = scene.last(Look)
    assert (quick.final, sure.final) == (False, True)
    scene.understand("Tell me about the moon.", 0.95)
    scene.hush(0.3)
    assert scene.committed
    assert scene.last(Draft).text == "Tell me about the moon."


def test_the_words_of_an_earlier_look_decide_when_the_latest_is_late() -> None:
    scene = over_a_reply()
    scene.speak(0.3)
    early = scene.last(Look)
    scene.speak(0.15)
    assert scene.last(Look).attempt > early.attempt
    scene.answer_look(early, "Excuse me")
    assert not scene.all(Interrupted)  # it may be half a word
    scene.speak(0.1)
    assert scene.last(Interrupted).reply == 1
    assert not scene.all(ReplyResumed)


def test_an_early_look_without_words_lets_the_reply_go_on_unless_a_later_one_has_some() -> None:
    scene = over_a_reply()
    onset = scene.now
    scene.speak(0.3)
    early = scene.last(Look)
    scene.speak(0.15)
    scene.answer_look(early, "")
    scene.speak(0.064)
    assert not scene.all(ReplyResumed)
    while not scene.all(ReplyResumed):
        scene.speak(0.032)
    assert scene.now - onset <= 0.6
    scene.understand("Excuse me")
    assert scene.last(Interrupted).reply == 1


def test_words_that_come_when_the_turn_is_over_change_nothing() -> None:
    scene = Scene()
    scene.say()
    told = len(scene.all(UserTranscript))
    scene.understand("What time is it now?")
    assert len(scene.all(UserTranscript)) == told
    assert scene.machine.phase is Phase.COMMITTED


def test_words_of_an_earlier_look_never_replace_those_of_a_later_one() -> None:
    scene = over_a_reply()
    scene.speak(0.3)
    early = scene.last(Look)
    scene.speak(0.15)
    scene.understand("")
    scene.answer_look(early, "Excuse me")
    scene.speak(0.2)
    assert scene.all(ReplyResumed)
    assert not scene.all(Interrupted)


def test_a_long_cough_is_no_word() -> None:
    scene = over_a_reply()
    scene.speak(0.4)
    scene.understand("")
    scene.speak(0.4)
    assert scene.all(ReplyResumed)
    assert not scene.all(Interrupted)


def test_an_echo_that_turns_into_words_still_cuts_in() -> None:
    scene = over_a_reply()
    scene.speak(0.4)
    scene.understand("about the sea")
    scene.speak(0.4)
    assert scene.all(ReplyResumed)
    scene.speak(1.5)
    scene.understand("about the sea no wait I meant something else entirely")
    assert scene.last(Interrupted).reply == 1


def test_short_speech_whose_words_are_late_is_let_pass_until_they_come() -> None:
    scene = over_a_reply()
    scene.speak(0.3)
    scene.hush(0.4)
    assert scene.all(ReplyResumed)
    scene.understand("No.")
    assert scene.last(Interrupted).reply == 1


def test_every_pause_of_a_reply_has_its_end() -> None:
    scene = over_a_reply()
    scene.speak(0.3)
    scene.step(Cancel())
    assert scene.last(ReplyDone).status == "cancelled"
    scene.hush(2.0)
    assert not scene.all(ReplyResumed)


def test_a_reply_is_begun_before_the_turn_is_over_and_held_until_it_is() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    scene.understand("I like it.", 0.95)
    begun = scene.now
    assert scene.last(Draft).speculative
    scene.answer("Fine.")
    assert not scene.all(ReplyStarted)
    assert not scene.all(Confirm)
    while not scene.all(ReplyStarted):
        scene.hush(0.032)
    assert len(scene.all(Draft)) == 1
    assert scene.last(Confirm).draft == scene.last(Draft).draft
    assert scene.machine.speculation.saved_ms == round((scene.now - begun) * 1000)
    scene.wait(4.0)
    latency = scene.last(ReplyDone).latency
    assert latency is not None
    assert (latency.llm, latency.tts) == (0, 0)


def test_a_wasted_speculation_leaves_nothing() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    scene.understand("I like it.", 0.95)
    scene.answer("Fine.")
    scene.speak(0.5)
    assert scene.last(Drop).draft == 1
    told = [e for e in scene.effects if isinstance(e, ReplyStarted | ReplyText | Send | ReplyDone)]
    assert told == []
    scene.hush(0.13)
    scene.understand("I think so, but not yet.", 0.95)
    scene.hush(0.6)
    scene.answer("Good.")
    assert [s.reply for s in scene.all(ReplyStarted)] == [1]
    assert scene.last(ReplyText).text == "Good."
    assert (scene.machine.speculation.begun, scene.machine.speculation.wasted) == (2, 1)


def test_a_speculation_that_was_committed_and_taken_back_saved_nothing() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    scene.understand("I like it.", 0.95)
    scene.hush(0.7)
    assert scene.committed  # no audio yet, so that it can be taken back
    scene.speak(0.5)
    speculation = scene.machine.speculation
    assert (speculation.begun, speculation.wasted, speculation.saved_ms) == (1, 1, 0)


def test_a_speculation_whose_turn_is_typed_over_was_for_nothing() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    scene.understand("I like it.", 0.95)
    scene.hush(0.7)
    assert scene.committed
    scene.step(Typed("never mind"))
    speculation = scene.machine.speculation
    assert (speculation.begun, speculation.wasted, speculation.saved_ms) == (1, 1, 0)


def test_barge_ins_are_counted_by_what_became_of_them() -> None:
    scene = over_a_reply()
    scene.speak(0.3)
    scene.hush(0.13)
    scene.understand("Mm-hm.")
    assert scene.machine.barge_ins == BargeIns(held=1, resumed=1)
    scene.hush(1.0)
    scene.speak(0.6)
    scene.understand("No, tell me about Rome.")
    scene.hush(0.5)
    scene.understand("No, tell me about Rome.")
    assert scene.all(Interrupted)
    assert scene.machine.barge_ins == BargeIns(held=2, resumed=1, interrupted=1)


def test_a_speculation_on_other_words_is_made_anew() -> None:
    scene = Scene()
    scene.speak(2.0)
    scene.hush(0.13)
    scene.understand("I like it.", 0.95)
    first = scene.last(Draft).draft
    scene.sound(0.032, 0.9)  # a frame of voice, too short for speech
    look = scene.last(Look)
    scene.step(Looked(look.key, look.segment, look.attempt, "I think not."))
    assert scene.last(Drop).draft == first
    assert scene.last(Draft).text == "I think not."


def test_cancel_does_not_end_a_turn_whose_reply_nobody_knows_of() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    scene.understand("I like it.", 0.95)
    scene.step(Cancel())
    assert not scene.all(ReplyStarted)
    scene.hush(0.6)
    assert scene.committed


def test_speculation_can_be_switched_off() -> None:
    scene = Scene(TurnConfig(speculate=False))
    scene.speak()
    scene.hush(0.13)
    scene.understand("I like it.", 0.95)
    assert not scene.all(Draft)
    scene.hush(0.6)
    assert not scene.last(Draft).speculative


def test_cancel_stops_a_reply_whether_it_has_left_or_not() -> None:
    scene = Scene()
    scene.step(Cancel())
    assert not scene.effects
    scene.say("Is it late?")
    scene.step(Cancel())
    assert scene.last(ReplyStarted) == ReplyStarted(1, 1)
    assert scene.last(ReplyDone).status == "cancelled"
    assert [t.text for t in scene.all(UserTranscript) if t.final] == ["Is it late?"]
    scene.say()
    scene.answer(seconds=3.0)
    scene.step(Cancel())
    assert scene.last(ReplyDone).status == "cancelled"
    assert not scene.machine.busy


def test_a_typed_turn_is_told_at_once_and_answered() -> None:
    scene = Scene()
    scene.step(Typed("hello", "ref"))
    assert scene.effects[0] == UserTranscript(1, "hello", final=True, ref="ref")
    assert scene.all(ReplyStarted) == [ReplyStarted(1, 1)]
    scene.answer()
    latency = scene.last(Send) and scene.machine.replies.current
    assert latency is not None
    scene.wait(3.0)
    done = scene.last(ReplyDone)
    assert done.latency is not None
    assert done.latency.endpoint == done.latency.stt == 0


def test_a_typed_turn_ends_the_reply_to_the_one_before() -> None:
    scene = Scene()
    scene.step(Typed("one"))
    scene.answer(seconds=3.0)
    scene.step(Typed("two"))
    assert [done.status for done in scene.all(ReplyDone)] == ["interrupted"]
    scene.answer(seconds=0.5)
    scene.wait(2.0)
    assert [done.status for done in scene.all(ReplyDone)] == ["interrupted", "completed"]


def test_a_committed_turn_whose_answer_never_left_was_said_all_the_same() -> None:
    scene = Scene()
    scene.say("Is it late?")
    scene.step(Typed("never mind"))
    finals = [t.text for t in scene.all(UserTranscript) if t.final]
    assert finals == ["Is it late?", "never mind"]
    assert scene.all(ReplyStarted) == [ReplyStarted(1, 2)]


def test_a_greeting_is_a_reply_to_turn_0() -> None:
    scene = Scene()
    scene.step(Greet("Hello."))
    assert scene.last(Draft).say == "Hello."
    assert scene.last(ReplyStarted) == ReplyStarted(1, 0)


def test_the_user_can_end_a_turn_at_once() -> None:
    scene = Scene()
    scene.speak(1.0)
    scene.step(EndTurn(scene.sample))
    scene.understand("I would like to go to the")
    assert scene.last(Draft).text == "I would like to go to the"
    assert scene.last(ReplyStarted) == ReplyStarted(1, 1)
    assert scene.machine.phase is Phase.QUIET


def test_the_end_of_a_turn_waits_until_everything_before_it_was_heard() -> None:
    scene = Scene()
    scene.speak(1.0)
    end = scene.sample + 30 * FRAME  # about a second that VAD has not seen yet
    scene.step(EndTurn(end))
    scene.speak(0.8)
    assert not [look for look in scene.all(Look) if look.final]
    scene.speak(0.2)
    assert scene.last(Look).end == end


def test_an_end_without_a_turn_is_ignored() -> None:
    scene = Scene()
    scene.hush()
    scene.step(EndTurn(scene.sample))
    assert not scene.effects


def test_in_manual_mode_silence_ends_nothing() -> None:
    scene = Scene(TurnConfig(detection="manual"))
    scene.speak()
    scene.hush(5.0)
    scene.speak()
    assert not scene.effects
    scene.step(EndTurn(scene.sample))
    look = scene.last(Look)
    assert (look.start, look.end) == (0, scene.sample)
    scene.understand("one and two")
    assert scene.last(UserTranscript).text == "one and two"
    assert scene.last(ReplyStarted) == ReplyStarted(1, 1)


def test_in_manual_mode_audio_after_a_commit_belongs_to_the_next_turn() -> None:
    scene = Scene(TurnConfig(detection="manual"))
    scene.speak(1.0)
    first_end = scene.sample
    scene.step(EndTurn(first_end))
    scene.speak(1.0)
    scene.step(EndTurn(scene.sample))  # before the first is understood
    scene.understand("one")
    assert scene.last(Look).start == first_end
    scene.understand("two")
    assert [t.text for t in scene.all(UserTranscript) if t.final] == ["one", "two"]
    assert [d.status for d in scene.all(ReplyDone)] == ["interrupted"]


def test_every_end_of_a_turn_is_answered_however_many_come_before_their_words() -> None:
    scene = Scene(TurnConfig(detection="manual"))
    for number in range(MOST_ENDS + 3):
        scene.speak(0.1)
        scene.step(EndTurn(scene.sample, ref=f"commit {number}"))
    told = [(type(told.error), told.ref) for told in scene.all(Failed)]
    assert told == [(RateLimited, f"commit {MOST_ENDS + extra}") for extra in range(2)]
    for _ in range(2):  # nobody waits for what a mute leads to
        scene.step(EndTurn(scene.sample, if_any=True))
    assert [told.ref for told in scene.all(Failed)[2:]] == [f"commit {MOST_ENDS + 2}"]
    for number in range(MOST_ENDS):
        scene.understand(f"words {number}")
    assert len([said for said in scene.all(UserTranscript) if said.final]) == MOST_ENDS


def test_what_is_promised_of_a_turns_length_is_what_its_segments_hold() -> None:
    assert LEAST_S == (MOST_SEGMENTS - 1) * CUT_FROM / SPEECH_HZ


@pytest.fixture
def three_segments(monkeypatch: pytest.MonkeyPatch) -> float:
    """The longest turn is of so many: for how many seconds it may go on, at least."""
    monkeypatch.setattr(user, "MOST_SEGMENTS", 3)
    return 2 * CUT_FROM / SPEECH_HZ


def test_a_manual_turn_may_last_as_long_as_is_promised(three_segments: float) -> None:
    scene = Scene(TurnConfig(detection="manual"))
    scene.speak(three_segments)
    for look in scene.all(Look):
        scene.answer_look(look, "on and on")
    assert not any(said.final for said in scene.all(UserTranscript))
    scene.speak(3 * (CUT_AT - CUT_FROM) / SPEECH_HZ)
    for look in scene.all(Look):
        scene.answer_look(look, "on and on")
    assert scene.last(UserTranscript).final


def test_a_manual_commit_without_audio_is_a_turn_without_words() -> None:
    scene = Scene(TurnConfig(detection="manual"))
    scene.step(EndTurn(0))
    nothing = UserTranscript(1, "", final=True, discarded=True, ended=True)
    assert scene.last(UserTranscript) == nothing


def test_speech_longer_than_a_window_is_understood_in_parts() -> None:
    scene = Scene()
    scene.speak(20.0)
    scene.sound(0.1, 0.4)  # the quietest place between 22 and 26 s is found
    scene.speak(CUT_AT / SPEECH_HZ)
    cuts = [look for look in scene.all(Look) if look.final]
    assert cuts[0].end - cuts[0].start <= CUT_AT
    assert scene.all(Look)[-1].start == cuts[-1].end
    scene.hush(0.13)
    looks = {look.segment: look for look in scene.all(Look)}
    for look in looks.values():
        scene.step(Looked(look.key, look.segment, look.attempt, f"part {look.segment}?"))
    scene.hush(0.3)
    assert scene.last(Draft).text == " ".join(f"part {n}?" for n in sorted(looks))


def test_long_manual_turns_are_cut_too() -> None:
    scene = Scene(TurnConfig(detection="manual"))
    scene.speak(30.0)
    assert len(scene.all(Look)) == 1
    scene.step(EndTurn(scene.sample))
    for look in scene.all(Look):
        scene.step(Looked(look.key, look.segment, look.attempt, f"part {look.segment}"))
    assert scene.last(UserTranscript).text == "part 0 part 1"


def test_a_turn_that_pauses_just_before_its_cut_is_answered() -> None:
    scene = Scene()
    scene.speak(CUT_AT / SPEECH_HZ - 0.15)
    scene.hush(1.0)
    look = scene.last(Look)
    scene.step(Looked(look.key, look.segment, look.attempt, "What time is it?"))
    scene.hush(0.5)
    assert scene.committed


@pytest.mark.usefixtures("three_segments")
def test_a_turn_that_never_ends_is_ended() -> None:
    scene = Scene()
    for _ in range(4):
        scene.speak(25.0)
        for look in scene.all(Look):
            scene.answer_look(look, "and on")
    assert scene.all(ReplyStarted)


def test_every_commit_ends_a_turn_where_it_was_given() -> None:
    scene = Scene(TurnConfig(detection="manual"))
    ends = []
    for seconds in (2.0, 3.0, 4.0):
        ends.append((ends[-1] if ends else 0) + round(seconds * SPEECH_HZ / FRAME) * FRAME)
    for end in ends:  # all given before VAD has heard a thing
        scene.step(EndTurn(end))
    for number in range(3):
        scene.speak(5.0)
        scene.understand(f"part {number}")
    windows = [(look.start, look.end) for look in scene.all(Look)]
    assert windows == [(0, ends[0]), (ends[0], ends[1]), (ends[1], ends[2])]
    finals = [t.text for t in scene.all(UserTranscript) if t.final]
    assert finals == ["part 0", "part 1", "part 2"]


def test_a_long_turn_that_was_ended_before_it_was_heard_is_understood_in_windows() -> None:
    scene = Scene(TurnConfig(detection="manual"))
    scene.step(EndTurn(FRAME))
    scene.sound(2, 0.9)
    scene.step(EndTurn(70 * SPEECH_HZ))
    scene.speak(71.0)  # the first turn's words are still on their way
    scene.understand("first")
    for look in scene.all(Look)[1:]:
        assert look.end - look.start <= CUT_AT
        scene.step(Looked(look.key, look.segment, look.attempt, f"part {look.segment}"))
    assert scene.last(UserTranscript).text == "part 0 part 1 part 2"


@pytest.mark.parametrize("words", ["And in Rome?", ""])
def test_what_is_said_while_the_words_of_an_ended_turn_are_awaited_is_heard(words: str) -> None:
    scene = Scene()
    scene.speak(1.0)
    end = scene.sample
    scene.step(EndTurn(end))
    scene.speak(1.0)
    scene.hush(1.0)
    assert len(scene.all(Look)) == 1
    scene.understand("What time is it?")
    assert scene.last(Look).start == end
    scene.understand(words)
    scene.answer()
    assert scene.last(UserTranscript) == UserTranscript(2, words, final=True, discarded=not words)
    # What only made a noise meanwhile has not spoken over the answer.
    assert [cut.reply for cut in scene.all(Interrupted)] == ([1] if words else [])
    assert not scene.all(ReplyPaused)


def test_who_still_speaks_when_the_words_of_an_ended_turn_are_known_holds_the_reply() -> None:
    scene = Scene()
    scene.speak(1.0)
    scene.step(EndTurn(scene.sample))
    scene.speak(2.0)
    scene.understand("What time is it?")
    assert scene.last(ReplyPaused) == ReplyPaused(1)
    scene.hush(0.1)
    scene.understand("")
    assert scene.last(ReplyResumed) == ReplyResumed(1)


def test_muting_without_a_turn_is_no_turn() -> None:
    scene = Scene(TurnConfig(detection="manual"))
    scene.step(EndTurn(0, if_any=True))
    assert not scene.effects


def test_what_was_begun_from_a_forgotten_history_is_made_anew() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    scene.understand("I like it.", 0.95)
    scene.step(Forget())
    assert scene.last(Drop).draft == 1
    scene.hush(0.6)
    assert scene.committed
    assert scene.last(Draft).draft == 2


def test_a_quick_yes_to_a_question_is_an_answer() -> None:
    scene = Scene()
    scene.say()
    scene.answer("Shall I go on?", seconds=1.0)
    scene.wait(0.6)
    scene.speak(0.3)
    scene.hush(0.13)
    scene.understand("Yes.")
    assert scene.last(Interrupted).reply == 1
    scene.hush(0.6)
    assert scene.last(Draft).text == "Yes."


def test_a_change_to_manual_does_not_swallow_what_comes_after_a_commit() -> None:
    scene = Scene()
    scene.say()
    heard_to = scene.sample
    scene.effects += scene.machine.reconfigure(TurnConfig(detection="manual"), scene.now)
    assert scene.all(ReplyStarted)
    scene.speak(1.0)
    scene.step(EndTurn(scene.sample))
    assert scene.last(Look).start <= heard_to


def test_a_change_to_auto_leaves_a_manual_turn_the_audio_that_its_end_waits_for() -> None:
    scene = Scene(TurnConfig(detection="manual"))
    scene.speak(1.0)
    end = scene.sample + 5_000
    scene.step(EndTurn(end))
    scene.effects += scene.machine.reconfigure(TurnConfig(), scene.now)
    scene.hush(0.4)
    assert not scene.all(SpeechStopped)  # whoever ends their turns is not told when they speak
    assert scene.last(Look).end == end
    scene.understand("All of it.")
    assert [said.text for said in scene.all(UserTranscript) if said.final] == ["All of it."]


@pytest.mark.parametrize("ahead", [0, 5_000])
def test_a_change_to_manual_does_not_end_again_what_was_ended(ahead: int) -> None:
    scene = Scene()
    scene.speak(1.0)
    scene.step(EndTurn(scene.sample + ahead))
    scene.effects += scene.machine.reconfigure(TurnConfig(detection="manual"), scene.now)
    scene.speak(1.0)
    scene.understand("What time is it?")
    assert [said.turn for said in scene.all(UserTranscript) if said.final] == [1]


def test_only_the_latest_look_counts() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    early = scene.last(Look)
    scene.speak(0.5)
    scene.hush(0.13)
    late = scene.last(Look)
    assert late.attempt > early.attempt
    scene.step(Looked(early.key, early.segment, early.attempt, "old?"))
    scene.hush(0.5)
    assert not scene.all(Draft)
    scene.step(Looked(late.key, late.segment, late.attempt, "old and new?"))
    assert scene.last(Draft).text == "old and new?"


def test_a_failed_look_is_tried_once_more_then_told() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    look = scene.last(Look)
    scene.step(LookFailed(look.key, look.segment, look.attempt, SttFailed("no")))
    again = scene.last(Look)
    assert (again.start, again.end) == (look.start, look.end)
    assert not scene.all(Failed)
    scene.step(LookFailed(again.key, again.segment, again.attempt, SttFailed("no")))
    assert scene.last(Failed).turn == 1
    scene.hush(1.0)
    assert scene.last(UserTranscript).discarded


def test_words_so_far_that_failed_do_not_cost_the_last_ones_their_second_try() -> None:
    scene = Scene()
    scene.speak(2.0)
    for final in (False, True):
        look = scene.last(Look)
        assert look.final is final
        scene.step(LookFailed(look.key, look.segment, look.attempt, SttFailed("no")))
        assert scene.last(Look).attempt == look.attempt + 1
        scene.understand("What time is it?")
        scene.hush(0.13)
    assert not scene.all(Failed)


def test_a_reply_that_fails_says_so_and_ends_failed() -> None:
    scene = Scene()
    scene.say()
    scene.step(DraftMade(scene.last(Draft).draft, LlmFailed("no answer")))
    assert scene.last(Failed).reply == 1
    done = scene.last(ReplyDone)
    assert (done.status, done.text, done.heard) == ("failed", "", "")
    assert done.latency is None


def test_what_was_made_before_a_failure_is_still_spoken() -> None:
    scene = Scene()
    scene.say()
    scene.answer("One sentence.", seconds=1.0, whole=False)
    scene.step(DraftMade(scene.last(Draft).draft, LlmFailed("broke off")))
    assert not scene.all(ReplyDone)
    scene.wait(2.5)
    done = scene.last(ReplyDone)
    assert (done.status, done.heard) == ("failed", "One sentence.")


def test_the_parts_of_the_latency_add_up() -> None:
    scene = Scene()
    scene.speak()
    voiced = scene.now
    scene.hush(0.13)
    scene.understand("What time is it?")
    scene.hush(0.3)
    draft = scene.last(Draft).draft
    scene.now += 0.1
    scene.step(DraftText(draft, "Noon."))
    scene.step(DraftClause(draft))
    scene.now += 0.2
    scene.step(DraftAudio(draft, RATE))
    total = round((scene.now - voiced) * 1000)
    scene.step(DraftMade(draft))
    scene.wait(3.0)
    latency = scene.last(ReplyDone).latency
    assert latency is not None
    assert abs(latency.total - total) <= 1
    assert latency.tts == 200
    assert latency.stt == 0


def tell_slowly(scene: Scene) -> list[float]:
    """Text, a clause and audio of the draft, 100 ms apart; when each came."""
    draft = scene.last(Draft).draft
    came = []
    for news in (DraftText(draft, "Noon."), DraftClause(draft), DraftAudio(draft, RATE)):
        scene.now += 0.1
        came.append(scene.now)
        scene.step(news)
    scene.step(DraftVoiced(draft, 0, 5, 0, RATE))
    scene.step(DraftMade(draft))
    return came


def since_ms(start: float, moments: list[float]) -> list[int]:
    return [round((at - start) * 1000) for at in moments]


def test_the_timeline_of_a_spoken_turn_begins_with_its_last_voiced_sample() -> None:
    scene = Scene(TurnConfig(speculate=False))
    scene.speak()
    voiced = scene.now
    scene.hush(0.13)
    scene.understand("What time is it?")
    understood = scene.now
    while not scene.committed:
        scene.hush(0.032)
    committed = scene.now
    came = tell_slowly(scene)
    scene.wait(3.0)
    done = scene.last(ReplyDone)
    assert done.spoken
    # The first chunk leaves in the step that brings it.
    steps = [understood, committed, *came, came[-1]]
    assert list(astuple(done.timeline)) == since_ms(voiced, steps)
    assert done.latency is not None
    assert done.latency.total == done.timeline.first_sent


def test_in_a_speculated_turns_timeline_the_work_stands_before_the_commit() -> None:
    scene = Scene()
    scene.speak()
    voiced = scene.now
    scene.hush(0.064)
    scene.understand("I like it.", 0.95)
    understood = scene.now
    came = tell_slowly(scene)
    while not scene.all(ReplyStarted):
        scene.hush(0.032)
    left = scene.now
    scene.wait(3.0)
    done = scene.last(ReplyDone)
    assert list(astuple(done.timeline)) == since_ms(voiced, [understood, left, *came, left])
    assert done.latency is not None
    assert (done.latency.total, done.latency.llm) == (done.timeline.first_sent, 0)


def test_a_turn_that_went_on_has_the_timeline_of_its_last_words() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    scene.understand("I like it.", 0.95)
    scene.speak(0.5)
    voiced = scene.now
    scene.hush(0.13)
    scene.understand("I like it a lot.", 0.95)
    understood = scene.now
    scene.hush(0.7)
    scene.answer()
    scene.wait(4.0)
    assert scene.last(ReplyDone).timeline.transcript == since_ms(voiced, [understood])[0]


@pytest.mark.parametrize(("event", "turn"), [(Typed("hello"), 1), (Greet("Good day."), 0)])
def test_what_was_not_spoken_is_whole_and_committed_when_it_comes(event: Event, turn: int) -> None:
    scene = Scene()
    scene.step(event)
    asked = scene.now
    came = tell_slowly(scene)
    scene.wait(3.0)
    done = scene.last(ReplyDone)
    assert (done.turn, done.spoken) == (turn, False)
    assert list(astuple(done.timeline)) == [0, 0, *since_ms(asked, [*came, came[-1]])]


def test_a_barge_in_ends_one_timeline_and_the_next_turn_has_its_own() -> None:
    scene = over_a_reply()
    before = scene.machine.replies.current
    assert before is not None
    expected = before.marks.timeline()
    scene.speak(1.0)
    voiced = scene.now
    scene.hush(0.13)
    scene.understand("No, tell me about Rome.")
    done = scene.last(ReplyDone)
    assert (done.status, done.timeline) == ("interrupted", expected)
    understood = scene.now
    scene.hush(1.2)
    scene.answer()
    scene.wait(4.0)
    timeline = scene.last(ReplyDone).timeline
    assert scene.last(ReplyDone).reply == done.reply + 1
    assert timeline.transcript == since_ms(voiced, [understood])[0]
    assert timeline.first_sent is not None
    assert timeline.commit is not None
    assert timeline.transcript <= timeline.commit <= timeline.first_sent


def test_a_reply_that_was_never_heard_has_a_timeline_up_to_where_it_came() -> None:
    scene = Scene()
    scene.step(Typed("hello"))
    scene.step(DraftText(scene.last(Draft).draft, "Good"))
    scene.step(Cancel())
    timeline = scene.last(ReplyDone).timeline
    assert timeline.first_token == 0
    assert timeline.first_clause is timeline.first_audio is timeline.first_sent is None


def test_when_the_words_come_late_the_wait_is_the_recognisers() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.6)
    scene.understand("What time is it?")
    scene.answer()
    scene.wait(4.0)
    latency = scene.last(ReplyDone).latency
    assert latency is not None
    assert latency.stt > 400


def test_a_patient_user_is_waited_for_longer() -> None:
    def wait_at(pace: str) -> float:
        scene = Scene(TurnConfig(pace=pace))  # type: ignore[arg-type]
        scene.speak()
        began = scene.now
        scene.hush(0.13)
        scene.understand("I like it.", 0.95)
        while not scene.committed:
            scene.hush(0.032)
        return scene.now - began

    assert wait_at("quick") < wait_at("normal") < wait_at("patient")


@pytest.mark.parametrize("detection", ["auto", "manual"])
def test_a_change_of_detection_ends_the_turn_under_way(detection: str) -> None:
    other = "manual" if detection == "auto" else "auto"
    scene = Scene(TurnConfig(detection=detection))  # type: ignore[arg-type]
    scene.speak()
    changed = TurnConfig(detection=other)  # type: ignore[arg-type]
    scene.effects += scene.machine.reconfigure(changed, scene.now)
    scene.understand("said before")
    assert scene.last(UserTranscript).text == "said before"


# --- Corners, so that every branch is walked ------------------------------------------------------


def test_half_a_word_over_a_reply_is_not_believed_before_its_end() -> None:
    scene = Scene()
    scene.say()
    scene.answer(seconds=5.0)
    scene.speak(0.4)  # long enough to be asked for, too short to be decided on
    scene.understand("Stop that, please")
    assert scene.all(ReplyPaused)
    assert not scene.all(Interrupted)
    scene.speak(0.3)
    assert scene.all(Interrupted)


def test_only_inside_speech_would_a_gap_be_silence() -> None:
    scene = Scene()
    assert not scene.machine.inside_speech
    scene.speak(0.3)
    assert scene.machine.inside_speech
    scene.hush(0.13)
    assert scene.machine.inside_speech
    scene.understand("What time is it?")
    scene.hush(0.4)
    assert scene.committed
    assert not scene.machine.inside_speech


def test_a_pause_can_be_declared_the_end() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.2)
    scene.understand("I like it because", 0.1)
    scene.step(EndTurn(scene.sample))
    scene.hush(0.032)
    assert scene.committed or scene.all(UserTranscript)[-1].final
    assert scene.last(Draft).text == "I like it because"


def test_more_ends_than_can_wait_are_one_at_the_latest() -> None:
    scene = Scene(TurnConfig(detection="manual"))
    for ahead in range(1, 40):
        scene.step(EndTurn(ahead * 1_600))
    assert len(scene.machine.user.ends.waiting) == 32
    assert scene.machine.user.ends.waiting[-1].said.at == 39 * 1_600


def test_no_second_reply_is_begun_while_one_is_spoken() -> None:
    scene = Scene()
    scene.say()
    scene.answer("Shall I go on with it?", seconds=9.0)
    scene.speak(0.2)
    scene.hush(0.1)
    scene.understand("No, stop there, it is enough.", 0.99)
    assert scene.all(Interrupted)
    assert len(scene.all(Draft)) == 2


def test_word_of_a_reply_that_has_ended_is_ignored() -> None:
    scene = Scene()
    scene.say()
    scene.answer(seconds=0.5)
    scene.wait(1.0)
    ended = len(scene.effects)
    scene.step(Played(1, 500, done=True))
    scene.step(Played(7, 500, done=True))
    assert len(scene.effects) == ended


def test_a_long_turn_is_cut_where_it_was_quietest() -> None:
    scene = Scene()
    scene.speak(23.0)
    quiet_at = scene.sample
    scene.sound(0.032, 0.55)
    scene.speak(4.0)
    first = next(look for look in scene.all(Look) if look.final)
    assert abs(first.end - quiet_at) <= FRAME


def test_the_client_may_say_that_it_has_played_everything() -> None:
    scene = Scene()
    scene.say()
    scene.answer(seconds=0.5)
    scene.now += 0.1
    scene.step(Played(1, 120, done=True))  # its loudspeaker was flushed
    assert scene.last(ReplyDone).status == "completed"


def test_a_vote_for_words_that_are_old_counts_no_more() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.064)
    old = scene.last(Look)
    scene.speak(0.3)
    scene.hush(0.064)
    scene.step(Looked(scene.last(Look).key, 0, scene.last(Look).attempt, "I think so, too."))
    scene.step(Voted(old.key, old.segment, old.attempt, 0.99))
    scene.hush(0.3)
    assert not scene.committed


def test_what_is_forgotten_while_it_is_being_answered_is_answered_anew() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    scene.understand("What time is it?")
    first = scene.last(Draft)
    assert first.speculative
    scene.step(Forget())
    assert scene.last(Drop).draft == first.draft
    scene.hush(0.3)
    assert scene.last(Draft).draft != first.draft


def test_another_pace_ends_no_turn_and_another_detection_does() -> None:
    scene = Scene()
    scene.speak()
    assert not scene.machine.reconfigure(TurnConfig(pace="patient"), scene.now)
    scene.effects += scene.machine.reconfigure(TurnConfig(detection="manual"), scene.now)
    scene.understand("What time is it?")
    assert [t.text for t in scene.all(UserTranscript) if t.final] == ["What time is it?"]


def test_a_reply_that_is_being_heard_is_not_made_from_what_is_forgotten_any_more() -> None:
    scene = over_a_reply()
    scene.step(Forget())
    assert scene.last(ReplyDone).status == "cancelled"


def test_what_a_voice_that_broke_never_said_was_not_heard() -> None:
    scene = Scene()
    scene.say()
    scene.answer("Here I am. And here is more.", seconds=1.0, whole=False)
    draft = scene.last(Draft).draft
    scene.step(DraftText(draft, " And what nobody voiced."))
    scene.step(DraftMade(draft, TtsFailed("no")))
    scene.wait(3.0)
    done = scene.last(ReplyDone)
    assert (done.status, done.heard) == ("failed", "Here I am. And here is more.")


def test_who_flushes_and_says_done_has_heard_what_was_played() -> None:
    scene = Scene()
    scene.say()
    scene.answer("One two three four five six seven eight.", seconds=0.9)
    scene.step(Played(1, 200, done=True))
    done = scene.last(ReplyDone)
    assert done.status == "completed"
    assert done.heard == "One two"


def test_a_speculation_that_failed_is_not_the_answer() -> None:
    scene = Scene()
    scene.speak()
    scene.hush(0.13)
    scene.understand("I like it.", 0.95)
    first = scene.last(Draft)
    assert first.speculative
    scene.step(DraftMade(first.draft, AtCapacity("too many wait")))
    scene.hush(0.6)
    assert scene.last(Draft).draft != first.draft
    assert not scene.last(Draft).speculative
    scene.answer("Fine.")
    assert not scene.all(Failed)
    assert scene.machine.speculation.wasted == 1


def test_ends_that_end_nothing_do_not_end_the_next_turn() -> None:
    scene = Scene()
    scene.hush(0.2)
    at = scene.machine.user.ear.heard_to + 10 * FRAME
    for _ in range(3):
        scene.step(EndTurn(at))
    scene.hush(0.4)
    scene.speak(1.0)
    assert scene.machine.phase is Phase.SPEAKING
    assert len(scene.all(SpeechStarted)) == 1


def test_a_second_try_over_a_reply_may_be_its_echo_too() -> None:
    scene = over_a_reply()
    scene.speak(0.3)
    look = scene.last(Look)
    scene.step(LookFailed(look.key, look.segment, look.attempt, SttFailed("no")))
    assert scene.last(Look).attempt == look.attempt + 1
    assert scene.last(Look).over_reply


def test_who_cuts_into_a_clause_that_is_still_being_made_has_heard_its_beginning() -> None:
    scene = Scene(TurnConfig(holds=False))
    scene.say()
    text = "Well, now. There once was a king who had a tale for every day of the year."
    draft = scene.last(Draft).draft
    scene.step(DraftText(draft, text))
    scene.step(DraftClause(draft, 0, 10))
    scene.step(DraftAudio(draft, RATE))
    scene.step(DraftVoiced(draft, 0, 10, 0, RATE))
    scene.step(DraftClause(draft, 10, len(text)))
    scene.step(DraftAudio(draft, 2 * RATE))  # of some six seconds
    scene.wait(2.3)
    scene.step(Cancel())
    done = scene.last(ReplyDone)
    assert done.heard == "Well, now. There once"
    assert [clause.text_end for clause in done.voiced] == [10, len(text)]


def test_turns_and_replies_are_counted_on_from_where_they_were_left() -> None:
    machine = TurnMachine(TurnConfig(), next_turn=7, next_reply=5)
    (told, *_) = machine.step(Typed("hello"), 1.0)
    assert isinstance(told, UserTranscript)
    assert (told.turn, machine.next_turn) == (7, 8)
    assert machine.replies.next_reply == 6
