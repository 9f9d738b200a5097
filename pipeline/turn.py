"""The turn-taking machine: who speaks, and when. Pure: (event, now) -> effects.

The user's half goes

    QUIET --voice--> SPEAKING --silence--> PAUSED --enough--> COMMITTED --reply leaves--> QUIET
                        ^------- voice -------'                   |
                        ^------------- voice: taken back ---------'

and the reply's half (`replies.py`): none, drafted, started, ended. Until the first audio of its
reply leaves, a committed turn can be taken back: the user who goes on by then was never cut off.
What is about speech counts samples of the session's audio at 16 kHz; what is about playback counts
monotonic seconds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Literal

from .endpointing import Pace, patience_s
from .events import Failed, SpeechStarted, SpeechStopped, UserTranscript
from .playback import Playback
from .replies import Marks, Replies
from .signals import (
    Cancel,
    Effect,
    EndTurn,
    Event,
    Greet,
    Heard,
    Look,
    Looked,
    LookFailed,
    Played,
    Typed,
)

SPEECH_HZ = 16_000
FRAME = 512
"""Samples of a VAD frame: 32 ms."""
ON, OFF = 0.5, 0.35
ONSET_FRAMES = 2
"""Voiced frames in a row that make speech: a click is shorter."""
LOOK_AFTER = 3 * FRAME
"""Silence after which the words are asked for: they are there when the decision is due."""
STOPPED_AFTER = 6 * FRAME
"""Silence that the client is told of."""
WORDLESS_S = 0.5
"""Silence after which a turn without words is dropped."""
PREROLL = SPEECH_HZ * 3 // 10
"""Audio before the onset that belongs to the turn: a soft first consonant stays below ON."""
BARGE_IN_FRAMES = 8
"""Voiced frames of a turn (256 ms) that stop a reply."""
PARTIAL_EVERY = SPEECH_HZ * 3 // 2
"""Speech after which a transcript so far is asked for."""
CUT_FROM, CUT_AT = 22 * SPEECH_HZ, 26 * SPEECH_HZ
"""Speech without a pause is cut for the recogniser between these, where it is quietest."""

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


@dataclass(slots=True)
class _Segment:
    """A stretch of a turn that is transcribed on its own."""

    start: int
    asked_to: int = 0
    """Where the latest window ends; 0 before the first."""
    answered_to: int = -1
    attempt: int = 0
    text: str = ""
    retried: bool = False


@dataclass(slots=True)
class _Turn:
    """What the user is saying. `number` is 0 until it is known to be a turn (manual mode)."""

    key: int
    number: int
    voiced_end: int
    voiced_at: float
    segments: list[_Segment]
    manual: bool = False
    forced: bool = False
    """The user has ended it: no more waiting, no taking back."""
    frames: int = 0
    """Voiced frames since the onset or the last pause."""
    stop_told: bool = False
    end_of_turn: float | None = None
    asked_at: float = 0.0
    marks: Marks = field(default_factory=Marks)

    @property
    def text(self) -> str:
        return " ".join(segment.text for segment in self.segments if segment.text)

    @property
    def answered(self) -> bool:
        return all(segment.answered_to >= segment.asked_to for segment in self.segments)


class TurnMachine:
    """One conversation's turns. Feed it every event; carry out every effect, in order."""

    def __init__(self, config: TurnConfig, *, next_turn: int = 1, next_reply: int = 1) -> None:
        self.config = config
        self.phase = Phase.QUIET
        self.next_turn = next_turn
        self.replies = Replies(next_reply)
        self._turn: _Turn | None = None
        self._next_key = 1
        self._onset = 0
        """Voiced frames in a row, up to now."""
        self._earliest = 0
        """Audio before this sample belongs to an earlier turn."""
        self._heard_to = 0
        self._end_at: int | None = None
        """The user ended the turn here; VAD has yet to hear up to it."""
        self._quietest = (1.0, 0)
        """In a long segment: the lowest speech probability so far, and the sample after it."""

    # --- what others may ask ---------------------------------------------------------------------

    @property
    def inside_speech(self) -> bool:
        """Somebody is speaking, or has just paused: missing frames matter now."""
        return self.phase in (Phase.SPEAKING, Phase.PAUSED)

    @property
    def busy(self) -> bool:
        """A turn or a reply is under way."""
        return self._turn is not None or self.replies.current is not None

    def next_wake(self, now: float) -> float | None:
        """When `step(None, ...)` is due if no event comes before; None: only an event matters."""
        return self.replies.next_wake(now)

    # --- the machine -----------------------------------------------------------------------------

    def step(self, event: Event | None, now: float) -> list[Effect]:
        """What follows from an event, or, for None, from the time."""
        return [*self._follow(event, now), *self.replies.play(now)]

    def reconfigure(self, config: TurnConfig, now: float) -> list[Effect]:
        """Change what the client may choose. A turn begun under another detection ends."""
        effects: list[Effect] = []
        if config.detection != self.config.detection and self._turn is not None:
            effects = self.step(EndTurn(self._heard_to), now)
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
            case EndTurn(at):
                self._end_at = at
                yield from self._maybe_end(now)
            case Typed():
                yield from self._typed(event, now)
            case Greet(text):
                yield from self._supersede(now)
                yield from self._draft(0, "", Marks(now, now, now), say=text)
                yield from self.replies.start()
            case Cancel():
                yield from self._start_reply()
                yield from self.replies.cancel(now)
            case Played():
                self.replies.played(event, now)
            case _:
                yield from self.replies.note(event, now)
                if self.replies.ready:
                    yield from self._start_reply()

    # --- listening -------------------------------------------------------------------------------

    def _heard(self, frame: Heard, now: float) -> Iterator[Effect]:
        self._heard_to = frame.end
        turn = self._turn
        speaking = self.phase is Phase.SPEAKING and turn is not None
        hangs_on = speaking and turn is not None and turn.voiced_end == frame.end - FRAME
        voiced = frame.probability >= (OFF if hangs_on else ON)
        self._onset = self._onset + 1 if voiced else 0
        if turn is not None and turn.forced:
            pass  # it is over; what comes now belongs to the next
        elif self.config.detection == "manual":
            yield from self._heard_manual(frame, now)
        elif speaking and voiced:
            yield from self._voice(frame, now)
        elif self._onset >= ONSET_FRAMES:
            yield from self._voice_on(frame)
        elif turn is not None and self.phase is not Phase.COMMITTED:
            yield from self._silence(turn, frame, now)
        yield from self._maybe_end(now)

    def _voice_on(self, frame: Heard) -> Iterator[Effect]:
        """Somebody speaks: a new turn, or more of the one that was under way."""
        start = frame.end - self._onset * FRAME
        turn = self._turn
        if turn is None:
            turn = self._open(max(self._earliest, start - PREROLL), self.next_turn)
            self.next_turn += 1
            yield SpeechStarted(turn.number, _ms(start))
        else:
            if self.phase is Phase.COMMITTED:
                yield from self.replies.drop()
            if turn.stop_told:
                yield SpeechStarted(turn.number, _ms(start))
            turn.frames, turn.stop_told = 0, False
        self.phase = Phase.SPEAKING
        turn.voiced_end, turn.voiced_at = frame.end, frame.arrived
        turn.frames += self._onset

    def _voice(self, frame: Heard, now: float) -> Iterator[Effect]:
        turn = self._turn
        assert turn is not None
        turn.voiced_end, turn.voiced_at = frame.end, frame.arrived
        turn.frames += 1
        yield from self._cut_long(turn, frame, now)
        segment = turn.segments[-1]
        if frame.end - max(segment.start, segment.asked_to) >= PARTIAL_EVERY:
            yield self._look(turn, frame.end, now)
        if turn.frames >= BARGE_IN_FRAMES:
            yield from self.replies.interrupt(now)

    def _silence(self, turn: _Turn, frame: Heard, now: float) -> Iterator[Effect]:
        silence = frame.end - turn.voiced_end
        yield from self._cut_long(turn, frame, now)
        if self.phase is Phase.SPEAKING and silence >= LOOK_AFTER:
            self.phase = Phase.PAUSED
            yield self._look(turn, frame.end, now, final=True)
        if not turn.stop_told and silence >= STOPPED_AFTER:
            turn.stop_told = True
            yield SpeechStopped(turn.number, _ms(turn.voiced_end))
        yield from self._decide(now)

    def _heard_manual(self, frame: Heard, now: float) -> Iterator[Effect]:
        """In manual mode a turn is whatever was said since the last one ended."""
        turn = self._turn or self._open(self._earliest, 0, manual=True)
        turn.voiced_end, turn.voiced_at = frame.end, frame.arrived
        yield from self._cut_long(turn, frame, now)

    def _open(self, start: int, number: int, *, manual: bool = False) -> _Turn:
        self._turn = _Turn(self._next_key, number, start, 0.0, [_Segment(start)], manual)
        self._next_key += 1
        self.phase = Phase.SPEAKING
        return self._turn

    def _cut_long(self, turn: _Turn, frame: Heard, now: float) -> Iterator[Effect]:
        """Close a segment that grows too long for the recogniser where it was quietest."""
        length = frame.end - turn.segments[-1].start
        if length < CUT_FROM:
            self._quietest = (1.0, frame.end)
            return
        if frame.probability <= self._quietest[0]:
            self._quietest = (frame.probability, frame.end)
        if length >= CUT_AT:
            cut = self._quietest[1] - FRAME // 2
            yield self._look(turn, cut, now, final=True)
            turn.segments.append(_Segment(cut))
            self._quietest = (1.0, frame.end)

    # --- understanding ---------------------------------------------------------------------------

    def _look(self, turn: _Turn, end: int, now: float, *, final: bool = False) -> Look:
        segment = turn.segments[-1]
        segment.attempt += 1
        segment.asked_to = end
        turn.asked_at = now
        index = len(turn.segments) - 1
        return Look(turn.key, index, segment.attempt, segment.start, end, final)

    def _looked(self, answer: Looked | LookFailed, now: float) -> Iterator[Effect]:
        turn = self._turn
        if turn is None or turn.key != answer.key or self.phase is Phase.COMMITTED:
            return
        segment = turn.segments[answer.segment]
        if answer.attempt != segment.attempt:
            return
        if isinstance(answer, LookFailed):
            if not segment.retried:
                segment.retried = True
                segment.attempt += 1
                yield Look(
                    turn.key,
                    answer.segment,
                    segment.attempt,
                    segment.start,
                    segment.asked_to,
                    final=True,
                )
                return
            yield Failed(answer.error, turn=turn.number or None)
        else:
            changed = segment.text != answer.text
            segment.text, turn.end_of_turn = answer.text, answer.end_of_turn
            if changed and turn.number and turn.text:
                yield UserTranscript(turn.number, turn.text, final=False)
        segment.answered_to = segment.asked_to
        turn.marks.transcript = now
        yield from self._decide(now, waited_for_words=True)
        yield from self._maybe_end(now)

    # --- deciding --------------------------------------------------------------------------------

    def _maybe_end(self, now: float) -> Iterator[Effect]:
        """The user said that the turn is over; act once everything up to there has been heard."""
        if self._end_at is None or self._heard_to + FRAME <= self._end_at:
            return
        if self._turn is not None and self._turn.forced:
            return  # one after the other
        at, self._end_at = self._end_at, None
        turn = self._turn
        if turn is None and self.config.detection == "manual":
            turn = self._open(self._earliest, 0, manual=True)
            turn.voiced_at = now
        if turn is None or self.phase is Phase.COMMITTED:
            return
        if not turn.number:
            turn.number = self.next_turn
            self.next_turn += 1
        turn.forced = True
        turn.marks.endpoint = now
        self._earliest = max(at, turn.voiced_end)
        if self.phase is Phase.SPEAKING:
            self.phase = Phase.PAUSED
            last = turn.segments[-1]
            if at > last.start:
                yield self._look(turn, at, now, final=True)
            else:  # there is nothing in it
                last.answered_to = last.asked_to
        yield from self._decide(now)

    def _decide(self, now: float, *, waited_for_words: bool = False) -> Iterator[Effect]:
        """Commit the turn, drop it, or wait on."""
        turn = self._turn
        if turn is None or self.phase is not Phase.PAUSED or not turn.answered:
            return
        silence_s = (self._heard_to - turn.voiced_end) / SPEECH_HZ
        if not turn.text:
            if turn.forced or silence_s >= WORDLESS_S:
                yield UserTranscript(turn.number, "", final=True, discarded=True)
                self._end_turn(turn)
        elif turn.forced or silence_s >= patience_s(turn.text, turn.end_of_turn, self.config.pace):
            if not turn.forced:
                turn.marks.endpoint = turn.asked_at if waited_for_words else now
            yield from self._commit(turn, now)

    def _commit(self, turn: _Turn, now: float) -> Iterator[Effect]:
        yield from self._supersede(now)
        self.phase = Phase.COMMITTED
        marks = replace(turn.marks, voiced=turn.voiced_at)
        yield from self._draft(turn.number, turn.text, marks)
        if turn.forced:
            yield from self._start_reply()

    def _typed(self, event: Typed, now: float) -> Iterator[Effect]:
        yield from self._supersede(now)
        number = self.next_turn
        self.next_turn += 1
        yield UserTranscript(number, event.text, final=True, ref=event.ref)
        yield from self._draft(number, event.text, Marks(now, now, now))
        yield from self.replies.start()

    def _supersede(self, now: float) -> Iterator[Effect]:
        """A newer turn ends what an older one is still being answered with."""
        if self.phase is Phase.COMMITTED:  # it was said, though its answer never leaves
            yield from self._finalise()
        yield from self.replies.drop()
        yield from self.replies.interrupt(now)

    def _draft(
        self, turn: int, text: str, marks: Marks, say: str | None = None
    ) -> Iterator[Effect]:
        playback = Playback(self.config.rate_hz, self.config.send_ahead_s)
        yield from self.replies.draft(turn, text, marks, playback, say)

    def _start_reply(self) -> Iterator[Effect]:
        """The reply leaves: from now on its turn cannot be taken back."""
        if self.replies.drafted is not None:
            yield from self._finalise()
            yield from self.replies.start()

    def _finalise(self) -> Iterator[Effect]:
        turn = self._turn
        if turn is not None and self.phase is Phase.COMMITTED:
            yield UserTranscript(turn.number, turn.text, final=True)
            self._end_turn(turn)

    def _end_turn(self, turn: _Turn) -> None:
        self._turn = None
        self.phase = Phase.QUIET
        self._earliest = max(self._earliest, turn.voiced_end)


def _ms(sample: int) -> int:
    return round(sample * 1000 / SPEECH_HZ)
