"""Conversations for the turn machine, move by move, with a referee who watches what follows.

`ALPHABET` has a move for every kind of event that the machine takes; whoever adds one is told by
the tests that it is missing here.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple, replace

from hypothesis import strategies as st

from pipeline.asides import MOST_ASIDES
from pipeline.errors import LlmFailed, SttFailed
from pipeline.events import UserTranscript
from pipeline.playback import Voiced
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
    Effect,
    EndTurn,
    Event,
    Forget,
    Greet,
    Heard,
    Leave,
    Look,
    Looked,
    LookFailed,
    Played,
    SaidNothing,
    Typed,
    Voted,
)
from pipeline.turn import TurnConfig, TurnMachine
from pipeline.utterance import FRAME, SPEECH_HZ
from tests.pipeline.referee import Referee

WORDS = ["", "Mm-hm.", "Stop.", "I went to the", "What time is it?", "I think so.", "uh..."]
RATE = 24_000

Move = tuple  # type: ignore[type-arg]
"""The name of a method of `Conversation`, and what it is called with."""


class Conversation:
    """Plays moves, as the stages and a client would make them."""

    def __init__(self, config: TurnConfig | None = None, moves: Iterable[Move] = ()) -> None:
        self.machine = TurnMachine(config or TurnConfig())
        self.referee = Referee()
        self.now = 10.0
        self.sample = 0
        self.looks: list[Look] = []
        self.heard: list[tuple[int, int]] = []
        """Every window that was asked for."""
        self.voices: list[int] = []
        """The ends of frames that are surely a voice."""
        self.sure: dict[int, bool] = {}
        """Whether the latest window of a turn, by its key, was asked for with all care."""
        self.keys: dict[int, int] = {}
        """Of the turns that silence ends, by their numbers."""
        self.owed: int | None = None
        """The turn that was ended, and whose words were awaited after the last step."""
        self.forgotten: set[int] = set()
        """Turns whose words came, or will come, after they were forgotten."""
        self.told: set[type] = set()
        """The kinds of events that the machine was told."""
        self.play(moves)

    def play(self, moves: Iterable[Move]) -> None:
        for name, *values in moves:
            getattr(self, name)(*values)

    def step(self, event: Event | None) -> None:
        self.told.add(type(event))
        self._follow(self.machine.step(event, self.now))
        turn = self.machine.user.turn
        if turn is not None and not turn.manual:
            self.keys[turn.number] = turn.key
        self.owed = turn.number if turn is not None and turn.forced else None
        wake = self.machine.next_wake(self.now)
        assert wake is None or wake >= self.now - 1e-9, "what was due has been done"

    def _follow(self, effects: list[Effect]) -> None:
        for effect in effects:
            self.referee.see(effect)
            if isinstance(effect, Look):
                assert 0 <= effect.start < effect.end <= self.sample + FRAME
                assert effect.end - effect.start <= 30 * SPEECH_HZ, "a window the recogniser takes"
                self.looks.append(effect)
                self.sure[effect.key] = effect.final
                self.heard.append((effect.start, effect.end))
            elif isinstance(effect, UserTranscript) and effect.final:
                assert self.owed in (None, effect.turn), "what was ended before is final before"
                self.owed = None
                assert effect.discarded or effect.turn not in self.forgotten
                key = self.keys.get(effect.turn) if effect.text else None
                assert key is None or self.sure[key], "last words are taken down with all care"

    # --- the microphone, and who listens ---------------------------------------------------------

    def sound(self, frames: int, probability: float, dbfs: float = -20.0) -> None:
        for _ in range(frames):
            self.sample += FRAME
            self.now += FRAME / SPEECH_HZ
            if frames > 2 and probability > 0.9 and dbfs > -30:
                self.voices.append(self.sample)
            late = self.machine.user.late
            if len(late) == late.maxlen:  # so long after a turn's end there is no audio of it left
                self.voices = [end for end in self.voices if end >= late[1].end]
            self.step(Heard(probability, self.sample, self.now, dbfs))

    def say(self, words: str, then: int) -> None:
        """Something is said and understood, and so many frames of silence follow."""
        self.sound(12, 0.95)
        self.sound(4, 0.02)
        self.answer(-1, words)
        self.sound(then, 0.02)

    def answer(self, index: int, words: str) -> None:
        if self.looks:
            look = self.looks.pop(index % len(self.looks))
            echo = look.over_reply and not words
            self.step(Looked(look.key, look.segment, look.attempt, words, echo, look.end))

    def vote(self, end_of_turn: float) -> None:
        """On the words that were asked for last, or on old ones."""
        turn = self.machine.user.turn
        key, attempt = (turn.key, turn.segments[-1].attempt) if turn is not None else (1, 1)
        segment = len(turn.segments) - 1 if turn is not None else 0
        self.step(Voted(key, segment, attempt, end_of_turn))

    def fail(self) -> None:
        if self.looks:
            look = self.looks.pop()
            self.step(LookFailed(look.key, look.segment, look.attempt, SttFailed("no")))

    # --- whoever makes replies -------------------------------------------------------------------

    def _draft(self, which: int) -> int | None:
        """The conversation's draft (0), or one beside it."""
        works = self.referee.works
        asides = [draft for draft, work in works.items() if work.aside]
        if which:
            return asides[(which - 1) % len(asides)] if asides else None
        return next((draft for draft in works if draft not in asides), None)

    def make(self, text: str, ms: int, which: int = 0) -> None:
        """A clause, and all of its audio."""
        self.stream(text, ms, which)
        self.complete(which)

    def stream(self, text: str, ms: int, which: int = 0) -> None:
        """A clause, and some of its audio: more may come with the next."""
        self.complete(which)
        self.write(text, which)
        if (draft := self._draft(which)) is None:
            return
        work, samples = self.referee.works[draft], ms * RATE // 1000
        if work.silent:
            return  # nobody speaks it
        self.step(DraftClause(draft, work.spoken, work.written))
        if self._draft(which) == draft and not work.whole:
            work.making = Voiced(work.spoken, work.written, work.made, work.made + samples)
        if samples:
            self.step(DraftAudio(draft, samples))

    def complete(self, which: int = 0) -> None:
        """The clause in the making is whole, if there is one."""
        if (draft := self._draft(which)) is None:
            return
        work = self.referee.works[draft]
        whole, work.making = work.making, None
        if whole is not None:
            if len(work.voiced) % 2 == 0:  # of every other clause the voice says when each word is
                words = len(work.text[whole.text_start : whole.text_end].split())
                each = (whole.end - whole.start) / words
                times = tuple(whole.start + round(each * number) for number in range(words + 1))
                whole = replace(whole, words=times)
            work.spoken, work.made = whole.text_end, whole.end
            work.voiced.append(whole)
            self.step(DraftVoiced(draft, *astuple(whole)))

    def write(self, text: str, which: int = 0) -> None:
        """Text that is not voiced yet, and may never be."""
        if (draft := self._draft(which)) is not None:
            work = self.referee.works[draft]
            work.text += "" if work.whole else text
            self.step(DraftText(draft, text))

    def tool(self, call: str, which: int = 0) -> None:
        """A tool is wanted, its arguments in two pieces."""
        if (draft := self._draft(which)) is not None:
            self.step(DraftCall(draft, call, "clock", ""))
            self.step(DraftCall(draft, call, "", "{}"))

    def finish(self, error: Exception | None = None, which: int = 0) -> None:
        if (draft := self._draft(which)) is not None:
            work = self.referee.works[draft]
            self.step(DraftMade(draft, error))
            work.whole = True

    def late(self) -> None:
        """News of a draft that is long gone."""
        self.step(DraftAudio(0, 100))
        self.step(DraftMade(0))

    # --- the client ------------------------------------------------------------------------------

    def played(self, reply: int, ms: float, done: bool) -> None:
        """The client's report on this reply; 0: on the one that is being given."""
        reply = reply or self.referee.reply or 1
        told = self.referee.replies.get(reply)
        if told is not None and reply == self.referee.reply:
            told.played = max(0, min(told.sent, round(ms * RATE / 1000)))
            told.flushed |= done and told.work.whole
        self.step(Played(reply, ms, done))

    def typed(self) -> None:
        self.step(Typed("hello"))

    def greet(self) -> None:
        self.step(Greet("Hello."))

    def end(self, ahead: int = 0, if_any: bool = False, must: bool = False) -> None:
        """The turn is over, or will be when so much more was heard."""
        self.step(EndTurn(self.sample + ahead, if_any=if_any, must=must))

    def drop(self, back: int = 0) -> None:
        self.step(DropTurn(max(0, self.sample - back)))
        turn = self.machine.user.turn
        if turn is None:  # whoever drops what was said wants to hear no more of it
            self.referee.speech.clear()
            self.referee.finals = +self.referee.finals

    def ask(self, aside: bool, waits: bool, silent: bool) -> None:
        turn = max((turn for turn, final in self.referee.finals.items() if final), default=0)
        self.step(Ask(1, 0 if aside else turn, aside, waits, silent))

    def say_nothing(self) -> None:
        self.step(SaidNothing())

    def cancel(self, reply: int = 0) -> None:
        """The conversation's (0), the one that came last, which may be beside it, or an old one."""
        self.step(Cancel(self.referee.last_reply if reply == 1 else reply))

    def forget(self) -> None:
        if self.owed is not None:
            self.forgotten.add(self.owed)
        self.step(Forget())

    def leave(self) -> None:
        self.step(Leave())

    def configure(self, config: TurnConfig) -> None:
        self._follow(self.machine.reconfigure(config, self.now))

    # --- time ------------------------------------------------------------------------------------

    def wait(self, seconds: float) -> None:
        """Wake the machine whenever it asks to be: it must not ask for ever at one moment."""
        end = self.now + seconds
        for _ in range(2_000):
            wake = self.machine.next_wake(self.now)
            if wake is None or wake >= end:
                self.now = end
                self.step(None)
                return
            self.now = max(self.now, wake)
            self.step(None)
        raise AssertionError("the machine wakes itself without end")

    @property
    def at_rest(self) -> bool:
        """Nothing is under way, nor waits."""
        machine = self.machine
        return not (machine.busy or machine.asides.under_way or machine.user.ends.waiting)

    def come_to_rest(self) -> None:
        """The user falls silent, and every stage answers: nothing is left under way."""
        self.configure(TurnConfig())
        for _ in range(40):
            user = self.machine.user
            self.sound(12 if user.turn is not None or user.ends.waiting else 5, 0.01)
            while self.looks:
                self.answer(0, "Is that all?")
            for which in range(1 + MOST_ASIDES):
                if which <= sum(work.aside for work in self.referee.works.values()):
                    self.make("Fine.", 300, which)
            for which in reversed(range(1 + MOST_ASIDES)):
                self.finish(None, which)
            self.wait(2.0)
            if self.at_rest:
                break
        assert self.at_rest
        assert not self.referee.replies
        assert not self.referee.works
        assert set(self.referee.finals.values()) <= {1}
        assert all(self.referee.finals[turn] for turn in self.referee.ended)
        assert not +self.referee.speech


