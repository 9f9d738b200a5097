"""The turn-taking machine: who speaks, and when. Pure: (event, now) -> effects.

Two halves that know nothing of each other: the user (`user.py`: who speaks, what was said, what
ends a turn) and the assistant (`assistant.py`: which reply is made, to what; `replies.py`: how it
leaves and ends). Here each event finds its half, and here is decided what concerns both: whether a
turn is over, whether its reply may leave, and, with `cutting_in.py`, who goes on when both speak.
A reply may begin before its turn is over, and a turn be taken back until the reply leaves: what was
made is then gone without a trace. Speech is timed in samples at 16 kHz, playback in seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .edges import Sound, attuned
from .endpointing import patience_s
from .ends import Fate
from .events import UserTranscript
from .signals import (
    Ask,
    Cancel,
    DropTurn,
    Effect,
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
from .turn_closing import TurnClosing
from .turn_config import TurnConfig as TurnConfig
from .user import Phase as Phase
from .utterance import Learnt, Utterance

WORDLESS_S = 0.5
"""Silence after which a turn without words is dropped."""
SPECULATE_S = 0.7
"""How long before its turn can be committed a reply is begun, at most."""


class TurnMachine(TurnClosing):
    """One conversation's turns. Feed it every event; carry out every effect, in order."""

    def step(self, event: Event | None, now: float) -> list[Effect]:
        """What follows from an event, or, for None, from the time."""
        effects = [*self._follow(event, now), *self.cut_in.decide_late(now)]
        effects += self.replies.play(now)
        effects += self.asides.play(now)
        effects += self._begin_asked(now)
        return effects

    def reconfigure(self, config: TurnConfig, now: float) -> list[Effect]:
        """Change what the client may choose. A turn begun under another detection ends."""
        effects: list[Effect] = []
        if config.detection != self.config.detection and self.user.turn is not None:
            if self.user.committed:
                effects = list(self._start_reply())
            if not self.user.owes_words:  # else it is ended already
                effects += self.step(EndTurn(self.user.ear.heard_to), now)
        self.user.reconfigure(config)
        self.config = self.assistant.config = config
        return effects

    def _follow(self, event: Event | None, now: float) -> Iterator[Effect]:
        match event:
            case None:
                pass
            case Heard():
                frame = attuned(event, self.config.threshold)
                if not self.user.put_off(frame):
                    yield from self._heard(frame, now)
                    yield from self._end_turns(now)
            case Looked() | LookFailed():
                yield from self._looked(event, now)
            case Voted():
                if self.user.open is not None and self.user.open.hear_vote(event):
                    yield from self._decide(now)
            case EndTurn():
                yield from self.user.ends.end(event)
                yield from self._end_turns(now)
            case DropTurn(at):
                if (dropped := self.user.drop(at)) is not None:
                    yield from self._discard(dropped, now)
            case Typed():
                yield from self.user.take_typed(event)
                yield from self._end_turns(now)
            case Greet(text):
                yield from self._supersede(now)
                yield from self.assistant.say(0, text, now, verbatim=True)
            case Ask(aside=aside):
                (self.asides if aside else self.assistant).ask(event)
            case SaidNothing():
                yield from self._said_nothing()
            case Cancel(reply) if self.asides.has(reply):
                yield from self.asides.cancel(now, reply)
            case Cancel(reply):
                if not reply or self.can_cancel(reply):
                    yield from self._cancel(now)
            case Forget():
                yield from self._forget(now)
            case Leave():
                self.assistant.asks.clear()
                yield from self.replies.interrupt(now)
                yield from self.asides.cancel(now)
            case Played():
                self.replies.played(event, now)
            case _:
                yield from self.asides.note(event, now)
                yield from self.replies.note(event, now)
                if self.replies.ready and not self.speculation.open:
                    yield from self._start_reply()

    # --- the user speaks -------------------------------------------------------------------------

    def _heard(self, frame: Heard, now: float, *, late: bool = False) -> Iterator[Effect]:
        """`late`: it was put off, and over another reply, if over any."""
        user, replying = self.user, self.assistant.replying and not late
        match user.hear(frame, eager=replying):
            case Sound.ONSET:
                yield from self.assistant.take_back()
                yield from user.begin(frame)
                if replying and self.config.interrupts:
                    yield from self.cut_in.suspect(user.ear.began_at, now, hold=self.config.holds)
            case Sound.VOICE if user.turn is not None:
                if (yield from user.go_on(frame, now, self.cut_in.over(now))):
                    yield from self.assistant.take_back()
                yield from self.cut_in.decide(user.turn, frame.end, now, speaking=True)
            case Sound.SILENCE if user.turn is not None:
                yield from user.pause(frame, now, self.cut_in.over(now))
                yield from self.cut_in.decide(user.turn, frame.end, now, speaking=False)
                yield from self._decide(now)
            case Sound.PUSHED:
                yield from user.push(frame, now)

    def _looked(self, answer: Looked | LookFailed, now: float) -> Iterator[Effect]:
        turn = self.user.open
        if turn is None:
            return
        match (yield from turn.learn(answer, now, self.cut_in.over(now))):
            case Learnt.NOTHING:
                return
            case Learnt.ECHO:
                yield from self.cut_in.hear_echo(now)
            case Learnt.WORDS if not turn.manual and self.config.interrupts:
                silent = self.user.phase is Phase.PAUSED
                yield from self.cut_in.understand(turn.text, now, silent=silent)
        yield from self._decide(now, waited_for_words=True)
        yield from self._end_turns(now)
        if self.user.late:
            yield from self._catch_up(now)

    def _catch_up(self, now: float) -> Iterator[Effect]:
        """Hear what was put off. Who has not stopped by now speaks over the reply that begins."""
        while (frame := self.user.next_late()) is not None:
            yield from self._heard(frame, now, late=True)
            yield from self._end_turns(now)
        speaking = self.inside_speech and self.user.phase is Phase.SPEAKING
        if speaking and self.assistant.replying and self.config.interrupts:
            yield from self.cut_in.suspect(self.user.ear.heard_to, now, hold=self.config.holds)

    def _end_turns(self, now: float) -> Iterator[Effect]:
        """The user said that turns are over; they are, once all up to there has been heard. What
        was typed meanwhile comes in its order among them."""
        while (due := self.user.next_due()) is not None:
            if isinstance(due.said, Typed):
                yield from self._answer_typed(due.said, due.fate, now)
                continue
            if self.user.committed and self.user.turn is not None:
                yield from self._end_committed(self.user.turn, due.said, due.fate, now)
            else:
                yield from self.user.force(due.said, due.fate, now)
                self.cut_in.wait_for_words(now)
                yield from self._decide(now)
            self.user.skip(due.said.dropped_to)

    def _answer_typed(self, typed: Typed, fate: Fate, now: float) -> Iterator[Effect]:
        number, ref = self.user.take_number(), typed.ref
        if fate is Fate.FORGOTTEN:
            yield UserTranscript(number, "", final=True, discarded=True, ref=ref)
            return
        yield from self._supersede(now)
        yield UserTranscript(number, typed.text, final=True, ref=ref)
        if not self.user.ends.typed:  # else that is answered, with this in its prompt
            yield from self.assistant.say(number, typed.text, now)
            yield from self._obey(fate, now)

    def _end_committed(
        self, turn: Utterance, end: EndTurn, fate: Fate, now: float
    ) -> Iterator[Effect]:
        """The turn was over already; now it cannot be taken back any more."""
        if fate is Fate.FORGOTTEN:
            yield from self._discard(turn, now)
        elif end.must:
            turn.unanswered = True
            yield from self._commit(turn, now)
        else:
            yield from self._start_reply()
            yield from self._obey(fate, now)

    # --- is the turn over? -----------------------------------------------------------------------

    def _decide(self, now: float, *, waited_for_words: bool = False) -> Iterator[Effect]:
        """Commit the turn, begin a reply to it, drop it, or wait on."""
        turn = self.user.ripe
        if turn is None:
            return
        silence_s = self.user.silence_s(turn)
        nothing = not turn.text or (not turn.meant and self.cut_in.said_aside(turn.text))
        if nothing or turn.fate is Fate.FORGOTTEN:
            if turn.forced or silence_s >= WORDLESS_S:
                yield from self._discard(turn, now)
            return
        wait_s = self.config.silence_s
        if wait_s is None:
            wait_s = patience_s(turn.text, turn.end_of_turn, self.config.pace)
        if turn.forced or silence_s >= wait_s:
            if not turn.forced:
                turn.marks.endpoint = turn.asked_at if waited_for_words else now
            turn.marks.commit = now
            yield from self._commit(turn, now)
        elif self.config.speculate and self.assistant.answers and silence_s >= wait_s - SPECULATE_S:
            marks = replace(turn.marks, voiced=turn.voiced_at)
            yield from self.assistant.guess(turn.number, turn.text, marks, now)

    # --- replies that no turn begins, and their ends ---------------------------------------------

    def _begin_asked(self, now: float) -> Iterator[Effect]:
        if self.user.owes_words:  # they belong to what is answered
            return
        while (ask := self.assistant.next_ask(quiet=self.user.quiet)) is not None:
            yield from self._supersede(now)
            yield from self.assistant.begin(ask, now)
        yield from self.asides.begin(self.config, now)

    def _said_nothing(self) -> Iterator[Effect]:
        if not self.busy:
            number = self.user.take_number()
            yield UserTranscript(number, "", final=True, discarded=True, ended=True)
            self.assistant.asks.append(Ask(0, number, silent=self.config.silent))

    def _cancel(self, now: float) -> Iterator[Effect]:
        if not self.assistant.replying:  # else it is that reply which is not wanted
            self.user.stop(Fate.CANCELLED)
        ask = self.assistant.promised
        if ask is not None and not self.assistant.replying:
            self.assistant.asks.remove(ask)
            yield from self._supersede(now)
            yield from self.assistant.begin(ask, now)
        if not self.speculation.open:  # of a guess the client knows nothing
            yield from self._start_reply()
            yield from self.replies.cancel(now)

    def _forget(self, now: float) -> Iterator[Effect]:
        self.assistant.asks.clear()
        self.user.stop(Fate.FORGOTTEN)
        yield from self.asides.cancel(now)
        if self.speculation.open:
            yield from self.assistant.take_back()
        yield from self._cancel(now)
