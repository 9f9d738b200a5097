"""One kind's place in the pool: its instances, its queue, and who holds what."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from .config import PoolConfig
from .errors import EngineError, Superseded
from .instances import Instances
from .kinds import Kind
from .percentiles import percentile
from .scheduling import Queue, Request
from .seats import Seat, Supply

E = TypeVar("E")

WAITS_KEPT = 512


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A snapshot of one kind, as `/status` shows it. Waits are of the last 512 leases."""

    slots: int
    """The most there may be; `instances` says how many engines they are shared out among now."""
    claimed: int
    busy: int
    stopping: int
    waiting: int
    oldest_ms: float
    """How long the first of those who wait has waited."""
    instances: int
    wait_ms_p50: float
    wait_ms_p95: float


class Station(Generic[E]):
    """All instances of one kind, and who waits for them."""

    def __init__(
        self, kind: Kind[E], supply: Supply[E], config: PoolConfig, clock: Callable[[], float]
    ) -> None:
        self.kind = kind
        self.clock = clock
        self.instances = Instances(kind, supply, clock, self.hand_out)
        self.queue = Queue(config.max_waiting, config.max_waiting_per_owner)
        self._most_guesses = supply.guesses
        self.granted: dict[Request, asyncio.Future[Seat[E]]] = {}
        """What each of those who wait is waiting for."""
        self.claims: Counter[str] = Counter()
        self.waits_s: deque[float] = deque(maxlen=WAITS_KEPT)

    def line_up(self, request: Request) -> asyncio.Future[Seat[E]]:
        """The seat that the request will be given. Raises what `Queue.add` raises."""
        if self.instances.hopeless:
            raise self._down()
        replaced = self.queue.add(request, self.clock())
        if replaced is not None:
            self._refuse(replaced, Superseded("a newer request took its place"))
        future: asyncio.Future[Seat[E]] = asyncio.get_running_loop().create_future()
        self.granted[request] = future
        self.instances.wake()
        self.hand_out()
        if not future.done():
            request.position = self.queue.position(request, self.clock())
        return future

    def give_up(self, request: Request, future: asyncio.Future[Seat[E]]) -> None:
        """It waits no longer; a seat granted in the same moment goes to the next."""
        self.queue.discard(request)
        self.granted.pop(request, None)
        if future.done() and not future.cancelled() and future.exception() is None:
            self.left(request.owner, future.result())

    def left(self, owner: str, seat: Seat[E]) -> None:
        """The lease of a seat has ended."""
        self.queue.left(owner, self.clock())
        self.instances.left(seat)

    def hand_out(self) -> None:
        """Give free seats to those who wait."""
        while len(self.queue) and (seat := self.instances.free_seat()) is not None:
            now = self.clock()
            request = self.queue.take(now, guesses=self._room_for_a_guess)
            if request is None:  # what is left to real work stays free for it
                break
            future = self.granted.pop(request)
            if future.done():  # its owner has left, and has not run since
                self.queue.left(request.owner, now)
            else:
                seat.leased, seat.request = True, request
                waited_s = now - request.arrived
                self.waits_s.append(waited_s)
                future.set_result(seat)
                self.instances.served(now - request.pressing_since)
        if len(self.queue) and self.instances.hopeless:
            for request in self.queue.clear():
                self._refuse(request, self._down())

    @property
    def _room_for_a_guess(self) -> bool:
        most = self._most_guesses
        return most is None or sum(seat.guessing for seat in self.instances.seats) < most

    def status(self) -> PoolStatus:
        """A snapshot."""
        seats, waits = self.instances.seats, sorted(self.waits_s)

        def wait_ms(p: float) -> float:
            return round(1000 * (percentile(waits, p) or 0.0), 1)

        return PoolStatus(
            slots=self.instances.slots,
            claimed=sum(seat.leased for seat in seats),
            busy=sum(seat.running > 0 and not seat.stopping for seat in seats),
            stopping=sum(seat.stopping for seat in seats),
            waiting=len(self.queue),
            oldest_ms=round(1000 * self.queue.oldest_s(self.clock()), 1),
            instances=self.instances.usable,
            wait_ms_p50=wait_ms(0.5),
            wait_ms_p95=wait_ms(0.95),
        )

    def _refuse(self, request: Request, error: Exception) -> None:
        future = self.granted.pop(request, None)
        if future is not None and not future.done():
            future.set_exception(error)

    def _down(self) -> EngineError:
        return self.kind.failed(f"{self.kind.title} is down")