# --- all that may happen --------------------------------------------------------------------------

CONFIGS = st.builds(
    TurnConfig,
    detection=st.sampled_from(["auto", "manual"]),
    pace=st.sampled_from(["quick", "normal", "patient"]),
    speculate=st.booleans(),
    answers=st.sampled_from([True, True, False]),
    interrupts=st.sampled_from([True, True, False]),
    holds=st.booleans(),
    follows_playback=st.booleans(),
    silent=st.sampled_from([False, False, True]),
    silence_s=st.sampled_from([None, None, 0.4]),
)


def _move(name: str, *values: st.SearchStrategy[object]) -> st.SearchStrategy[Move]:
    return st.tuples(st.just(name), *values)


_FRAMES = st.sampled_from([*range(1, 41), 820])  # the last is beyond what a window takes
_LEVELS = st.sampled_from([-20.0, -70.0])
_VOICE = _move("sound", st.integers(4, 40), st.just(0.95), st.just(-20.0))
_PAUSE = _move("sound", st.integers(1, 40), st.just(0.02), _LEVELS)
_SAID = _move("say", st.sampled_from(WORDS), st.integers(0, 24))
_TEXT = st.sampled_from(["Yes. ", "It is noon. "])
_MS = st.integers(0, 3_000)
_WHICH = st.sampled_from([0, 0, 1, 2])

