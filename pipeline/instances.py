"""The instances of one kind of engine: how they grow, shrink and are replaced."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import structlog

from .engine_faults import is_fault
from .engines.ports import HasSeats
from .kinds import Kind
from .seats import Instance, Seat, Supply
from .sizing import Sizing

E = TypeVar("E")

log = structlog.get_logger(__name__)

REPLACING = "is being replaced"
LOAD_S = 300.0
"""An instance that is not loaded by then never will be: a device that hangs holds the next one up
as well."""
FAILURES_IN_ROW = 3
"""So many calls in a row that fail of themselves, and the instance is probed."""


@dataclass(eq=False)
class Instances(Generic[E]):
    """All instances of one kind. `changed` is called when a seat may have become free."""

    kind: Kind[E]
    supply: Supply[E]
    clock: Callable[[], float]
    changed: Callable[[], None]
    present: list[Instance[E]] = field(default_factory=list)
    """By their places: the first is a lone caller's, and is what it was when it is replaced."""
    retired: list[Instance[E]] = field(default_factory=list)
    """Given up; each is closed as soon as its last call has left it."""

    def __post_init__(self) -> None:
        for place, engine in enumerate(self.supply.engines):
            self._add(engine, place)
        least = len(self.supply.engines)
        rest_s = self.supply.rest_s if self.supply.make is not None else None
        self.sizing = Sizing(least, max(least, self.supply.most), rest_after_s=rest_s)
        self._slots = self.sizing.most * self.supply.seats
        self._replaced = False
        self._missing: int | None = None
        """The place of the one that is to be replaced."""
        self._resting = False
        """All were closed, for nobody needed any."""
        self._needed = False
        """While they rest: somebody has come."""
        self._news = asyncio.Event()

    def settle(self) -> None:
        """The engines have been loaded: what does not fit into their memory is not admitted."""
        for instance in self.present:
            instance.seats = instance.seats[: self._seats_of(instance.engine)]
        if self.present:
            self._slots = self.sizing.most * max(len(one.seats) for one in self.present)
        self.sizing.seen(full=True, now=self.clock())  # from here on nobody needs any

    @property
    def slots(self) -> int:
        """Seats there may be at most."""
        return self._slots

    @property
    def seats(self) -> list[Seat[E]]:
        """Every seat, those of retired instances included."""
        return [seat for instance in self.present + self.retired for seat in instance.seats]

    @property
    def usable(self) -> int:
        """Instances that can take a call, now or once they are free."""
        return sum(not instance.hung for instance in self.present)

    @property
    def hopeless(self) -> bool:
        """No instance can take a call, and none is being made."""
        return not self.usable and self._missing is None and not self._resting

    @property
    def trouble(self) -> str | None:
        """What is wrong, and will be until an operator looks or another instance is loaded; None:
        nothing."""
        for instance in self.present:
            if instance.trouble is not None and not self._can_replace:
                return f"{self.kind.title} {instance.trouble}"
        if self.hopeless:
            return f"{self.kind.title} is down"
        replacing = self._missing is not None and not self.usable
        return f"{self.kind.title} {REPLACING}" if replacing else None

    def free_seat(self) -> Seat[E] | None:
        """A free seat of the first instance that has one: the one for a lone caller.

        One that fails is asked only when there is no healthy one, busy or not: it fails at once, is
        free again at once, and would draw everybody who waits.
        """
        answering = [instance for instance in self.present if not instance.hung]
        healthy = [instance for instance in answering if instance.healthy]
        for instance in healthy or answering:
            for seat in instance.seats:
                if seat.free:
                    return seat
        return None

    def wake(self) -> None:
        """Somebody comes who will need one."""
        if self._resting and not self._needed:
            self._needed = True
            self._news.set()

    def served(self, late_s: float) -> None:
        """A request was given a seat so long after it was due; negative: before."""
        now = self.clock()
        self.sizing.served(late_s, now)
        self.sizing.seen(full=all(not instance.idle for instance in self.present), now=now)
        if self.sizing.wanted(len(self.present), now) != len(self.present):
            self._news.set()

    # --- faults ----------------------------------------------------------------------------------

    def hang(self, seat: Seat[E]) -> None:
        """The call in this seat gives no sign of life."""
        instance = seat.instance
        known = instance.hung or instance in self.retired
        seat.hung = True
        if known:
            return
        log.error("engine_hangs", kind=self.kind.name, replaced=self._can_replace)
        self._give_up(instance)

    def doubtful(self, seat: Seat[E], error: Exception | None) -> bool:
        """Whether this error is one too many, and the instance is to be probed, by `probed`."""
        instance, supply = seat.instance, self.supply
        if error is None or supply.probe is None or supply.make is None or not is_fault(error):
            return False
        in_doubt = not instance.probing and not instance.broken and instance in self.present
        return in_doubt and instance.failures + 1 >= FAILURES_IN_ROW

    def probed(self, seat: Seat[E], error: Exception | None) -> None:
        """How the probe ended."""
        instance = seat.instance
        instance.failures = 0
        if error is None:
            log.warning("engine_passes_probe", kind=self.kind.name)
        elif not instance.broken:
            self._breaks(instance)

    def ended(self, seat: Seat[E], error: Exception | None, *, stopped: bool = False) -> None:
        """A call has left its seat, however it ended.

        One that was `stopped` says nothing of its engine: it neither failed nor succeeded.
        """
        seat.running -= 1
        if not seat.running:
            seat.hung = False  # if it was: it was slow, not dead
        instance = seat.instance
        if stopped:
            pass
        elif error is None:
            instance.failures, instance.broken = 0, False
        elif is_fault(error) and self.supply.make is not None:
            instance.failures += 1
            if instance.failures == FAILURES_IN_ROW and self.supply.probe is None:
                self._breaks(instance)
        self._returned(instance)

    def left(self, seat: Seat[E]) -> None:
        """A lease of this seat has ended."""
        seat.leased = False
        self._returned(seat.instance)

    def _returned(self, instance: Instance[E]) -> None:
        if instance in self.retired:
            self._news.set()
        self.changed()

    @property
    def _can_replace(self) -> bool:
        return self.supply.make is not None and not self._replaced

    def _breaks(self, instance: Instance[E]) -> None:
        instance.broken = True
        if instance in self.present:
            log.error("engine_breaks", kind=self.kind.name, replaced=self._can_replace)
            self._give_up(instance)

    def _give_up(self, instance: Instance[E]) -> None:
        """Retire it, if another can take its place: once in a process, then an operator must look.

        One that stays may yet come back: hung ones are used again when they have answered.
        """
        if self._can_replace:
            self._replaced = True
            self._missing = self.present.index(instance)
            self._retire(instance)
        self.changed()

    # --- the keeper ------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Replace, grow, shrink and close, one thing after the other, until cancelled."""
        while True:
            self._news.clear()
            await self._close_retired()
            await self._replace()
            await self._come_back()
            await self._resize()
            look_at = self.sizing.next_look(len(self.present))
            with suppress(TimeoutError):
                async with asyncio.timeout(look_at and max(0.0, look_at - self.clock())):
                    await self._news.wait()

    async def _replace(self) -> None:
        if self._missing is not None:
            await self._make("replaced", self._missing)
            self._missing = None
            self.changed()

    async def _come_back(self) -> None:
        if self._needed:
            for place in range(self.sizing.least):
                if not await self._make("loaded_again", place):
                    break
                self.changed()
            self._resting = self._needed = False
            self.sizing.changed(self.clock())
            self.changed()  # if none could be made, whoever waits is told so

    def _rest(self) -> None:
        if all(instance.idle and instance.healthy for instance in self.present):
            log.info("engine_unloaded", kind=self.kind.name)
            self._resting = True
            for instance in self.present.copy():
                self._retire(instance)
        self.sizing.changed(self.clock())

    async def _resize(self) -> None:
        count = len(self.present)
        wanted = self.sizing.wanted(count, self.clock())
        if count and not wanted:
            self._rest()
        elif wanted > count and self.supply.make is not None:
            if not await self._make("added", count):
                self.sizing.most = count  # it cannot be had: do not try for ever
            self.sizing.changed(self.clock())
            self.changed()
        elif wanted < count:
            log.info("engine_instance_given_up", kind=self.kind.name, instances=wanted)
            self._shrink()
            self.sizing.changed(self.clock())

    def _shrink(self) -> None:
        """Retire the youngest that is not healthy, or else the youngest.

        What is not healthy and still here had its replacement: its place goes with it.
        """
        unhealthy = [instance for instance in self.present if not instance.healthy]
        if unhealthy:
            self.sizing.most -= 1
        self._retire((unhealthy or self.present)[-1])

    async def _make(self, why: str, place: int) -> bool:
        assert self.supply.make is not None
        try:
            async with asyncio.timeout(LOAD_S):
                engine = await self.supply.make(place)
            self._add(engine, place)
        except Exception as error:
            log.error("engine_instance_failed", kind=self.kind.name, error=repr(error))
            return False
        log.info(f"engine_instance_{why}", kind=self.kind.name, instances=len(self.present))
        return True

    async def _close_retired(self) -> None:
        for instance in [instance for instance in self.retired if instance.idle]:
            self.retired.remove(instance)
            if self.supply.close is not None:
                try:
                    await self.supply.close(instance.engine)
                except Exception as error:
                    log.warning("engine_not_closed", kind=self.kind.name, error=repr(error))

    def _add(self, engine: E, place: int) -> None:
        instance = Instance(engine)
        instance.seats = tuple(Seat(instance) for _ in range(self._seats_of(engine)))
        self.present.insert(place, instance)

    def _seats_of(self, engine: E) -> int:
        """No more than the supply says, and than fit there once the engine is loaded."""
        if isinstance(engine, HasSeats):
            return max(1, min(self.supply.seats, engine.seats))
        return self.supply.seats

    def _retire(self, instance: Instance[E]) -> None:
        self.present.remove(instance)
        self.retired.append(instance)
        self._news.set()
