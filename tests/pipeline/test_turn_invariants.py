"""Random conversations through the turn machine: what must hold whatever happens, in any order."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.errors import LlmFailed, SttFailed
from pipeline.events import (
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
from pipeline.playback import Voiced
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
from pipeline.turn import TurnConfig, TurnMachine
from pipeline.utterance import FRAME, SPEECH_HZ

WORDS = ["", "Mm-hm.", "Stop.", "I went to the", "What time is it?", "I think so.", "uh..."]
RATE = 24_000


@dataclass
class Referee:
    """Watches every effect, and knows the rules."""

    reply: int | None = None
    paused: bool = False
    ended: set[int] = field(default_factory=set)
    sent: int = 0
    finals: Counter[int] = field(default_factory=Counter)
    speech: Counter[int] = field(default_factory=Counter)
    drafts: set[int] = field(default_factory=set)
    guess: int | None = None
    """The draft that is speculative still: only its beginning is made."""
    text: str = ""
    last_reply: int = 0
    voiced: list[Voiced] = field(default_factory=list)
    """The clauses of the draft that was begun last, as far as they are made."""
    reported: tuple[int, int] = (0, 0)
    """The client's last word on its playback: the reply, and samples, no more than were sent."""
    flushed: bool = False
    """The client said that it would play no more of the reply."""

    def see(self, effect: Effect) -> None:
        match effect:
            case ReplyStarted(reply, turn):
                assert self.reply is None, "two replies at once"
                assert self.guess not in self.drafts, "what is told is no guess any more"
                assert reply == self.last_reply + 1, "replies are counted without gaps"
                assert turn == 0 or self.finals[turn] == 1, "its turn is final first"
                self.reply = self.last_reply = reply
                self.paused, self.sent, self.text, self.flushed = False, 0, "", False
            case ReplyText(reply, text):
                assert reply == self.reply
                self.text += text
            case Send(_, reply, start, end):
                assert reply == self.reply
                assert not self.paused, "a held reply says nothing"
                assert start == self.sent < end, "audio is sent in order, once"
                self.sent = end
            case ReplyPaused(reply):
                assert reply == self.reply
                assert not self.paused
                self.paused = True
            case ReplyResumed(reply):
                assert reply == self.reply
                assert self.paused
                self.paused = False
            case ReplyAudioEnd(reply) | Interrupted(reply):
                assert reply == self.reply
            case ReplyDone() as done:
                assert done.reply == self.reply, "one end for every start"
                assert done.text == self.text, "the pieces add up to the whole"
                self.judge_heard(done)
                self.ended.add(done.reply)
                self.reply = None
            case UserTranscript(turn=turn, final=final):
                assert not self.finals[turn], "nothing follows a final transcript"
                self.finals[turn] += final
            case SpeechStarted(turn):
                assert self.speech[turn] == 0
                self.speech[turn] += 1
            case SpeechStopped(turn):
                assert self.speech[turn] == 1
                self.speech[turn] -= 1
            case Draft(draft) as begun:
                assert not self.drafts, "the one before was dropped"
                self.drafts.add(draft)
                self.guess = begun.draft if begun.speculative else None
            case Confirm(draft):
                assert draft == self.guess, "what comes true was a guess, and comes true once"
                self.guess = None
            case Drop(draft):
                assert draft in self.drafts, "dropped once"
                self.drafts.discard(draft)
            case _:
                pass

    def judge_heard(self, done: ReplyDone) -> None:
        """Nothing that cannot have been played, and everything that the client has played."""
        assert done.text.startswith(done.heard)
        if done.status == "completed" and not self.flushed:
            assert done.heard == done.text
            return
        reply, played = self.reported
        most = played if self.flushed else self.sent
        begun = [one for one in self.voiced if one.start < most or one.end <= most]
        assert len(done.heard) <= max((one.text_end for one in begun), default=0)
        if reply == done.reply:
            whole = [one for one in self.voiced if one.end <= played]
            least = max((one.text_end for one in whole), default=0)
            assert len(done.heard) >= len(done.text[:least].rstrip())


