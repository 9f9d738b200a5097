"""Who goes next at an engine: the queue of those who wait. Pure: time is an argument.

Every request has a time at which it is *due*, and from then on it is *pressing*:

    a first clause, a final     when it comes
    a later clause              when the audio before it will have been played
    a partial                   0.5 s after it comes
    batch work                  2 s
    speculation                 3 s

1. The pressing go before all others, the earliest due first, equals in order of arrival.
2. No owner goes twice before another one with a pressing request has gone once.
3. Nobody pressing: later clauses by their deadline, then partials, batch, speculation.

So speculation is last, and yet nothing starves: what is pressing can be passed only by what was due
before it, which had come before it was due. A clause that is not needed for seconds is early work
and not a wait: rule 2 would else let it pass another one's clause that runs dry sooner.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import IntEnum

from .errors import AtCapacity, RateLimited


class Purpose(IntEnum):
    """What a slot is wanted for, the most urgent first."""

    FIRST_CLAUSE = 0
    FINAL = 1
    LATER_CLAUSE = 2
    PARTIAL = 3
    BATCH = 4
    SPECULATION = 5


PATIENCE_S = {
    Purpose.FIRST_CLAUSE: 0.0,
    Purpose.FINAL: 0.0,
    Purpose.LATER_CLAUSE: 0.0,
    Purpose.PARTIAL: 0.5,
    Purpose.BATCH: 2.0,
    Purpose.SPECULATION: 3.0,
}
"""How long after its arrival a request without a deadline is due."""
LATEST_DUE_S = 10.0
"""No deadline is later than this after its request's arrival, or it might time out unserved."""

_Moment = tuple[float, int]
"""A time, and a running number that tells apart what happens at one time."""
_LONG_AGO: _Moment = (float("-inf"), 0)


@dataclass(eq=False, slots=True)
class Request:
    """One that waits. `due` is set by the queue."""

    owner: str
    purpose: Purpose
    deadline: float | None = None
    """When the result is needed, in monotonic seconds; None: as its purpose has it."""
    arrived: float = 0.0
    due: float = 0.0
    number: int = 0
    """Order of arrival."""

    @property
    def since(self) -> _Moment:
        """When it began, or will begin, to press."""
        return (self.due, self.number)


@dataclass(slots=True)
class Queue:
    """All who wait for one kind of engine, bounded in all and for each owner."""

    max_waiting: int = 256
    max_per_owner: int = 16
    _waiting: list[Request] = field(default_factory=list)
    _of_owner: dict[str, int] = field(default_factory=dict)
    _went: dict[str, _Moment] = field(default_factory=dict)
    """When each owner last went, as long as somebody waits who has been passed by it."""
    _counter: int = 0

    def __len__(self) -> int:
        return len(self._waiting)

    def __contains__(self, request: object) -> bool:
        return request in self._waiting

    def add(self, request: Request, now: float) -> Request | None:
        """Line up. Returns the older partial of the same owner whose place a partial takes.

        Raises `AtCapacity` when the queue is full, `RateLimited` when the owner's share of it is.
        """
        replaced = self._older_partial(request)
        if replaced is None:
            self._check_room(request.owner)
        request.arrived = now
        self._counter += 1
        if replaced is not None:
            # The older one's place in line too, or who speaks without a pause would wait for ever.
            self.discard(replaced)
            request.due, request.number = replaced.due, replaced.number
        else:
            request.due, request.number = _due(request), self._counter
        self._waiting.append(request)
        self._of_owner[request.owner] = self._of_owner.get(request.owner, 0) + 1
        return replaced

    def discard(self, request: Request) -> None:
        """It waits no longer; nothing happens if it did not."""
        if request not in self._waiting:
            return
        self._waiting.remove(request)
        self._of_owner[request.owner] -= 1
        if not self._of_owner[request.owner]:
            del self._of_owner[request.owner]
        if not self._waiting:
            self._went.clear()

    def promote(self, owner: str, now: float) -> None:
        """The owner's speculation has come true: what waits for it is a first clause, due now."""
        for request in self._waiting:
            if request.owner == owner and request.purpose is Purpose.SPECULATION:
                request.purpose = Purpose.FIRST_CLAUSE
                request.due = min(request.due, now)

    def take(self, now: float) -> Request | None:
        """The one that goes next leaves the queue; None when nobody waits."""
        chosen = self._next(now)
        if chosen is not None:
            self._counter += 1
            self._went[chosen.owner] = (now, self._counter)
            self.discard(chosen)
            self._forget_old()
        return chosen

    def clear(self) -> list[Request]:
        """Send everybody away; returns who they were."""
        gone, self._waiting = self._waiting, []
        self._of_owner.clear()
        self._went.clear()
        return gone

    def oldest_s(self, now: float) -> float:
        """How long the one that came first has waited; 0.0 when nobody waits."""
        return now - min((request.arrived for request in self._waiting), default=now)

    def late_s(self, now: float) -> float:
        """How long the one that was due first has been due; 0.0 when nobody is late."""
        return max(0.0, now - min((request.due for request in self._waiting), default=now))

    def _next(self, now: float) -> Request | None:
        if len(self._waiting) < 2:
            return self._waiting[0] if self._waiting else None
        if pressing := [request for request in self._waiting if request.due <= now]:
            return min(self._in_turn(pressing, lambda request: request.since), key=_by_due)
        first = min(request.purpose for request in self._waiting)
        early = [request for request in self._waiting if request.purpose is first]
        if first is not Purpose.LATER_CLAUSE:
            early = self._in_turn(early, _came)
        return min(early, key=_by_due)

    def _in_turn(
        self, requests: Iterable[Request], since: Callable[[Request], _Moment]
    ) -> list[Request]:
        """Those whose owner has not gone since the one that waits longest began to wait.

        An owner waits from when its oldest request did, or from when it last went.
        """
        began: dict[str, _Moment] = {}
        for request in requests:
            at = since(request)
            if at < began.get(request.owner, (float("inf"), 0)):
                began[request.owner] = at
        went = self._went
        longest = min(max(at, went.get(owner, _LONG_AGO)) for owner, at in began.items())
        return [r for r in requests if went.get(r.owner, _LONG_AGO) <= longest]

    def _older_partial(self, request: Request) -> Request | None:
        if request.purpose is not Purpose.PARTIAL or request.owner not in self._of_owner:
            return None
        for other in self._waiting:
            if other.owner == request.owner and other.purpose is Purpose.PARTIAL:
                return other
        return None

    def _check_room(self, owner: str) -> None:
        if len(self._waiting) >= self.max_waiting:
            raise AtCapacity("too many requests wait for this engine", retry_after_s=5.0)
        if self._of_owner.get(owner, 0) >= self.max_per_owner:
            raise RateLimited("too many of your requests wait already", retry_after_s=1.0)

    def _forget_old(self) -> None:
        """Bound the memory of who went: whoever went before any of these waited passed none."""
        if len(self._went) > 2 * self.max_waiting and self._waiting:
            later = Purpose.LATER_CLAUSE
            longest = min(r.since if r.purpose is later else _came(r) for r in self._waiting)
            self._went = {owner: at for owner, at in self._went.items() if at > longest}


def _due(request: Request) -> float:
    if request.deadline is None:
        return request.arrived + PATIENCE_S[request.purpose]
    return min(max(request.deadline, request.arrived), request.arrived + LATEST_DUE_S)


def _came(request: Request) -> _Moment:
    return (request.arrived, request.number)


def _by_due(request: Request) -> tuple[float, Purpose, int]:
    return (request.due, request.purpose, request.number)
