"""Who goes next at an engine: the queue of those who wait. Pure: time is an argument.

Every request has a time at which it is *due*, and from then on it is *pressing*:

    a first clause, a final     when it comes
    a later clause              when the audio before it will have been played
    a partial                   0.5 s after it comes
    a request over HTTP         1 s: its first clause, or window; a reply out of band too
    what follows of it          2 s, or when the audio before it will have been played
    batch work                  2 s
    speculation                 3 s

1. The pressing go before all others: those first whose owners are at the fewest engines, of these
   the earliest due, equals in order of arrival.
2. What one owner asks for at once counts as asked for one after the other: while it is at an
   engine it lets all others pass, and what it still waits for is as if it came when it leaves.
3. Nobody pressing: later clauses by their deadline, then partials, requests, batch, speculation.
4. Nobody is in conversation with a request over HTTP, so sessions go before it: it presses like the
   others only once a second, the one then that is overdue longest. In between, requests go as in 3
   however long they have waited: first clauses before any later one.

So an owner who asks for sixteen things has no more of a busy engine than one who asks for one
(max-min fairness, in turns), and nobody goes twice before another one who presses has gone once.
Who asks for one thing at a time notices nothing of rule 2: their requests come after they left.
Speculation is last, and yet nothing starves: what is pressing can be passed only by what was due
before it, which had come before it was due; and of the requests, one a second.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum

from .errors import AtCapacity, RateLimited


class Purpose(IntEnum):
    """What a slot is wanted for, the most urgent first."""

    FIRST_CLAUSE = 0
    FINAL = 1
    LATER_CLAUSE = 2
    PARTIAL = 3
    REQUEST = 4
    """The first clause, or window, of a request over HTTP."""
    REQUEST_LATER = 5
    BATCH = 6
    SPECULATION = 7


PATIENCE_S = {
    Purpose.FIRST_CLAUSE: 0.0,
    Purpose.FINAL: 0.0,
    Purpose.LATER_CLAUSE: 0.0,
    Purpose.PARTIAL: 0.5,
    Purpose.REQUEST: 1.0,
    Purpose.REQUEST_LATER: 2.0,
    Purpose.BATCH: 2.0,
    Purpose.SPECULATION: 3.0,
}
"""How long after its arrival a request without a deadline is due."""
REQUESTS = frozenset({Purpose.REQUEST, Purpose.REQUEST_LATER})
_UNHURRIED = REQUESTS | {Purpose.SPECULATION}
REQUEST_EVERY_S = 1.0
"""So often one of the requests over HTTP presses like the others: about a quarter of an engine that
takes 0.3 s a clause, when sessions could use all of it."""
LATEST_DUE_S = 10.0
"""No deadline is later than this after its request's arrival, or it might time out unserved."""


@dataclass(eq=False, slots=True)
class Request:
    """One that waits. What has a default is set by the queue."""

    owner: str
    purpose: Purpose
    deadline: float | None = None
    """When the result is needed, in monotonic seconds; None: as its purpose has it."""
    arrived: float = 0.0
    came: float = 0.0
    """When it arrived, or when its owner last left an engine while it waited."""
    due: float = 0.0
    number: int = 0
    """Order of arrival."""
    position: int = 0
    """Its place in the queue when it came; 0: an engine was free."""

    @property
    def pressing_since(self) -> float:
        """When it began, or will begin, to press."""
        return max(self.due, self.came)

    def promote(self, now: float) -> None:
        """The speculation has come true: it is a first clause, due now. Else nothing happens."""
        if self.purpose is Purpose.SPECULATION:
            self.purpose = Purpose.FIRST_CLAUSE
            self.due = min(self.due, now)


@dataclass(slots=True)
class Queue:
    """All who wait for one kind of engine, bounded in all and for each owner."""

    max_waiting: int = 256
    max_per_owner: int = 16
    _waiting: list[Request] = field(default_factory=list)
    _of_owner: dict[str, int] = field(default_factory=dict)
    _at_engines: Counter[str] = field(default_factory=Counter)
    """Those who went and have not left, by owner."""
    _counter: int = 0
    _request_pressed_at: float = float("-inf")
    """When a request over HTTP last went because it pressed."""

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
        request.arrived = request.came = now
        self._counter += 1
        if replaced is not None:
            # The older one's place in line too, or who speaks without a pause would wait for ever.
            self.discard(replaced)
            request.came, request.due = replaced.came, replaced.due
            request.number = replaced.number
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

    def take(self, now: float, *, guesses: bool = True) -> Request | None:
        """The one that goes next leaves the queue; None when nobody waits, or, without `guesses`,
        nobody but speculation. `left` ends its go."""
        may_go = [r for r in self._waiting if guesses or r.purpose is not Purpose.SPECULATION]
        if not may_go:
            return None
        chosen = min(may_go, key=lambda request: self._rank(request, now))
        if chosen.purpose in REQUESTS and self._presses(chosen, now):
            self._request_pressed_at = now
        self.discard(chosen)
        self._at_engines[chosen.owner] += 1
        return chosen

    def position(self, request: Request, now: float) -> int:
        """The place in the queue of one that waits: 1 goes next."""
        mine = self._rank(request, now)
        return 1 + sum(self._rank(other, now) < mine for other in self._waiting)

    def left(self, owner: str, now: float) -> None:
        """One of the owner's that went is over."""
        self._at_engines[owner] -= 1
        if not self._at_engines[owner]:
            del self._at_engines[owner]
        if owner in self._of_owner:
            for request in self._waiting:
                if request.owner == owner:
                    request.came = now

    def clear(self) -> list[Request]:
        """Send everybody away; returns who they were."""
        gone, self._waiting = self._waiting, []
        self._of_owner.clear()
        return gone

    def oldest_s(self, now: float) -> float:
        """How long the one that came first has waited; 0.0 when nobody waits."""
        return now - min((request.arrived for request in self._waiting), default=now)

    def late_s(self, now: float) -> float:
        """How long the one that was due first has been due; 0.0 when nobody is late.

        Who is at an engine is being served: whatever else it asks for is not late yet. Requests
        over HTTP may wait, and for a guess nobody does.
        """
        waiting = (
            r
            for r in self._waiting
            if r.owner not in self._at_engines and r.purpose not in _UNHURRIED
        )
        return max(0.0, now - min((r.pressing_since for r in waiting), default=now))

    def _rank(self, request: Request, now: float) -> tuple[float, ...]:
        """The lowest goes first."""
        at_engines = self._at_engines[request.owner]
        due, purpose, number = request.due, request.purpose, request.number
        if self._presses(request, now):
            return (0, at_engines, request.pressing_since, due, purpose, number)
        if purpose is Purpose.LATER_CLAUSE:
            return (1, purpose, due, number)
        if purpose is Purpose.REQUEST_LATER:
            return (1, purpose, at_engines, due, number)
        return (1, purpose, at_engines, request.came, number)

    def _presses(self, request: Request, now: float) -> bool:
        if request.purpose in REQUESTS and now < self._request_pressed_at + REQUEST_EVERY_S:
            return False
        return request.due <= now

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


def _due(request: Request) -> float:
    soonest = request.arrived + PATIENCE_S[request.purpose]
    if request.deadline is None:
        return soonest
    if request.purpose in REQUESTS:  # a voice that ran dry is no reason to pass first clauses
        return min(max(request.deadline, soonest), request.arrived + LATEST_DUE_S)
    return min(max(request.deadline, request.arrived), request.arrived + LATEST_DUE_S)
