"""What the user is saying in one turn: windows of audio, and words as they are understood. Pure.

A turn is transcribed in segments of at most 26 s. The last one is asked for again and again while
it grows, and only the latest answer counts; a closed one is asked for once more if that fails.
"""

from __future__ import annotations

import re
from collections.abc import Generator, Iterator
from dataclasses import dataclass, field
from enum import Enum, auto

from .ends import Fate
from .engines.ports import SPEECH_HZ as SPEECH_HZ
from .events import Failed, UserTranscript
from .latency import Marks
from .signals import Effect, Heard, Look, Looked, LookFailed, Voted

FRAME = 512
"""Samples of a VAD frame: 32 ms."""
CUT_FROM, CUT_AT = 22 * SPEECH_HZ, 26 * SPEECH_HZ
"""Speech without a pause is cut for the recogniser between these, where it is quietest."""

_NOISE = re.compile(r"\[[^][]*\]|\([^()]*\)|（[^（）]*）|【[^【】]*】|\*[^*]*\*")
"""How recognisers write what is no speech: "[BLANK_AUDIO]", "(coughs)", "*sighs*"."""


class Learnt(Enum):
    """What an answer of the recogniser's was."""

    NOTHING = auto()
    """Not the one that is waited for, or it must be asked again."""
    WORDS = auto()
    """All that will be known of the words up to there is known."""
    ECHO = auto()
    """The reply, out of a loudspeaker."""


@dataclass(frozen=True, slots=True)
class Over:
    """What the user is heard over."""

    audible: bool = False
    """A reply is heard by them, though all of it may have been sent."""
    undecided_from: int | None = None
    """Since this sample somebody may be cutting in: quick words help more than sure ones."""
    look_every: int | None = None
    """Samples of speech after which words are asked for; None: as the client has it."""


@dataclass(slots=True)
class Segment:
    """A stretch of a turn that is transcribed on its own."""

    start: int
    asked_to: int = 0
    """Where the latest window ends; 0 before the first."""
    answered_to: int = -1
    attempt: int = 0
    text: str = ""
    retried: bool = False
    sure: bool = False
    """The latest window was asked for as the last: with all care, and the end-of-turn model's."""


