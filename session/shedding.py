"""How much work is left off before the server collapses under it. Pure: samples in, level out.

What is given up first is what a listener misses least. A level is entered when every sample of a
while asks for it, one level at a time, and left when every sample of a longer while is far below
it: a burst sheds nothing, and what was shed does not flicker.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum

RISE_S, FALL_S = 2.0, 10.0
"""For so long every sample must ask for more, or be content with less."""
CONTENT = 0.5
"""Below this share of what enters a level, the level is not needed any more."""


class Level(IntEnum):
    """What is left off; each level leaves off what the ones before it do."""

    NOTHING = 0
    SPECULATION = 1
    """No reply is begun before its turn is over: saves engine calls, costs some 0.2 s a turn."""
    PARTIALS = 2
    """Transcripts so far come a third as often."""
    NEWCOMERS = 3
    """No new sessions."""


@dataclass(frozen=True, slots=True)
class Sample:
    """A look at the load."""

    lag_s: float
    """The longest that the event loop ran late since the look before."""
    late_s: float
    """How long the pool's most overdue request has been due, at the best moment since then."""


ENTERED_AT = {
    # The loop: p99 is under 4 ms with all engines busy, and frames of 20 ms come from everybody.
    Level.SPECULATION: Sample(lag_s=0.05, late_s=0.3),
    Level.PARTIALS: Sample(lag_s=0.1, late_s=1.0),
    Level.NEWCOMERS: Sample(lag_s=0.25, late_s=3.0),
}
"""Either reaches to enter; both must be below `CONTENT` of it to leave."""


class Shedding:
    """The level, by the samples so far."""

    def __init__(self) -> None:
        self.level = Level.NOTHING
        self._more_since: float | None = None
        self._less_since: float | None = None

    def note(self, sample: Sample, now: float) -> Level:
        """Take a sample; the level from now on."""
        if _asked(sample, 1.0) <= self.level:
            self._more_since = None
        elif self._more_since is None:
            self._more_since = now
        if _asked(sample, CONTENT) >= self.level:
            self._less_since = None
        elif self._less_since is None:
            self._less_since = now
        if self._more_since is not None and now - self._more_since >= RISE_S:
            self.level, self._more_since = Level(self.level + 1), now
        elif self._less_since is not None and now - self._less_since >= FALL_S:
            self.level, self._less_since = Level(self.level - 1), now
        return self.level


def _asked(sample: Sample, share: float) -> Level:
    """The highest level of whose threshold the sample reaches this share."""
    return max(
        (
            level
            for level, at in ENTERED_AT.items()
            if sample.lag_s >= at.lag_s * share or sample.late_s >= at.late_s * share
        ),
        default=Level.NOTHING,
    )
