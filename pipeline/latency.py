"""When the steps from the user's last sound to the first audio of the reply were done. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from .events import Latency, Timeline


@dataclass(slots=True)
class Marks:
    """When the stages of a turn's latency ended, in monotonic seconds."""

    voiced: float = 0.0
    """The user's last voiced sample arrived, or the typed text."""
    endpoint: float = 0.0
    """The turn was known to be over, but for its words."""
    transcript: float = 0.0
    commit: float = 0.0
    first_text: float | None = None
    clause: float | None = None
    """The first clause left for the synthesizer."""
    audio: float | None = None
    sent: float | None = None
    spoken: bool = True
    """The turn was; a typed one and a greeting wait for nothing until their commit."""

    @classmethod
    def unspoken(cls, now: float) -> Marks:
        """Of a turn that is known, whole and committed as soon as it comes."""
        return cls(now, now, now, now, spoken=False)

    def commit_to(self, turn: Marks) -> None:
        """A reply begun early is for this turn after all: its clock is that turn's."""
        self.voiced, self.endpoint = turn.voiced, turn.endpoint
        self.transcript, self.commit = turn.transcript, turn.commit

    def timeline(self) -> Timeline:
        """Every mark on the clock that begins with the last voiced sample."""
        marks = (self.transcript, self.commit, self.first_text, self.clause, self.audio, self.sent)
        return Timeline(*(round((at - self.voiced) * 1000) if at else None for at in marks))

    def latency(self) -> Latency | None:
        """The parts between the marks. They add up, and a mark out of order has none."""
        if self.sent is None:
            return None
        at = [self.voiced]
        for mark in (self.endpoint, self.transcript, self.clause or 0.0, self.sent):
            at.append(max(at[-1], mark))
        ms = [round((moment - at[0]) * 1000) for moment in at]
        return Latency(*(b - a for a, b in pairwise(ms)))