@dataclass(slots=True)
class Utterance:
    """One turn of the user's, from its onset to its end."""

    key: int
    number: int
    """0 until it is known to be a turn (in manual mode: until it is committed)."""
    segments: list[Segment]
    voiced_end: int
    voiced_at: float = 0.0
    """When the last voiced sample had arrived."""
    manual: bool = False
    forced: bool = False
    """The user has ended it: no more waiting, no taking back."""
    meant: bool = False
    """They have said by that that it is a turn, whatever is in it."""
    unanswered: bool = False
    """Whoever ended it asks for the reply as well, or for none."""
    fate: Fate = Fate.ANSWERED
    stop_told: bool = False
    end_of_turn: float | None = None
    asked_at: float = 0.0
    marks: Marks = field(default_factory=Marks)
    quietest: tuple[float, int] = (1.0, 0)
    """In a long segment: the lowest speech probability so far, and the sample after it."""

    @property
    def text(self) -> str:
        """Everything understood so far."""
        return " ".join(segment.text for segment in self.segments if segment.text)

    @property
    def answered(self) -> bool:
        """No words are on their way."""
        return all(segment.answered_to >= segment.asked_to for segment in self.segments)

    @property
    def asked_to(self) -> int:
        """The end of what was asked for in the segment that grows."""
        return max(self.segments[-1].start, self.segments[-1].asked_to)

    @property
    def asked_surely(self) -> bool:
        """What was asked for last in the segment that grows may stand as the turn's last words."""
        return self.segments[-1].sure

    def voice(self, frame: Heard) -> None:
        """The user speaks."""
        self.voiced_end, self.voiced_at = frame.end, frame.arrived

    def fall_silent(self, end: int) -> None:
        """The voice ended here already, though the voice detector heard it for longer."""
        self.voiced_at -= max(0, self.voiced_end - end) / SPEECH_HZ
        self.voiced_end = min(self.voiced_end, end)

    def look(self, end: int, now: float, *, final: bool = False, over_reply: bool = False) -> Look:
        """Ask for the words of the segment that grows, up to `end`."""
        segment = self.segments[-1]
        segment.attempt += 1
        segment.asked_to = end
        segment.retried &= not final
        segment.sure = final
        self.end_of_turn = None
        self.asked_at = now
        index = len(self.segments) - 1
        return Look(self.key, index, segment.attempt, segment.start, end, final, over_reply)

    def look_last(self, end: int, now: float) -> Iterator[Look]:
        """Ask for the last words, in as many windows as that takes; none without any audio."""
        while end - self.segments[-1].start > CUT_AT:
            cut = self.segments[-1].start + CUT_FROM
            yield self.look(cut, now, final=True)
            self.segments.append(Segment(cut))
        last = self.segments[-1]
        if end > last.start:
            yield self.look(end, now, final=True)
        else:
            last.answered_to = last.asked_to

    def cut_long(self, frame: Heard, now: float) -> Look | None:
        """Close a segment that grows too long for the recogniser where it was quietest."""
        length = frame.end - self.segments[-1].start
        if length < CUT_FROM:
            self.quietest = (1.0, frame.end)
        elif frame.probability <= self.quietest[0]:
            self.quietest = (frame.probability, frame.end)
        if length < CUT_AT:
            return None
        cut = self.quietest[1] - FRAME // 2
        look = self.look(cut, now, final=True)
        self.segments.append(Segment(cut))
        self.quietest = (1.0, frame.end)
        return look

    def expects(self, answer: Looked | LookFailed | Voted) -> bool:
        """Whether this is the latest answer of one of its segments."""
        return answer.key == self.key and answer.attempt == self.segments[answer.segment].attempt

    def learn(
        self, answer: Looked | LookFailed, now: float, over: Over
    ) -> Generator[Effect, None, Learnt]:
        """The recogniser answers: words, an echo, or nothing."""
        if not self.expects(answer):
            if over.undecided_from is not None and isinstance(answer, Looked):
                self._glimpse(answer)
            return Learnt.NOTHING
        segment = self.segments[answer.segment]
        if isinstance(answer, LookFailed):
            if not segment.retried:
                yield self._look_again(answer.segment, over)
                return Learnt.NOTHING
            self._settle(segment, now)
            yield Failed(answer.error, turn=self.number or None)
        elif answer.echo:  # it is nobody's: it has no words, and is not listened to again
            segment.start, segment.text = segment.asked_to, ""
            self._settle(segment, now)
            return Learnt.ECHO
        else:
            said = _said(answer.text)
            changed = segment.text != said
            segment.text = said
            self._settle(segment, now)
            if changed and self.number and self.text and self.fate is not Fate.FORGOTTEN:
                yield UserTranscript(self.number, self.text, final=False)
        return Learnt.WORDS

    def hear_vote(self, vote: Voted) -> bool:
        """The end-of-turn model has a say on the latest window; on another one none."""
        if not self.expects(vote):
            return False
        self.end_of_turn = vote.end_of_turn
        return True

    def _glimpse(self, answer: Looked) -> None:
        """Words of a window before the latest, which is still under way: the best so far."""
        last = len(self.segments) - 1
        segment = self.segments[last]
        earlier = (answer.key, answer.segment) == (self.key, last)
        # One of the same end is no answer to the latest, which was asked for with more care.
        if earlier and segment.answered_to < answer.end < segment.asked_to:
            segment.text, segment.answered_to = _said(answer.text), answer.end

    def _look_again(self, index: int, over: Over) -> Look:
        """Once more, for words that did not come."""
        segment = self.segments[index]
        segment.retried = segment.sure = True
        segment.attempt += 1
        return Look(
            self.key, index, segment.attempt, segment.start, segment.asked_to,
            final=True, over_reply=over.audible,
        )  # fmt: skip

    def _settle(self, segment: Segment, now: float) -> None:
        segment.answered_to = segment.asked_to
        self.marks.transcript = now


def _said(text: str) -> str:
    """The recogniser's text, or "" for one without a word: a lone mark, or a noise by its name."""
    return text if any(map(str.isalnum, _NOISE.sub("", text))) else ""
