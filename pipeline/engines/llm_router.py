"""Which of several language model backends a reply is asked of. Pure: time is an argument.

The one with the least to do, of those that are well: not resting (429), not failing (`breaker`),
not full (`concurrency`). A conversation stays where it was, for the prompt cache there, unless that
backend is busier than another by a margin.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Container
from dataclasses import dataclass, field

from .breaker import Breaker
from .concurrency import AdaptiveLimit
from .ports import BackendStatus

MARGIN = 2
"""Replies that a conversation's own backend may have under way beyond another's, and keep it: what
its cache saves is worth waiting a little for."""
MOST_HOMES = 4_096
"""Conversations whose backend is remembered."""


@dataclass(eq=False, slots=True)
class Trial:
    """One call to one backend; it ends by exactly one of the router's words for it."""

    backend: int
    session: str
    began: float
    probe: bool
    """It finds out whether a backend that was failing is well again; until its first token."""
    crowd: int
    """Calls under way there, this one counted."""
    spoken: bool = False
    """Its first token has come."""
    again: bool = False
    """The same request failed here before: perhaps it is the request's fault."""


@dataclass(eq=False, slots=True)
class _Backend:
    limit: AdaptiveLimit
    breaker: Breaker = field(default_factory=Breaker)
    outstanding: int = 0
    rests_until: float = float("-inf")
    chosen: int = 0
    """When it was last chosen, as a count of choices."""
    failure: str = ""

    def well(self, now: float) -> bool:
        return now >= self.rests_until and self.breaker.admits(now)

    def has_room(self, now: float) -> bool:
        return self.well(now) and self.outstanding < self.limit.limit

    def back_at(self, now: float) -> float:
        """When it may be asked again, as far as is known; `now` when it may be now."""
        return max(now, self.rests_until, self.breaker.opened_until or now)


class Router:
    """The backends' state. Every `Trial` it admits is ended: `done`, `left`, `failed`, ..."""

    def __init__(self, backends: int, slots: int) -> None:
        self._backends = [_Backend(AdaptiveLimit(slots)) for _ in range(backends)]
        self._homes: OrderedDict[str, int] = OrderedDict()
        self._choices = 0

    # --- choosing --------------------------------------------------------------------------------

    def admit(self, session: str, now: float, avoid: Container[int] = ()) -> Trial | None:
        """A place for one reply; None when there is none now. `avoid` has just failed it."""
        open_to_it = [
            at
            for at, backend in enumerate(self._backends)
            if at not in avoid and backend.has_room(now)
        ]
        if not open_to_it:
            return None
        best = min(open_to_it, key=self._load)
        home = self._homes.get(session)
        if home in open_to_it and not self._failing(best) and self._gap(home, best) <= MARGIN:
            best = home
        return self._begin(best, session, now)

    def others(self, trial: Trial, now: float, avoid: Container[int] = ()) -> bool:
        """Whether another backend could be asked instead, now."""
        return any(
            at != trial.backend and at not in avoid and backend.has_room(now)
            for at, backend in enumerate(self._backends)
        )

    def well(self, now: float) -> bool:
        """Whether any backend is; if so, all there is to wait for is a place."""
        return any(backend.well(now) for backend in self._backends)

    def rested_at(self, now: float) -> float | None:
        """When the first of those that asked for patience may be asked again; None: none did."""
        rests = (backend.back_at(now) for backend in self._backends if backend.rests_until > now)
        return min(rests, default=None)

    def next_at(self, now: float) -> float | None:
        """When the next of those that may not be asked now, may be again; None: all may be."""
        later = (at for backend in self._backends if (at := backend.back_at(now)) > now)
        return min(later, default=None)

    def back_at(self, now: float) -> float:
        """When the first of all may be asked again, as far as is known."""
        return min(backend.back_at(now) for backend in self._backends)

    def _load(self, at: int) -> tuple[bool, float, int]:
        # One that waits for its probe comes first: it would else never be asked while others have
        # room.
        backend = self._backends[at]
        return not self._failing(at), backend.outstanding / backend.limit.limit, backend.chosen

    def _failing(self, at: int) -> bool:
        return self._backends[at].breaker.opened_until is not None

    def _gap(self, one: int, other: int) -> int:
        return self._backends[one].outstanding - self._backends[other].outstanding

    def _begin(self, at: int, session: str, now: float) -> Trial:
        backend = self._backends[at]
        backend.outstanding += 1
        self._choices += 1
        backend.chosen = self._choices
        return Trial(at, session, now, backend.breaker.begin(), backend.outstanding)

    # --- what became of it -----------------------------------------------------------------------

    def spoke(self, trial: Trial, now: float) -> None:
        """Its first token came: from now on the conversation is at home there."""
        backend = self._backends[trial.backend]
        backend.breaker.works(probe=trial.probe)
        trial.probe = False
        trial.spoken = True
        crowd = max(trial.crowd, backend.outstanding)  # those that came later wait beside it
        backend.limit.first_token(trial.began, now, crowd)
        backend.failure = ""
        if trial.session:
            self._homes[trial.session] = trial.backend
            self._homes.move_to_end(trial.session)
            while len(self._homes) > MOST_HOMES:
                self._homes.popitem(last=False)

    def done(self, trial: Trial) -> None:
        """It ended in good order, or refused what no backend would take."""
        backend = self._end(trial)
        backend.breaker.works(probe=trial.probe)
        backend.breaker.succeed()

    def left(self, trial: Trial) -> None:
        """Its user wanted no more of it."""
        self._end(trial).breaker.abandon(probe=trial.probe)

    def failed(self, trial: Trial, now: float, why: str) -> None:
        """Unreachable, an error of the server's, no token in time, broken off."""
        backend = self._end(trial)
        if trial.probe or not trial.again:
            backend.breaker.fail(now, probe=trial.probe)
        backend.failure = why

    def missed(self, trial: Trial, now: float, why: str) -> None:
        """As `failed`, by no first token in time: perhaps it is asked too much at once."""
        self._backends[trial.backend].limit.missed(trial.began, now)
        self.failed(trial, now, why)

    def limited(self, trial: Trial, now: float, retry_after_s: float, why: str) -> None:
        """It asked for patience (429, or 503 with Retry-After): it rests for so long."""
        backend = self._end(trial)
        backend.limit.missed(trial.began, now)
        backend.breaker.abandon(probe=trial.probe)  # it answers: patience is no illness
        backend.rests_until = max(backend.rests_until, now + retry_after_s)
        backend.failure = why

    def absent(self, at: int, now: float, why: str) -> None:
        """It was not there at the start."""
        self._backends[at].breaker.open(now)
        self._backends[at].failure = why

    def _end(self, trial: Trial) -> _Backend:
        backend = self._backends[trial.backend]
        backend.outstanding -= 1
        return backend

    def closed(self, at: int) -> bool:
        """Whether a backend's breaker is closed."""
        return self._backends[at].breaker.opened_until is None

    # --- what is shown ---------------------------------------------------------------------------

    def status(self, at: int, url: str, model: str, now: float) -> BackendStatus:
        """One backend's state."""
        backend = self._backends[at]
        baseline_s = backend.limit.baseline_s
        return BackendStatus(
            url,
            model,
            backend.breaker.state(now),
            backend.outstanding,
            backend.limit.limit,
            None if baseline_s is None else round(baseline_s * 1000, 1),
            round(backend.back_at(now) - now, 1),
            backend.failure,
        )
