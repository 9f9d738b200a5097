"""The user's half of the turn machine: who speaks, what was said, what ends a turn. Pure.

    QUIET --voice--> SPEAKING --silence--> PAUSED --enough--> COMMITTED --reply leaves--> QUIET
                        ^------- voice -------'                   |
                        ^------------- voice: taken back ---------'

One turn at a time. It asks for words (`Look`) and tells when somebody speaks; what that means for a
reply it does not know: of replies it is told no more than `Over`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterator
from enum import Enum

from .edges import ON, Ear, Sound
from .ends import Due, Ends, Fate
from .errors import NothingToCommit
from .events import Failed, SpeechStarted, SpeechStopped, TurnEnded
from .signals import Effect, EndTurn, Heard, Typed
from .turn_config import TurnConfig
from .utterance import CUT_AT, CUT_FROM, FRAME, SPEECH_HZ, Over, Segment, Utterance

STOPPED_AFTER = 6 * FRAME
"""Silence that the client is told of."""
MOST_SEGMENTS = 24
"""After some ten minutes a turn is ended."""
LEAST_S = (MOST_SEGMENTS - 1) * CUT_FROM // SPEECH_HZ
"""No turn is ended so before this."""


class Phase(Enum):
    """Where the user's turn stands."""

    QUIET = "quiet"
    SPEAKING = "speaking"
    PAUSED = "paused"
    COMMITTED = "committed"