class Conversation:
    """Plays a list of moves, as the stages and a client would make them."""

    def __init__(self, config: TurnConfig) -> None:
        self.machine = TurnMachine(config)
        self.referee = Referee()
        self.now = 10.0
        self.sample = 0
        self.looks: list[Look] = []
        self.draft: int | None = None
        self.made = self.written = self.spoken = 0
        self.whole = False
        """There is nothing more to be made."""
        self.heard: list[tuple[int, int]] = []
        """Every window that was asked for."""
        self.voices: list[int] = []
        """The ends of frames that are surely a voice."""

    def step(self, event: Event | None) -> None:
        for effect in self.machine.step(event, self.now):
            self.follow(effect)

    def follow(self, effect: Effect) -> None:
        self.referee.see(effect)
        if isinstance(effect, Look):
            assert 0 <= effect.start < effect.end <= self.sample + FRAME
            assert effect.end - effect.start <= 30 * SPEECH_HZ, "a window the recogniser takes"
            self.looks.append(effect)
            self.heard.append((effect.start, effect.end))
        elif isinstance(effect, Draft):
            self.draft = effect.draft
            self.made = self.written = self.spoken = 0
            self.whole = False
            self.referee.voiced = []
        elif isinstance(effect, Drop) and effect.draft == self.draft:
            self.draft = None

    def sound(self, frames: int, probability: float, dbfs: float = -20.0) -> None:
        for _ in range(frames):
            self.sample += FRAME
            self.now += FRAME / SPEECH_HZ
            if frames > 2 and probability > 0.9 and dbfs > -30:
                self.voices.append(self.sample)
            self.step(Heard(probability, self.sample, self.now, dbfs))

    def wait(self, seconds: float) -> None:
        """Wake the machine whenever it asks to be: it must not ask for ever at one moment."""
        end = self.now + seconds
        for _ in range(2_000):
            wake = self.machine.next_wake(self.now)
            if wake is None or wake >= end:
                self.now = end
                self.step(None)
                return
            assert wake >= self.now - 1e-9
            self.now = max(self.now, wake)
            self.step(None)
        raise AssertionError("the machine wakes itself without end")

    def answer(self, index: int, words: str, vote: float | None) -> None:
        if self.looks:
            look = self.looks.pop(index % len(self.looks))
            echo = look.over_reply and not words
            self.step(Looked(look.key, look.segment, look.attempt, words, echo))
            if vote is not None:
                self.step(Voted(look.key, look.segment, look.attempt, vote))

    def fail(self) -> None:
        if self.looks:
            look = self.looks.pop()
            self.step(LookFailed(look.key, look.segment, look.attempt, SttFailed("no")))

    def make(self, text: str, ms: int) -> None:
        if self.draft is not None:
            draft, samples = self.draft, ms * RATE // 1000
            self.write(text)
            self.step(DraftClause(draft))
            if samples:
                self.step(DraftAudio(draft, samples))
            if self.draft != draft:
                return  # it was not wanted any more
            voiced = Voiced(self.spoken, self.written, self.made, self.made + samples)
            self.spoken, self.made = voiced.text_end, voiced.end
            self.referee.voiced.append(voiced)
            self.step(
                DraftVoiced(draft, voiced.text_start, voiced.text_end, voiced.start, voiced.end)
            )

    def write(self, text: str) -> None:
        """Text that is not voiced yet, and may never be."""
        if self.draft is not None:
            self.written += len(text)
            self.step(DraftText(self.draft, text))

    def played(self, reply: int, ms: float, done: bool) -> None:
        """The client's report on this reply; 0: on the one that is being given."""
        referee = self.referee
        reply = reply or referee.reply or 1
        if reply == referee.reply:
            referee.reported = reply, max(0, min(referee.sent, round(ms * RATE / 1000)))
            referee.flushed |= done and self.whole
        self.step(Played(reply, ms, done))

    def finish(self, error: Exception | None) -> None:
        if self.draft is not None:
            self.whole = True
            self.step(DraftMade(self.draft, error))

    def late(self) -> None:
        """News of a draft that is long gone."""
        self.step(DraftAudio(1, 100))
        self.step(DraftMade(0))


