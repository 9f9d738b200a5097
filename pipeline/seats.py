"""The seats at the engines of one kind, and where those come from."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .engines.ports import RunsElsewhere, Stop
from .scheduling import Purpose, Request

E = TypeVar("E")


@dataclass(frozen=True, slots=True)
class Supply(Generic[E]):
    """Where a kind's instances come from."""

    engines: tuple[E, ...]
    """Those that are there from the start, and stay."""
    seats: int = 1
    """Calls that each of them takes at once."""
    most: int = 0
    """Instances there may be; none are added if that is not more than there are."""
    make: Callable[[int], Awaitable[E]] | None = None
    """Gives a new one, ready; it is told its place, 0 for the first. None: nothing is made."""
    close: Callable[[E], Awaitable[None]] | None = None
    """Takes back one that is no longer used."""
    hang_s: float | None = None
    """A call without a sign of life for so long hangs; None: never."""
    probe: Callable[[E, Stop], AsyncIterator[object]] | None = None
    """What an instance in doubt is asked, to tell a broken one from somebody's poisoned input.
    None: the doubt is enough."""
    rest_s: float | None = None
    """Nobody needs any for so long, and all are closed; whoever comes next waits until one is made.
    None: they stay."""
    guesses: int | None = None
    """Seats that speculation may take at once, where it takes one for the whole of its work. None:
    all of them, for it leaves each after a small piece."""


@dataclass(eq=False, slots=True)
class Seat(Generic[E]):
    """One place at an engine: handed to one lease at a time, busy while a call runs in it."""

    instance: Instance[E]
    leased: bool = False
    request: Request | None = None
    """What it was leased for last."""
    running: int = 0
    hung: bool = False
    """A call in it gives no sign of life."""
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held by the call that is at the engine: there is one at a time."""

    @property
    def free(self) -> bool:
        return not self.leased and not self.running

    @property
    def guessing(self) -> bool:
        """Speculation has it, or had it last, and is still at the engine."""
        request = self.request
        return not self.free and request is not None and request.purpose is Purpose.SPECULATION

    @property
    def stopping(self) -> bool:
        """An engine is at work here, and nobody waits for what it makes."""
        return self.running > 0 and (not self.leased or self.hung)


@dataclass(eq=False, slots=True)
class Instance(Generic[E]):
    """One engine and its seats."""

    engine: E
    seats: tuple[Seat[E], ...] = ()
    failures: int = 0
    """Calls that failed, since one that did not; stopped ones tell nothing."""
    probing: bool = False
    broken: bool = False

    @property
    def hung(self) -> bool:
        return any(seat.hung for seat in self.seats)

    @property
    def healthy(self) -> bool:
        return not self.hung and not self.broken

    @property
    def idle(self) -> bool:
        return all(seat.free for seat in self.seats)

    @property
    def trouble(self) -> str | None:
        if isinstance(self.engine, RunsElsewhere) and self.engine.away:
            return "is away: nothing answers where it runs"
        if self.hung:
            return "does not answer"
        return "fails" if self.broken else None
