"""A circuit breaker: stops asking a backend that fails, and finds out when it is well again. Pure.

    closed --3 requests in a row--> open --its rest is over--> half open --one probe--> closed
                                            ^------------- the probe failed: a longer rest -------'

Why none of the libraries: docs/decisions/0009-llm-backends.md.
"""

from __future__ import annotations

from .ports import BreakerState

FAILURES = 3
"""Requests in a row, and the breaker opens. One or two may be a restart, or bad luck; one that is
tried again and fails again counts once, or one poisonous prompt would silence everybody."""
REST_S = 2.0
"""The first rest; each one in a row is twice as long, up to `LONGEST_REST_S`."""
LONGEST_REST_S = 30.0


class Breaker:
    """One backend's. Whoever may ask it (`admits`) says so (`begin`), and how it ended.

    A call that was begun before the breaker opened says nothing about the backend of now: only the
    probe closes it again. Times are monotonic seconds.
    """

    def __init__(self) -> None:
        self.failures = 0
        """In a row."""
        self.opened_until: float | None = None
        """The end of the rest; None: closed."""
        self._openings = 0
        self._probing = False

    def state(self, now: float) -> BreakerState:
        if self.opened_until is None:
            return "closed"
        return "open" if now < self.opened_until else "half_open"

    def admits(self, now: float) -> bool:
        """Whether a call may begin: closed, or half open with no probe under way."""
        state = self.state(now)
        return state == "closed" or (state == "half_open" and not self._probing)

    def begin(self) -> bool:
        """A call begins that `admits` let in; returns whether it is the probe."""
        probe = self.opened_until is not None
        self._probing = self._probing or probe
        return probe

    def works(self, *, probe: bool) -> None:
        """A first token came. A probe's closes the breaker, on probation: the next failure opens
        it again."""
        if probe:
            self._probing = False
            self.opened_until = None
            self.failures = FAILURES - 1

    def succeed(self) -> None:
        """A call ended in good order."""
        if self.opened_until is None:
            self.failures = self._openings = 0

    def fail(self, now: float, *, probe: bool) -> None:
        """The backend failed a call."""
        if probe and self.opened_until is not None:
            self._probing = False
            self.open(now)
        elif self.opened_until is None:
            self.failures += 1
            if self.failures >= FAILURES:
                self.open(now)

    def abandon(self, *, probe: bool) -> None:
        """Nobody wanted the rest of a call: that says nothing about the backend."""
        if probe and self.opened_until is not None:
            self._probing = False

    def open(self, now: float) -> None:
        """Rest from now on; longer each time in a row."""
        rest_s = min(LONGEST_REST_S, REST_S * 2.0 ** min(self._openings, 8))
        self._openings += 1
        self.opened_until = now + rest_s
