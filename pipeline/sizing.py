"""How many instances of an engine there should be, by how long requests wait. Pure.

A standing queue is told from a burst as CoDel does (Nichols and Jacobson 2012, RFC 8289): not by
the longest wait, but by the shortest one staying long. One more instance is wanted when for a
second every request that was due came late; one less when for a minute they were never all in use.
That the two ask for different things, and for different lengths of time, is the hysteresis. None at
all when for long enough nobody needed any, if the operator says so.
"""

from __future__ import annotations

from dataclasses import dataclass

LATE_S = 0.1
"""What a listener would notice, on top of everything else."""
GROW_AFTER_S = 1.0
STALE_S = 10.0
"""A queue of which nobody was late for so long does not stand any more."""
SHRINK_AFTER_S = 60.0
"""Making an instance takes seconds of a processor: one that was just made is not given up soon."""


@dataclass(slots=True)
class Sizing:
    """The wanted number of instances, between `least` and `most`."""

    least: int
    most: int
    late_s: float = LATE_S
    grow_after_s: float = GROW_AFTER_S
    shrink_after_s: float = SHRINK_AFTER_S
    rest_after_s: float | None = None
    """So long nobody needs any before the last ones go; None: they stay."""
    _late_at: float = float("-inf")
    """When somebody was last served late."""
    _standing_since: float | None = None
    """Since when nobody has been served promptly."""
    _last_full: float | None = None
    """When all instances were last seen in use; None: never yet."""
    _last_needed: float | None = None
    """When anybody last was given one, or they were ready for the first time."""

    def served(self, late_s: float, now: float) -> None:
        """A request has got its seat so long after it was due.

        One that got it before (negative) was in no hurry, and says nothing about the others.
        """
        if 0 <= late_s < self.late_s:
            self._standing_since = None
        elif late_s >= self.late_s:
            if self._standing_since is None or now - self._late_at > STALE_S:
                self._standing_since = now - late_s
            self._late_at = now

    def seen(self, *, full: bool, now: float) -> None:
        """Whether all instances are in use now, as somebody is given one."""
        self._last_needed = now
        if full or self._last_full is None:
            self._last_full = now

    def wanted(self, count: int, now: float) -> int:
        """How many there should be, when there are `count`: one more or less, as many, or none."""
        standing = self._standing_since if now - self._late_at <= STALE_S else None
        full = self._last_full
        if count < self.most and standing is not None and now - standing >= self.grow_after_s:
            return count + 1
        if count > self.least and full is not None and now - full >= self.shrink_after_s:
            return count - 1
        return 0 if count <= self.least and self._unneeded(now) else count

    def changed(self, now: float) -> None:
        """The number has changed: judge anew."""
        self._standing_since = None
        self._last_full = self._last_needed = now

    def next_look(self, count: int) -> float | None:
        """When `wanted` may say fewer, if nothing happens before; None: it will not."""
        if count > self.least and self._last_full is not None:
            return self._last_full + self.shrink_after_s
        if count and self.rest_after_s is not None and self._last_needed is not None:
            return self._last_needed + self.rest_after_s
        return None

    def _unneeded(self, now: float) -> bool:
        needed, rest_s = self._last_needed, self.rest_after_s
        return rest_s is not None and needed is not None and now - needed >= rest_s