ALPHABET: dict[type, st.SearchStrategy[Move]] = {
    Heard: _VOICE
    | _PAUSE
    | _SAID
    | _move("sound", _FRAMES, st.sampled_from([0.02, 0.4, 0.6, 0.95]), _LEVELS),
    Looked: _move("answer", st.just(-1), st.sampled_from(WORDS))
    | _move("answer", st.integers(0, 9), st.sampled_from(WORDS)),
    LookFailed: _move("fail"),
    Voted: _move("vote", st.sampled_from([0.1, 0.95])),
    EndTurn: _move("end", st.sampled_from([0, 0, 2_000]), st.booleans(), st.booleans()),
    DropTurn: _move("drop", st.sampled_from([0, 4_000])),
    Typed: _move("typed"),
    Greet: _move("greet"),
    Ask: _move("ask", st.booleans(), st.booleans(), st.booleans()),
    SaidNothing: _move("say_nothing"),
    Cancel: _move("cancel", st.sampled_from([0, 0, 1, 2])),
    Forget: _move("forget"),
    Leave: _move("leave"),
    Played: _move("played", st.sampled_from([0, 0, 0, 1, 2]), st.floats(0, 5_000), st.booleans()),
    DraftText: _move("write", st.sampled_from(["And so on. ", "no"]), _WHICH),
    DraftCall: _move("tool", st.sampled_from(["c", "d"]), _WHICH),
    DraftClause: _move("stream", _TEXT, _MS, _WHICH),
    DraftAudio: _move("late"),
    DraftVoiced: _move("make", _TEXT, _MS, _WHICH),
    DraftMade: _move("finish", st.sampled_from([None, LlmFailed("no")]), _WHICH),
}
"""A move for each kind of event."""
BESIDES = (_move("wait", st.floats(0, 3)), _move("configure", CONFIGS))
"""What happens to a machine besides."""


def conversations(
    *but: type, besides: bool = True, and_also: Iterable[st.SearchStrategy[Move]] = ()
) -> st.SearchStrategy[list[Move]]:
    """All that may happen, but for these kinds of events. Long ones: of a few moves alone nothing
    follows, and by itself Hypothesis makes five."""
    kinds = [move for kind, move in ALPHABET.items() if kind not in but]
    moves = st.one_of(*kinds, *(BESIDES if besides else BESIDES[:1]), *and_also)
    return st.lists(moves, min_size=12, max_size=36)