FRAMES = st.integers(1, 40) | st.just(820)  # and one beyond what a window takes
VOTE = st.sampled_from([None, 0.1, 0.95])
MOVE = st.one_of(
    st.tuples(
        st.just("sound"), FRAMES, st.sampled_from([0.02, 0.4, 0.6, 0.95]),
        st.sampled_from([-20.0, -70.0]),
    ),
    st.tuples(st.just("answer"), st.integers(0, 9), st.sampled_from(WORDS), VOTE),
    st.tuples(st.just("make"), st.sampled_from(["Yes. ", "It is noon. "]), st.integers(0, 3_000)),
    st.tuples(st.just("write"), st.sampled_from(["And so on. ", "no"])),
    st.tuples(st.just("finish"), st.sampled_from([None, LlmFailed("no")])),
    st.tuples(st.just("wait"), st.floats(0, 3)),
    st.tuples(st.just("typed")),
    st.tuples(st.just("end")),
    st.tuples(st.just("cancel")),
    st.tuples(st.just("forget")),
    st.tuples(st.just("greet")),
    st.tuples(st.just("fail")),
    st.tuples(st.just("late")),
    st.tuples(
        st.just("played"), st.sampled_from([0, 0, 0, 1, 2]), st.floats(0, 5_000), st.booleans(),
    ),
    st.tuples(st.just("detect"), st.sampled_from(["auto", "manual"])),
)  # fmt: skip


def play(conversation: Conversation, moves: list[tuple]) -> None:  # type: ignore[type-arg]
    for kind, *values in moves:
        match kind:
            case "typed":
                conversation.step(Typed("hello"))
            case "end":
                conversation.step(EndTurn(conversation.sample))
            case "cancel":
                conversation.step(Cancel())
            case "forget":
                conversation.step(Forget())
            case "greet":
                conversation.step(Greet("Hello."))
            case "detect":
                config = TurnConfig(detection=values[0])
                for effect in conversation.machine.reconfigure(config, conversation.now):
                    conversation.follow(effect)
            case _:
                getattr(conversation, kind)(*values)


FLUSHED = [
    ("typed",),
    ("make", "It is noon. ", 1_500),
    ("make", "Yes. ", 1_500),
    ("finish", None),
    ("wait", 2.5),
    ("played", 0, 100.0, True),
]
CUT_SHORT = [*FLUSHED[:3], ("wait", 2.0), ("played", 0, 1_600.0, False), ("cancel",)]
OVER_A_REPLY = [("typed",), ("make", "Yes. ", 3_000), ("sound", 10, 0.95, -20.0)]


@settings(max_examples=400, deadline=None)
@example(FLUSHED, "auto", True)
@example(CUT_SHORT, "auto", True)
@given(st.lists(MOVE, max_size=60), st.sampled_from(["auto", "manual"]), st.booleans())
def test_the_rules_hold_in_any_conversation(
    moves: list[tuple],  # type: ignore[type-arg]
    detection: str,
    speculate: bool,
) -> None:
    conversation = Conversation(TurnConfig(detection=detection, speculate=speculate))  # type: ignore[arg-type]
    play(conversation, moves)


AS_IT_COMES = MOVE.filter(lambda move: move[0] not in ("detect", "end"))


@settings(max_examples=150, deadline=None)
@example(OVER_A_REPLY)
@given(st.lists(AS_IT_COMES, max_size=40))
def test_no_voice_goes_unheard(moves: list[tuple]) -> None:  # type: ignore[type-arg]
    """Whatever is said, while whatever goes on, lies in a window that is listened to."""
    conversation = Conversation(TurnConfig())
    play(conversation, moves)
    conversation.sound(60, 0.01)
    deaf = [
        end
        for end in conversation.voices
        if not any(start < end <= to for start, to in conversation.heard)
    ]
    assert not deaf


@settings(max_examples=100, deadline=None)
@given(st.lists(MOVE, max_size=40))
def test_every_conversation_comes_to_rest(moves: list[tuple]) -> None:  # type: ignore[type-arg]
    """When the user falls silent and every stage answers, nothing is left under way."""
    conversation = Conversation(TurnConfig())
    play(conversation, moves)
    for effect in conversation.machine.reconfigure(TurnConfig(), conversation.now):
        conversation.follow(effect)
    for _ in range(12):
        conversation.sound(40, 0.01)
        while conversation.looks:
            conversation.answer(0, "That is all.", None)
        conversation.make("Fine.", 300)
        conversation.finish(None)
        conversation.wait(2.0)
    assert not conversation.machine.busy
    assert conversation.referee.reply is None
    assert not conversation.referee.drafts
    assert set(conversation.referee.finals.values()) <= {1}
    assert not +conversation.referee.speech
