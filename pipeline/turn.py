"""The turn-taking machine: who speaks, and when. Pure: (event, now) -> effects.

The user's half goes

    QUIET --voice--> SPEAKING --silence--> PAUSED --enough--> COMMITTED --reply leaves--> QUIET
                        ^------- voice -------'                   |
                        ^------------- voice: taken back ---------'

and the reply's half (`replies.py`): none, drafted, started, held, ended. A reply is begun while the
turn may still go on, and a committed turn can be taken back until the first audio of its reply
leaves: in both cases what was made is gone without a trace. What is about speech counts samples of
the session's audio at 16 kHz; what is about playback counts monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum
from typing import Literal

from .barge_in import Verdict
from .cutting_in import CUT_IN_LOOK, ECHO_LOOK, BargeIns, CutIn
from .edges import OFF, ON, Fall, Onset
from .endpointing import Pace, patience_s
from .errors import NothingToCommit
from .events import Failed, SpeechStarted, SpeechStopped, UserTranscript
from .playback import Playback
from .replies import Marks, Replies
from .signals import (
    Ask,
    Cancel,
    Confirm,
    DropTurn,
    Effect,
    EndTurn,
    Event,
    Forget,
    Greet,
    Heard,
    Looked,
    LookFailed,
    Played,
    SaidNothing,
    Typed,
    Voted,
)
from .speculation import Speculation
from .utterance import CUT_FROM, FRAME, SPEECH_HZ, Segment, Utterance

STOPPED_AFTER = 6 * FRAME
"""Silence that the client is told of."""
WORDLESS_S = 0.5
"""Silence after which a turn without words is dropped."""
PREROLL = SPEECH_HZ * 3 // 10
"""Audio before the onset that belongs to the turn: a soft first consonant stays below ON."""
PARTIAL_EVERY = SPEECH_HZ * 3 // 2
"""Speech after which a transcript so far is asked for."""
MOST_SEGMENTS = 24
"""After some ten minutes a turn is ended."""
MOST_ENDS = 32
"""Ends of turns that may wait for the words of those before."""
FALL_HOLDS = 8 * FRAME
"""A look at a voice that fell away still holds when the detector hears silence so much later."""
MOST_ASKS = 16
"""Replies asked for that may wait; whoever asks for more is refused before it comes here."""
SPECULATE_S = 0.7
"""How long before its turn can be committed a reply is begun, at most."""

Detection = Literal["auto", "manual"]


class Phase(Enum):
    """The user's half."""

    QUIET = "quiet"
    SPEAKING = "speaking"
    PAUSED = "paused"
    COMMITTED = "committed"


@dataclass(frozen=True, slots=True)
class TurnConfig:
    """What a client may choose, and what the server has set."""

    rate_hz: int = 24_000
    """Of the reply's audio."""
    send_ahead_s: float = 1.0
    pace: Pace = "normal"
    detection: Detection = "auto"
    speculate: bool = True
    """Begin a reply before its turn is surely over."""
    partial_every: int = PARTIAL_EVERY
    """Samples of speech after which a transcript so far is asked for."""
    answers: bool = True
    """A turn is answered; else a reply is made only when it is asked for."""
    interrupts: bool = True
    """Words over a reply end it; else they are taken down, and not answered."""
    holds: bool = True
    """A reply stands still while it is found out whether somebody cuts in."""
    follows_playback: bool = True
    """A reply ends when it was heard; else as soon as all of it was sent."""
    silent: bool = False
    """Replies are text only."""
    silence_s: float | None = None
    """A silence that ends a turn, whatever was said; None: it is decided by words and sound."""
    threshold: float = ON
    """The speech probability from which a frame is a voice."""
    preroll: int = PREROLL
    """Samples before the onset that belong to the turn."""


