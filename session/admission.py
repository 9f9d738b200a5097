"""Who may come in, who waits, and in which order. Pure: time is an argument.

Places first, then a waiting room in order of arrival, then `AtCapacity`. Who was here before finds
more room to wait in, and goes first: a session never loses to newcomers. Whoever leaves, from a
place or from the waiting room, is forgotten in the same step, and a place that this frees is the
next one's: there is no moment in which a place is nobody's and somebody waits.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

from pipeline.errors import AtCapacity

DEPARTURES = 16
"""Places that became free of late, by which the pace is judged."""
LATELY_S = 600.0
"""What happened longer ago says nothing about now."""
RETRY_S, LONGEST_RETRY_S = 10.0, 300.0
"""When somebody who was refused should try again: if the pace is not known, and at most."""


@dataclass(frozen=True, slots=True)
class Standing:
    """Where one stands in the waiting room."""

    position: int
    """1 is the next one in."""
    eta_s: int | None
    """Whole seconds, at least 1; None: too few places became free lately to tell."""


class Admission:
    """The places and the waiting room, by ticket."""

    def __init__(self, places: int, waiting_room: int) -> None:
        self.places = places
        self.waiting_room = waiting_room
        self._inside: set[str] = set()
        self._waiting: dict[str, None] = {}  # in order of arrival
        self._back: set[str] = set()
        """Of those who came, the ones who were here before."""
        self._freed: deque[float] = deque(maxlen=DEPARTURES)
        self._shut: str | None = None

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    @property
    def full(self) -> bool:
        """Every place is taken: one more would have to wait."""
        return len(self._inside) >= self.places

    @property
    def has_room(self) -> bool:
        """A newcomer would be let in, or could wait."""
        return self._shut is None and (not self.full or len(self._waiting) < self.waiting_room)

    def arrive(self, ticket: str, now: float, *, back: bool = False) -> None:
        """Take a place, or else wait. Raises `AtCapacity` where neither is to be had.

        `back`: it was here before, and may wait while newcomers may not. As many can as there are
        places: all who were inside may lose their connections in one moment.
        """
        if self._shut is not None and not back:
            raise AtCapacity(self._shut, retry_after_s=RETRY_S)
        if not self.full and self._shut is None:  # and so nobody waits
            self._inside.add(ticket)
        elif len(self._waiting) < self.waiting_room + (self.places if back else 0):
            self._waiting[ticket] = None
            if back:
                self.promote(ticket)
        else:
            eta_s = self._eta_s(len(self._waiting) + 1, now)
            raise AtCapacity(
                f"all {self.places} places are taken"
                + (", and the waiting room is full" if self.waiting_room else "")
                + "; try again later",
                retry_after_s=RETRY_S if eta_s is None else min(eta_s, LONGEST_RETRY_S),
            )

    def promote(self, ticket: str) -> None:
        """Somebody who was here before: first of all that wait, behind others such."""
        if ticket in self._waiting and ticket not in self._back:
            del self._waiting[ticket]
            back = [one for one in self._waiting if one in self._back]
            others = [one for one in self._waiting if one not in self._back]
            self._back.add(ticket)
            self._waiting = dict.fromkeys([*back, ticket, *others])

    def leave(self, ticket: str, now: float) -> None:
        """Be gone, from wherever; twice is once."""
        self._waiting.pop(ticket, None)
        self._back.discard(ticket)
        if ticket in self._inside:
            self._inside.discard(ticket)
            self._freed.append(now)
            self._let_in()

    def shut(self, reason: str) -> None:
        """Let nobody in for now: newcomers are refused, those who wait go on waiting."""
        self._shut = reason

    def reopen(self) -> None:
        """Let people in again, first those who waited."""
        self._shut = None
        self._let_in()

    def admitted(self, ticket: str) -> bool:
        """Whether it has a place."""
        return ticket in self._inside

    def standing(self, ticket: str, now: float) -> Standing:
        """Where a waiting one stands. Raises `KeyError` for one that does not wait."""
        for position, waiting in enumerate(self._waiting, 1):
            if waiting == ticket:
                return Standing(position, self._eta_s(position, now))
        raise KeyError(ticket)

    def _let_in(self) -> None:
        while self._waiting and not self.full and self._shut is None:
            first = next(iter(self._waiting))
            del self._waiting[first]
            self._inside.add(first)

    def _eta_s(self, position: int, now: float) -> int | None:
        """Departures taken as a Poisson process: its rate is their number by the time they took.

        The time since the last one counts too: when nobody leaves any more, the wait grows.
        """
        lately = [at for at in self._freed if at > now - LATELY_S]
        if self._shut is not None or len(lately) < 2:
            return None
        every_s = (now - lately[0]) / (len(lately) - 1)
        return max(1, math.ceil(position * every_s))