class User:
    """The one who speaks: `turn` is what they are saying, None while it is nothing."""

    def __init__(self, config: TurnConfig, next_turn: int) -> None:
        self.config = config
        self.phase = Phase.QUIET
        self.turn: Utterance | None = None
        self.next_turn = next_turn
        self.ends = Ends()
        """They ended turns here; the voice detector has yet to hear up to it."""
        self.late: deque[Heard] = deque(maxlen=CUT_AT // FRAME)
        """Frames that wait for the words of a turn that was ended: as many as there is audio of."""
        self._next_key = 1
        self.ear = Ear()
        self._earliest = 0
        """Audio before this sample belongs to an earlier turn."""

    # --- what is known ---------------------------------------------------------------------------

    @property
    def committed(self) -> bool:
        """The turn is over, as far as anybody can tell; until its reply leaves they may go on."""
        return self.phase is Phase.COMMITTED

    @property
    def open(self) -> Utterance | None:
        """The turn, while it may go on by itself."""
        return None if self.committed else self.turn

    @property
    def ripe(self) -> Utterance | None:
        """The turn, if it can be decided whether it is over: they are silent, or seem to be, and
        what they said is known."""
        silent = self.phase is Phase.PAUSED or (
            self.phase is Phase.SPEAKING and self.ear.fall.foreseen
        )
        return self.turn if silent and self.turn is not None and self.turn.answered else None

    @property
    def quiet(self) -> bool:
        """Nobody speaks. A manual turn that is not ended may be mere silence."""
        return self.turn is None or self.turn.manual

    @property
    def owes_words(self) -> bool:
        """They have ended a turn, and what they said is not known yet."""
        return bool(self.ends.waiting) or (self.turn is not None and self.turn.forced)

    def silence_s(self, turn: Utterance) -> float:
        """How long they have been silent."""
        return (self.ear.heard_to - turn.voiced_end) / SPEECH_HZ

    # --- frames ----------------------------------------------------------------------------------

    def put_off(self, frame: Heard) -> bool:
        """While the words of a turn that was ended are awaited, what comes belongs to the next, and
        is heard then. A manual turn takes all that came since, heard or not."""
        waits = self.turn is not None and self.turn.forced and self.config.detection == "auto"
        if waits:
            self.late.append(frame)
        return waits

    def next_late(self) -> Heard | None:
        """The first of what was put off, if it may be heard now."""
        forced = self.turn is not None and self.turn.forced
        return self.late.popleft() if self.late and not forced else None

    def hear(self, frame: Heard, *, eager: bool) -> Sound:
        """What this frame is. `eager`: as `Onset.hear` takes it."""
        turn = self.turn
        speaking = turn is not None and self.phase is Phase.SPEAKING
        sound = self.ear.hear(
            frame, spoken_to=turn.voiced_end if turn is not None and speaking else None,
            in_turn=turn is not None, eager=eager,
        )  # fmt: skip
        if turn is not None and turn.forced:
            return Sound.NOTHING  # it is over; what comes now belongs to the next
        # The end of a turn may wait for its last audio while the detection has changed.
        manual = self.config.detection == "manual" if turn is None else turn.manual
        if manual and sound is not Sound.NOTHING:
            return Sound.PUSHED
        if sound is Sound.SILENCE and self.open is None:
            return Sound.NOTHING
        return sound

    def begin(self, frame: Heard) -> Iterator[Effect]:
        """Somebody speaks: a new turn, or more of the one that was under way."""
        turn = self.turn
        if turn is None:
            earliest = max(self._earliest, self.ear.began_at - self.config.preroll)
            turn = self._open(earliest, self.take_number())
            yield SpeechStarted(turn.number, _ms(self.ear.began_at))
        elif turn.stop_told:
            turn.stop_told = False
            yield SpeechStarted(turn.number, _ms(self.ear.began_at))
        self.phase = Phase.SPEAKING
        turn.voice(frame)
        self.ear.fall.rise()

    def go_on(self, frame: Heard, now: float, over: Over) -> Generator[Effect, None, bool]:
        """They speak on. True: a voice that had fallen away is back, and words foreseen are not
        all."""
        assert self.turn is not None
        turn = self.turn
        turn.voice(frame)
        yield from self._cut_long(turn, frame, now)
        since = max(turn.asked_to, over.undecided_from or 0)
        if frame.end - since >= (over.look_every or self.config.partial_every):
            yield turn.look(frame.end, now, over_reply=over.audible)
            return False
        if not self.config.speculate:
            return False
        foreseen_before = self.ear.fall.foreseen
        back = self.ear.fall.hear(frame.level_dbfs, frame.end)
        if self.ear.fall.foreseen and not foreseen_before:
            # It may have ended. Over a held reply a quick look: sure ones take too long there.
            sure = over.undecided_from is None
            yield turn.look(frame.end, now, final=sure, over_reply=over.audible)
        return back

    def pause(self, frame: Heard, now: float, over: Over) -> Iterator[Effect]:
        """They are silent, within a turn."""
        assert self.turn is not None
        turn = self.turn
        if self.phase is Phase.SPEAKING:
            yield from self._cut_long(turn, frame, now)
            self.phase = Phase.PAUSED
            fell_at = self.ear.hush(frame.end)
            if fell_at is not None:
                turn.fall_silent(fell_at - FRAME)
            # At the first silent frame: the voice detector itself sees the end of speech some
            # 100 ms late, so no word is cut, and the words are there when the decision is due.
            if fell_at != turn.asked_to or not turn.asked_surely:
                yield turn.look(frame.end, now, final=True, over_reply=over.audible)
        if not turn.stop_told and frame.end - turn.voiced_end >= STOPPED_AFTER:
            yield self._tell_stopped(turn)

    def push(self, frame: Heard, now: float) -> Iterator[Effect]:
        """In manual mode a turn is whatever was said since the last one ended."""
        # Longer than the recogniser takes was only the wait for the words of the turn before.
        earliest = max(self._earliest, frame.end - CUT_FROM)
        turn = self.turn or self._open(earliest, 0, manual=True)
        if frame.probability >= ON or not turn.voiced_at:
            turn.voice(frame)
        yield from self._cut_long(turn, frame, now)

    # --- the end of a turn -----------------------------------------------------------------------

    def reconfigure(self, config: TurnConfig) -> None:
        """The client has chosen something else."""
        if config.detection == "manual" and self.config.detection == "auto":
            # Who begins to push to talk after an hour's silence did not mean the hour.
            self._earliest = max(self._earliest, self.ear.heard_to - CUT_FROM)
            self.late.clear()
        self.config = config

    def take_typed(self, typed: Typed) -> Iterator[Failed]:
        """They type a turn: what they said before, and did not end, is over by that."""
        if self.phase is Phase.PAUSED and not self.owes_words:
            yield from self.ends.end(EndTurn(self.ear.heard_to, if_any=True))
        self.ends.type(typed)

    def stop(self, fate: Fate) -> None:
        """Nobody wants an answer to what they have ended and what waits for its words."""
        if self.turn is not None and self.turn.forced:
            self.turn.fate = self.turn.fate.or_worse(fate)
        self.ends.stop(fate)

    def next_due(self) -> Due | None:
        """The first end, or typed turn, if it is time for it; one after the other."""
        forced = self.turn is not None and self.turn.forced
        return None if forced else self.ends.next(self.ear.heard_to + FRAME)

    def force(self, end: EndTurn, fate: Fate, now: float) -> Iterator[Effect]:
        """The turn ends here, if there is one: no more waiting, no taking back."""
        if end.if_any:  # what comes after it, much later perhaps, begins anew
            self.ear.onset.forget()
        if self.turn is None and self.config.detection == "manual" and not end.if_any:
            self._open(self._earliest, 0, manual=True).voiced_at = now
        turn = self.open
        if turn is None:
            if self.turn is None and end.must:
                yield Failed(NothingToCommit("nothing was said that could be a turn"), ref=end.ref)
            return
        turn.number = turn.number or self.take_number()
        if not turn.manual and not turn.stop_told:
            yield self._tell_stopped(turn)
        turn.forced, turn.fate = True, fate
        turn.meant = turn.manual or not end.if_any
        turn.unanswered = end.must
        if end.must:
            yield TurnEnded(turn.number)
        turn.marks.endpoint = now
        self._earliest = max(end.at, turn.voiced_end)
        if self.phase is Phase.SPEAKING:
            self.phase = Phase.PAUSED
            yield from turn.look_last(end.at, now)

    def close(self) -> None:
        """The turn is done with: committed and answered, or dropped."""
        assert self.turn is not None
        self._earliest = max(self._earliest, self.turn.voiced_end)
        self.turn = None
        self.phase = Phase.QUIET

    def drop(self, at: int) -> Utterance | None:
        """What was said up to `at` was not meant to be heard: the turn to be closed, if any."""
        if self.ends.drop(at):  # what was ended before was meant
            return None
        self.skip(at)
        turn = self.open
        if turn is None or turn.forced:
            return None
        self.ear.onset.forget()
        return turn

    def skip(self, to: int) -> None:
        """Hear nothing up to this sample."""
        self._earliest = max(self._earliest, to)
        self.ear.dropped_to = max(self.ear.dropped_to, to)

    def take_number(self) -> int:
        """The number of another turn."""
        number = self.next_turn
        self.next_turn += 1
        return number

    # --- inside ----------------------------------------------------------------------------------

    def _open(self, start: int, number: int, *, manual: bool = False) -> Utterance:
        turn = Utterance(self._next_key, number, [Segment(start)], start, manual=manual)
        self.turn = turn
        self._next_key += 1
        self.phase = Phase.SPEAKING
        self.ear.fall.rise()
        return turn

    def _cut_long(self, turn: Utterance, frame: Heard, now: float) -> Iterator[Effect]:
        if len(turn.segments) >= MOST_SEGMENTS and not self.ends.waiting:  # nobody listens for ever
            yield from self.ends.end(EndTurn(frame.end))
        if (look := turn.cut_long(frame, now)) is not None:
            yield look

    def _tell_stopped(self, turn: Utterance) -> SpeechStopped:
        turn.stop_told = True
        return SpeechStopped(turn.number, _ms(turn.voiced_end))


def _ms(sample: int) -> int:
    return round(sample * 1000 / SPEECH_HZ)