class TurnMachine:
    """One conversation's turns. Feed it every event; carry out every effect, in order."""

    def __init__(self, config: TurnConfig, *, next_turn: int = 1, next_reply: int = 1) -> None:
        self.config = config
        self.phase = Phase.QUIET
        self.next_turn = next_turn
        self.replies = Replies(next_reply)
        self.speculation = Speculation()
        self._cut_in = CutIn(self.replies)
        self._turn: Utterance | None = None
        self._next_key = 1
        self._onset = Onset()
        self._fall = Fall()
        self._earliest = 0
        """Audio before this sample belongs to an earlier turn."""
        self._heard_to = 0
        self._ends: list[EndTurn] = []
        """The user ended turns here; VAD has yet to hear up to it."""
        self._dropped_to = 0
        """Audio before this sample was not meant to be heard."""
        self._asks: list[Ask] = []
        """Replies that were asked for and cannot begin yet."""

    # --- what others may ask ---------------------------------------------------------------------

    @property
    def inside_speech(self) -> bool:
        """Somebody is speaking, or has just paused: missing frames would mean silence."""
        turn = self._turn
        return turn is not None and not turn.manual and self.phase is not Phase.COMMITTED

    @property
    def barge_ins(self) -> BargeIns:
        """How often somebody spoke over a reply."""
        return self._cut_in.count

    @property
    def busy(self) -> bool:
        """A turn or a reply is under way. A manual turn that is not ended may be mere silence."""
        turn = self._turn
        return (
            self.replies.current is not None
            or bool(self._asks)
            or (turn is not None and (turn.forced or not turn.manual))
        )

    @property
    def answering(self) -> bool:
        """A reply is under way, or asked for and about to begin: no second one can."""
        mine = any(not (ask.aside or ask.waits) for ask in self._asks)
        return self.replies.started is not None or mine

    @property
    def cancellable(self) -> bool:
        """There is a reply to cancel, or one that will be in a moment."""
        return self.answering or self.phase is Phase.COMMITTED

    @property
    def asked(self) -> int:
        """How many replies wait that were asked for."""
        return len(self._asks)

    @property
    def progress(self) -> tuple[int, ...] | None:
        """Another one whenever a reply, or the words it waits for, get on; None: nobody waits."""
        reply, turn = self.replies.current, self._turn
        committed = self.phase is Phase.COMMITTED
        if reply is not None and (reply.number is not None or committed):
            playback = reply.playback
            return (reply.draft, len(reply.text), playback.made, playback.sent, playback.complete)
        if turn is not None and (committed or (self.phase is Phase.PAUSED and not turn.answered)):
            return (turn.key, sum(segment.answered_to for segment in turn.segments))
        return None

    def next_wake(self, now: float) -> float | None:
        """When `step(None, ...)` is due if no event comes before; None: only an event matters."""
        return self.replies.next_wake(now)

    # --- the machine -----------------------------------------------------------------------------

    def step(self, event: Event | None, now: float) -> list[Effect]:
        """What follows from an event, or, for None, from the time."""
        return [*self._follow(event, now), *self.replies.play(now), *self._begin_asked(now)]

    def reconfigure(self, config: TurnConfig, now: float) -> list[Effect]:
        """Change what the client may choose. A turn begun under another detection ends."""
        effects: list[Effect] = []
        if config.detection != self.config.detection and self._turn is not None:
            if self.phase is Phase.COMMITTED:
                effects = list(self._start_reply())
            effects += self.step(EndTurn(self._heard_to), now)
        self.config = config
        return effects

    def _follow(self, event: Event | None, now: float) -> Iterator[Effect]:
        match event:
            case None:
                pass
            case Heard():
                yield from self._heard(event, now)
            case Looked() | LookFailed():
                yield from self._looked(event, now)
            case Voted():
                yield from self._voted(event, now)
            case EndTurn():
                self._end(event)
                yield from self._maybe_end(now)
            case DropTurn(at):
                yield from self._drop_turn(at)
            case Typed():
                yield from self._typed(event, now)
            case Greet(text):
                yield from self._supersede(now)
                yield from self._draft(0, "", Marks.unspoken(now), say=text)
                yield from self.replies.start()
            case Ask():
                if len(self._asks) < MOST_ASKS:
                    self._asks.append(event)
            case SaidNothing():
                yield from self._said_nothing()
            case Cancel():
                yield from self._cancel(now)
            case Forget():
                self._asks.clear()
                if self._turn is not None and self._speculating:
                    yield from self._take_back()
                yield from self._cancel(now)
            case Played():
                self.replies.played(event, now)
            case _:
                yield from self.replies.note(event, now)
                if self.replies.ready and not self._speculating:
                    yield from self._start_reply()

    # --- listening -------------------------------------------------------------------------------

    def _heard(self, frame: Heard, now: float) -> Iterator[Effect]:
        self._heard_to = frame.end
        if frame.end <= self._dropped_to:
            yield from self._maybe_end(now)
            return
        if self.config.threshold != ON:
            frame = replace(frame, probability=_rescaled(frame.probability, self.config.threshold))
        turn = self._turn
        speaking = turn is not None and self.phase is Phase.SPEAKING
        hangs_on = speaking and turn is not None and turn.voiced_end == frame.end - FRAME
        voiced = frame.probability >= (OFF if hangs_on else ON)
        onset = self._onset.hear(frame.probability, frame.level_dbfs, eager=self._over_reply)
        if turn is not None and turn.forced:
            pass  # it is over; what comes now belongs to the next
        elif self.config.detection == "manual":
            yield from self._heard_manual(frame, now)
        elif turn is not None and speaking and voiced:
            yield from self._voice(turn, frame, now)
        elif onset and not (turn is not None and self._fall.below(frame.level_dbfs)):
            yield from self._voice_on(frame, frame.end - onset * FRAME, now)
        elif turn is not None and self.phase is not Phase.COMMITTED:
            yield from self._silence(turn, frame, now)
        yield from self._maybe_end(now)

    def _voice_on(self, frame: Heard, start: int, now: float) -> Iterator[Effect]:
        """Somebody speaks: a new turn, or more of the one that was under way."""
        turn = self._turn
        if turn is None:
            turn = self._open(max(self._earliest, start - self.config.preroll), self.next_turn)
            self.next_turn += 1
            yield SpeechStarted(turn.number, _ms(start))
        else:
            yield from self._take_back()
            if turn.stop_told:
                yield SpeechStarted(turn.number, _ms(start))
            turn.stop_told = False
        self.phase = Phase.SPEAKING
        turn.voice(frame)
        self._fall.rise()
        undecided = self.replies.held or self._cut_in.onset is not None
        if self.replies.started is not None and not undecided and self.config.interrupts:
            yield from self._cut_in.suspect(start, now, hold=self.config.holds)

    def _voice(self, turn: Utterance, frame: Heard, now: float) -> Iterator[Effect]:
        turn.voice(frame)
        yield from self._cut_long(turn, frame, now)
        onset = self._cut_in.onset
        asked_to, pause = turn.asked_to, self.config.partial_every
        if onset is not None:
            asked_to, pause = max(onset, asked_to), CUT_IN_LOOK
        elif self._cut_in.echoes and self._over_reply:
            pause = ECHO_LOOK
        if frame.end - asked_to >= pause:
            yield turn.look(frame.end, now, over_reply=self._audible(now))
        elif self.config.speculate:
            yield from self._foresee(turn, frame, now)
        yield from self._cut_in.decide(turn, frame.end, now, speaking=True)

    def _foresee(self, turn: Utterance, frame: Heard, now: float) -> Iterator[Effect]:
        """A voice that falls away may have ended: its words are asked for at once."""
        foreseen_before = self._fall.foreseen
        if self._fall.hear(frame.level_dbfs, frame.end):
            yield from self._take_back()
        elif self._fall.foreseen and not foreseen_before:
            # Over a held reply it must be a quick one: the sure ones take longer than there is.
            undecided = self._cut_in.onset is not None
            yield turn.look(frame.end, now, final=not undecided, over_reply=self._audible(now))

    @property
    def _over_reply(self) -> bool:
        return self.replies.started is not None

    def _audible(self, now: float) -> bool:
        """A reply is heard by the user, though all of it may have been sent."""
        return self._over_reply or now < self.replies.audible_until

    def _silence(self, turn: Utterance, frame: Heard, now: float) -> Iterator[Effect]:
        if self.phase is Phase.SPEAKING:
            yield from self._cut_long(turn, frame, now)
            # At the first silent frame: the voice detector itself sees the end of speech some
            # 100 ms late, so no word is cut, and the words are there when the decision is due.
            self.phase = Phase.PAUSED
            self._onset.forget()
            fell_at = self._fall.at
            self._fall.forget()
            if fell_at is not None and frame.end - fell_at <= FALL_HOLDS:
                turn.fall_silent(fell_at - FRAME)
                seen = fell_at == turn.asked_to and self._cut_in.onset is None
            else:
                seen = False
            if not seen:
                yield turn.look(frame.end, now, final=True, over_reply=self._audible(now))
        if not turn.stop_told and frame.end - turn.voiced_end >= STOPPED_AFTER:
            turn.stop_told = True
            yield SpeechStopped(turn.number, _ms(turn.voiced_end))
        yield from self._cut_in.decide(turn, frame.end, now, speaking=False)
        yield from self._decide(now)

    def _heard_manual(self, frame: Heard, now: float) -> Iterator[Effect]:
        """In manual mode a turn is whatever was said since the last one ended."""
        # Who begins to push to talk after an hour's silence did not mean the hour.
        earliest = max(self._earliest, frame.end - CUT_FROM)
        turn = self._turn or self._open(earliest, 0, manual=True)
        if frame.probability >= ON or not turn.voiced_at:
            turn.voice(frame)
        yield from self._cut_long(turn, frame, now)

    def _cut_long(self, turn: Utterance, frame: Heard, now: float) -> Iterator[Effect]:
        if len(turn.segments) >= MOST_SEGMENTS and not self._ends:  # nobody listens for ever
            self._end(EndTurn(frame.end))
        yield from _some(turn.cut_long(frame, now))

    def _open(self, start: int, number: int, *, manual: bool = False) -> Utterance:
        self._turn = Utterance(self._next_key, number, [Segment(start)], start, manual=manual)
        self._next_key += 1
        self.phase = Phase.SPEAKING
        self._fall.rise()
        return self._turn

    def _looked(self, answer: Looked | LookFailed, now: float) -> Iterator[Effect]:
        turn = self._turn
        if turn is None or self.phase is Phase.COMMITTED:
            return
        match answer:
            case _ if not turn.expects(answer):
                if self._cut_in.onset is not None and isinstance(answer, Looked):
                    turn.glimpse(answer)
                return
            case Looked(echo=True):
                turn.disown(answer, now)
                yield from self._cut_in.hear_echo(now)
            case Looked():
                if turn.understand(answer, now) and turn.number and turn.text:
                    yield UserTranscript(turn.number, turn.text, final=False)
                yield from self._understood(turn, now)
            case _:
                again = turn.misunderstand(answer, now, over_reply=self._audible(now))
                if again is not None:
                    yield again
                    return
                yield Failed(answer.error, turn=turn.number or None)
                yield from self._understood(turn, now)
        yield from self._decide(now, waited_for_words=True)
        yield from self._maybe_end(now)

    def _understood(self, turn: Utterance, now: float) -> Iterator[Effect]:
        """All that will be known of the words up to here is known: do they end a reply?"""
        if not turn.manual and self.config.interrupts:
            yield from self._cut_in.understand(turn.text, now, silent=self.phase is Phase.PAUSED)

    def _voted(self, vote: Voted, now: float) -> Iterator[Effect]:
        turn = self._turn
        if turn is not None and self.phase is not Phase.COMMITTED and turn.expects(vote):
            turn.end_of_turn = vote.end_of_turn
            yield from self._decide(now)

    # --- deciding --------------------------------------------------------------------------------

    def _maybe_end(self, now: float) -> Iterator[Effect]:
        """The user said that the turn is over; act once everything up to there has been heard."""
        if not self._ends or self._heard_to + FRAME <= self._ends[0].at:
            return
        if self._turn is not None and self._turn.forced:
            return  # one after the other
        end = self._ends.pop(0)
        at, turn = end.at, self._turn
        if turn is None and self.config.detection == "manual" and not end.if_any:
            turn = self._open(self._earliest, 0, manual=True)
            turn.voiced_at = now
        if turn is None or self.phase is Phase.COMMITTED:
            if turn is None and end.must:
                yield Failed(NothingToCommit("nothing was said that could be a turn"), ref=end.ref)
            yield from self._maybe_end(now)  # or the next one would end a turn yet to come
            return
        if not turn.number:
            turn.number = self.next_turn
            self.next_turn += 1
        if not turn.manual and not turn.stop_told:
            turn.stop_told = True
            yield SpeechStopped(turn.number, _ms(turn.voiced_end))
        turn.forced = True
        turn.unanswered = end.must
        turn.marks.endpoint = now
        self._earliest = max(at, turn.voiced_end)
        if self.phase is Phase.SPEAKING:
            self.phase = Phase.PAUSED
            yield from turn.look_last(at, now)
        yield from self._decide(now)
        yield from self._maybe_end(now)

    def _end(self, end: EndTurn) -> None:
        if len(self._ends) == MOST_ENDS:  # the later one covers the earlier
            self._ends.pop()
        self._ends.append(end)

    def _decide(self, now: float, *, waited_for_words: bool = False) -> Iterator[Effect]:
        """Commit the turn, begin a reply to it, drop it, or wait on."""
        turn = self._turn
        fell = self.phase is Phase.SPEAKING and self._fall.foreseen
        if turn is None or not (self.phase is Phase.PAUSED or fell) or not turn.answered:
            return
        silence_s = (self._heard_to - turn.voiced_end) / SPEECH_HZ
        if not turn.text or self._said_aside(turn):
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
        elif self.config.speculate and self._answers and silence_s >= wait_s - SPECULATE_S:
            yield from self._speculate(turn, now)

    def _said_aside(self, turn: Utterance) -> bool:
        """A sign of listening, or an echo, while a reply is spoken: nothing to answer."""
        if turn.forced or self.replies.started is None:
            return False
        return self._cut_in.verdict(turn.text) is not Verdict.CUT_IN

    def _discard(self, turn: Utterance, now: float) -> Iterator[Effect]:
        yield from self._take_back()
        yield UserTranscript(turn.number, "", final=True, discarded=True, ended=turn.forced)
        self._end_turn(turn)
        yield from self._cut_in.let_go_on(now)

    def _commit(self, turn: Utterance, now: float) -> Iterator[Effect]:
        if turn.unanswered or not self._answers:
            yield from self._take_back()
            yield from self._finalise()
            yield from self._cut_in.let_go_on(now)
            return
        marks = replace(turn.marks, voiced=turn.voiced_at)
        begun = self.replies.drafted if self.speculation.words == turn.text else None
        if begun is not None and begun.error is None:  # what goes last may have failed for that
            self.speculation.keep(now)
            begun.marks.commit_to(marks)
            self.phase = Phase.COMMITTED
            yield Confirm(begun.draft)
        else:
            yield from self._supersede(now)
            self.phase = Phase.COMMITTED
            yield from self._draft(turn.number, turn.text, marks)
        if turn.forced or self.replies.ready:
            yield from self._start_reply()

    def _typed(self, event: Typed, now: float) -> Iterator[Effect]:
        yield from self._supersede(now)
        number = self.next_turn
        self.next_turn += 1
        yield UserTranscript(number, event.text, final=True, ref=event.ref)
        yield from self._draft(number, event.text, Marks.unspoken(now))
        yield from self.replies.start()

    def _said_nothing(self) -> Iterator[Effect]:
        if not self.busy:
            number = self.next_turn
            self.next_turn += 1
            yield UserTranscript(number, "", final=True, discarded=True, ended=True)
            self._asks.append(Ask(0, number, silent=self.config.silent))

    def _cancel(self, now: float) -> Iterator[Effect]:
        mine = next((ask for ask in self._asks if not (ask.aside or ask.waits)), None)
        if mine is not None and self.replies.started is None:
            self._asks.remove(mine)
            yield from self._begin(mine, now)
        if self._speculating:
            return  # the client knows of no reply
        yield from self._start_reply()
        yield from self.replies.cancel(now)

    def _supersede(self, now: float) -> Iterator[Effect]:
        """A newer turn ends what an older one is still being answered with."""
        if self.phase is Phase.COMMITTED:  # it was said, though its answer never leaves
            self.speculation.waste()
            yield from self._finalise()
        elif self._turn is not None:
            yield from self._take_back()
        yield from self.replies.drop()
        yield from self.replies.interrupt(now)

    def _drop_turn(self, at: int) -> Iterator[Effect]:
        """The client throws away what was said and not yet ended."""
        turn = self._turn
        self._dropped_to = self._earliest = max(self._earliest, at)
        if turn is None or turn.forced or self.phase is Phase.COMMITTED:
            return
        yield from self._take_back()
        self._end_turn(turn)
        self._onset.forget()

    # --- replies that are asked for --------------------------------------------------------------

    @property
    def _answers(self) -> bool:
        """A turn that ends now begins a reply."""
        config = self.config
        return config.answers and (config.interrupts or self.replies.started is None)

    def _begin_asked(self, now: float) -> Iterator[Effect]:
        while self._asks and self._may_begin(self._asks[0]):
            yield from self._begin(self._asks.pop(0), now)

    def _may_begin(self, ask: Ask) -> bool:
        turn = self._turn
        if self._ends or (turn is not None and turn.forced):
            return False  # its words belong to what is answered
        if ask.aside or ask.waits:
            quiet = turn is None or turn.manual or ask.aside
            return self.replies.current is None and quiet
        return self.replies.started is None

    def _begin(self, ask: Ask, now: float) -> Iterator[Effect]:
        yield from self._supersede(now)
        playback = self._playback()
        yield from self.replies.draft(
            ask.turn, "", Marks.unspoken(now), playback,
            silent=ask.silent, ask=ask.ask, aside=ask.aside,
        )  # fmt: skip
        yield from self.replies.start()

    # --- speculation -----------------------------------------------------------------------------

    @property
    def _speculating(self) -> bool:
        """The reply in the making is for a turn that may still go on."""
        return self.speculation.words is not None and self.phase is not Phase.COMMITTED

    def _speculate(self, turn: Utterance, now: float) -> Iterator[Effect]:
        """Begin a reply to what was understood so far; it is held until the turn is committed."""
        if self.speculation.words == turn.text:
            return
        yield from self._take_back()
        if self.replies.current is None:
            self.speculation.begin(turn.text, now)
            marks = replace(turn.marks, voiced=turn.voiced_at)
            yield from self._draft(turn.number, turn.text, marks, speculative=True)

    def _take_back(self) -> Iterator[Effect]:
        """The turn goes on: what was being made for it is gone without a trace."""
        if self.speculation.words is not None or self.phase is Phase.COMMITTED:
            yield from self.replies.drop()
        self.speculation.waste()

    # --- replying --------------------------------------------------------------------------------

    def _draft(
        self,
        turn: int,
        text: str,
        marks: Marks,
        *,
        say: str | None = None,
        speculative: bool = False,
    ) -> Iterator[Effect]:
        yield from self.replies.draft(
            turn, text, marks, self._playback(), say,
            speculative=speculative, silent=self.config.silent,
        )  # fmt: skip

    def _playback(self) -> Playback:
        config = self.config
        return Playback(config.rate_hz, config.send_ahead_s, followed=config.follows_playback)

    def _start_reply(self) -> Iterator[Effect]:
        """The reply leaves: from now on its turn cannot be taken back."""
        if self.replies.drafted is not None:
            yield from self._finalise()
            yield from self.replies.start()

    def _finalise(self) -> Iterator[Effect]:
        """The committed turn is not taken back any more."""
        turn = self._turn
        assert turn is not None
        yield UserTranscript(turn.number, turn.text, final=True)
        self._end_turn(turn)

    def _end_turn(self, turn: Utterance) -> None:
        self._turn = None
        self.phase = Phase.QUIET
        self._cut_in.settle()
        self.speculation.settle()
        self._earliest = max(self._earliest, turn.voiced_end)


def _some(effect: Effect | None) -> Iterator[Effect]:
    if effect is not None:
        yield effect


def _rescaled(probability: float, threshold: float) -> float:
    """As if the threshold were `ON`: what counts as a voice is then the same everywhere."""
    if probability < threshold:
        return probability * ON / threshold
    return 1.0 if threshold >= 1.0 else ON + (probability - threshold) * (1 - ON) / (1 - threshold)


def _ms(sample: int) -> int:
    return round(sample * 1000 / SPEECH_HZ)
