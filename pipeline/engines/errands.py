"""What an engine call is for: whose it is, how urgent. For engines that queue elsewhere.

An engine on a thread here is called when its turn has come, and need not know. One in a replica
stands behind a queue of its own, which several gateways fill: the pool writes down, in the task of
each call, what that queue must know, and no port has an argument more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from pipeline.scheduling import Purpose


@dataclass(eq=False, slots=True)
class Errand:
    """What a call is for. Belongs to one event loop."""

    owner: str = ""
    purpose: Purpose = Purpose.FIRST_CLAUSE
    deadline: float | None = None
    """When the result is needed, in monotonic seconds of this machine."""
    _calls: list[Callable[[], None]] = field(default_factory=list)

    def promote(self) -> None:
        """The speculation has come true: it is a first clause, wanted now. Else nothing happens."""
        if self.purpose is Purpose.SPECULATION:
            self.purpose = Purpose.FIRST_CLAUSE
            for call in tuple(self._calls):
                call()

    @contextmanager
    def promoting(self, call: Callable[[], None]) -> Iterator[None]:
        """In this scope, tell by a call: for who waits at an engine that has a queue of its own."""
        self._calls.append(call)
        try:
            yield
        finally:
            self._calls.remove(call)

    def order(self, now: float) -> Order:
        """The same for another machine, whose clock is another."""
        in_s = None if self.deadline is None else self.deadline - now
        return Order(self.owner, self.purpose, in_s)


@dataclass(frozen=True, slots=True)
class Order:
    """An errand as it travels: the deadline in seconds from now. The way takes milliseconds."""

    owner: str
    purpose: Purpose
    in_s: float | None

    def deadline(self, now: float) -> float | None:
        """By the clock of whoever got it."""
        return None if self.in_s is None else now + self.in_s


CURRENT: ContextVar[Errand] = ContextVar("errand", default=Errand())  # noqa: B039 - nobody promotes it
"""Of the task of a call; the pool sets it."""
