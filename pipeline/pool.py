"""ResourcePool: the only way to a scarce engine.

    async with pool.lease(TTS, owner, purpose=Purpose.FIRST_CLAUSE) as slot:
        async for chunk in slot.stream(lambda engine, stop: engine.synthesize(request, stop)):
            ...

Two things are kept apart. A *claim* is the owner's: it begins with the lease and is gone the
moment the `async with` is left, however it is left. An *occupancy* is the engine's: the call runs
in a task of the pool's own, is told to stop when its lease ends, and leaves at its next chunk.
Until then the slot shows as `stopping` and is not handed out; only the next in the queue waits.

Who goes next is `scheduling`'s to say, how many engines there are `sizing`'s, what becomes of one
that fails `instances`'.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Generic, Protocol, TypeVar

import structlog

from .calls import Call, CallFigures, CallOutcome
from .config import PoolConfig
from .engines.errands import CURRENT, Errand
from .engines.ports import Stop
from .errors import AntiphonError, EngineError, PoolTimeout
from .kinds import EOT, LLM, STT, TTS, Kind
from .scheduling import Purpose, Request
from .seats import Seat, Supply
from .station import PoolStatus, Station

__all__ = [
    "EOT",
    "LLM",
    "STT",
    "TTS",
    "Kind",
    "PoolStatus",
    "PoolWatcher",
    "Purpose",
    "ResourcePool",
    "Slot",
    "Supply",
]

E = TypeVar("E")
T = TypeVar("T")

log = structlog.get_logger(__name__)

CLOSE_S = 5.0
"""How long closing waits for calls to leave; those that hang are abandoned."""


class Slot(Generic[E]):
    """A leased place at an engine. Valid inside its `async with` only."""

    __slots__ = (
        "_calls",
        "_errand",
        "_pool",
        "_request",
        "_seat",
        "_station",
        "position",
        "waited_s",
    )

    def __init__(
        self,
        pool: ResourcePool,
        station: Station[E],
        seat: Seat[E],
        request: Request,
        errand: Errand,
        waited_s: float,
    ) -> None:
        self._pool = pool
        self._station = station
        self._seat = seat
        self._request = request
        self._errand = errand
        self._calls: list[Call[E, Any]] = []
        self.waited_s = waited_s
        self.position = request.position
        """The place in the queue when the lease was asked for; 0: an engine was free."""

    @property
    def due(self) -> float:
        """When its result is needed, as the queue has it (`scheduling`), in monotonic seconds."""
        return self._request.due

    @property
    def engine(self) -> E:
        """The engine of this slot; call it through `call` and `stream` only."""
        return self._seat.instance.engine

    async def call(self, function: Callable[[E, Stop], Awaitable[T]], audio_s: float = 0.0) -> T:
        """Run one engine call that gives one result, of so many seconds of audio."""

        async def once(engine: E, stop: Stop) -> AsyncIterator[T]:
            yield await function(engine, stop)

        async for result in self.stream(once, lambda _: audio_s):
            return result
        raise EngineError("the engine gave no result")

    def stream(
        self,
        function: Callable[[E, Stop], AsyncIterator[T]],
        measure: Callable[[T], float] | None = None,
    ) -> AsyncIterator[T]:
        """Run one engine call that gives a stream of results. `measure` says how many seconds of
        audio a result is, where it is any.

        The call runs in a task of the pool's. Leaving this iterator, or the lease, stops it, and so
        does another call in the same slot, which begins when this one has left. Out of memory is
        tried once more, and then `GpuOutOfMemory`; what no engine should raise becomes the kind's
        failure.
        """
        instances, seat = self._station.instances, self._seat

        def hang(call: Call[E, T]) -> None:
            self._tell(call, "hung")
            instances.hang(seat)

        call: Call[E, T] = Call(self._station.kind, instances.supply.hang_s, hang, measure)
        for earlier in self._calls:
            earlier.fail(EngineError("another call took its place"))
        self._calls.append(call)
        seat.running += 1
        self._pool._start(self._run(function, call))
        return call.results()

    async def _run(self, function: Callable[[E, Stop], AsyncIterator[T]], call: Call[E, T]) -> None:
        CURRENT.set(self._errand)  # in this task alone
        error: Exception | None = None
        stopped = True  # unless it comes to its own end
        instances, seat = self._station.instances, self._seat
        try:
            error = await call.run(self.engine, function, seat.turn)
            stopped = call.stop.is_set
            if not call.hung:
                self._tell(call, "stopped" if stopped else "failed" if error else "completed")
            if not stopped and instances.doubtful(seat, error):
                self._pool._start(call.end(error))  # who asked does not wait for what follows
                if await self._passes_probe():
                    error = None
                return
        finally:
            instances.ended(seat, error, stopped=stopped)
        await call.end(error)

    async def _passes_probe(self) -> bool:
        """Whether the engine, in the seat of the call that failed, does what all expect of it."""
        instances, seat = self._station.instances, self._seat
        ask = instances.supply.probe
        assert ask is not None
        hang_s = instances.supply.hang_s
        call = Call[E, object](self._station.kind, hang_s, lambda _: instances.hang(seat))
        seat.instance.probing = True
        try:
            error = await call.run(self.engine, ask, seat.turn)
            instances.probed(seat, error)
            return error is None
        finally:
            seat.instance.probing = False

    def _tell(self, call: Call[E, Any], outcome: CallOutcome) -> None:
        watcher, figures = self._pool._watcher, call.figures(outcome)
        if watcher is not None and figures is not None:
            watcher.called(self._station.kind.name, figures)

    def _leave(self) -> None:
        for call in self._calls:
            call.abandon()
        self._calls.clear()  # each of them knows us
        self._station.left(self._request.owner, self._seat)


class PoolWatcher(Protocol):
    """Whoever counts what the pool does; kinds by name."""

    def waited(self, kind: str, seconds: float) -> None:
        """A lease was given, after so long."""

    def refused(self, kind: str, error: AntiphonError) -> None:
        """A lease was not given."""

    def called(self, kind: str, figures: CallFigures) -> None:
        """An engine was called, and is done with it, or hangs."""


class ResourcePool:
    """Hands out the seats of each kind of engine, and takes them back whatever happens."""

    def __init__(
        self,
        engines: Mapping[Kind[Any], Sequence[Any] | Supply[Any]],
        config: PoolConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
        watcher: PoolWatcher | None = None,
    ) -> None:
        """`engines` has for each kind a supply, or lists one entry a seat: an engine that serves n
        calls at once then stands there n times."""
        self._config = config or PoolConfig()
        self._clock = clock
        self._watcher = watcher
        self._stations: dict[Kind[Any], Station[Any]] = {
            kind: Station(kind, _supply(source), self._config, clock)
            for kind, source in engines.items()
        }
        self._tasks = asyncio.TaskGroup()
        self._calls: set[asyncio.Task[None]] = set()
        self._keepers: list[asyncio.Task[None]] = []
        self._guesses: dict[Request, Errand] = {}
        """Speculation, from when it is asked for until its lease ends."""

    async def __aenter__(self) -> ResourcePool:
        await self._tasks.__aenter__()
        for station in self._stations.values():
            station.instances.settle()
            if station.instances.supply.make is not None:
                self._keepers.append(self._tasks.create_task(station.instances.keep()))
        return self

    async def __aexit__(self, *_: object) -> None:
        """Wait for running calls to leave; after 5 s, abandon those that hang."""
        for keeper in self._keepers:
            keeper.cancel()
        if self._calls:
            _left, hung = await asyncio.wait(self._calls, timeout=CLOSE_S)
            for task in hung:
                log.warning("engine_call_hung_at_close", task=task.get_name())
                task.cancel()
        await self._tasks.__aexit__(None, None, None)

    def _start(self, run: Any) -> None:
        task = self._tasks.create_task(run)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    @asynccontextmanager
    async def lease(
        self,
        kind: Kind[E],
        owner: str,
        *,
        deadline: float | None = None,
        purpose: Purpose = Purpose.FIRST_CLAUSE,
        max_wait_s: float | None = None,
    ) -> AsyncIterator[Slot[E]]:
        """A slot of `kind` for `owner` (a session's or a request's id), for as long as the scope.

        `deadline` is when the result is needed, in monotonic seconds. Raises `AtCapacity` when the
        queue is full, `RateLimited` when the owner's share of it is, `PoolTimeout` after the
        longest wait, `Superseded` when a newer partial of the owner's takes the place of this one,
        and the kind's own failure when none of its engines answers any more.
        """
        station: Station[E] = self._stations[kind]
        request, errand = Request(owner, purpose, deadline), Errand(owner, purpose, deadline)
        station.claims[owner] += 1
        if purpose is Purpose.SPECULATION:
            self._guesses[request] = errand
        try:
            seat, waited_s = await self._acquire(station, request, max_wait_s)
            slot = Slot(self, station, seat, request, errand, waited_s)
            try:
                yield slot
            finally:
                slot._leave()
        finally:
            self._guesses.pop(request, None)
            station.claims[owner] -= 1
            if not station.claims[owner]:
                del station.claims[owner]

    async def _acquire(
        self, station: Station[E], request: Request, max_wait_s: float | None
    ) -> tuple[Seat[E], float]:
        try:
            seat = await self._seat(station, request, max_wait_s)
        except AntiphonError as error:
            if self._watcher is not None:
                self._watcher.refused(station.kind.name, error)
            raise
        waited_s = self._clock() - request.arrived
        if self._watcher is not None:
            self._watcher.waited(station.kind.name, waited_s)
        return seat, waited_s

    async def _seat(
        self, station: Station[E], request: Request, max_wait_s: float | None
    ) -> Seat[E]:
        longest_s = self._config.max_wait_s if max_wait_s is None else max_wait_s
        future = station.line_up(request)
        try:
            async with asyncio.timeout(longest_s):
                return await future
        except TimeoutError:
            station.give_up(request, future)
            raise PoolTimeout("waited too long for a free engine", retry_after_s=5.0) from None
        except asyncio.CancelledError:
            station.give_up(request, future)
            raise

    def promote(self, owner: str) -> None:
        """The owner's speculation has come true: what waits for it, here or at an engine that has a
        queue of its own, is due now, as a first clause is."""
        now = self._clock()
        for request, errand in tuple(self._guesses.items()):
            if request.owner == owner:
                request.promote(now)  # in the queue, or out of it
                errand.promote()
        for station in self._stations.values():
            station.hand_out()  # other speculation may have room now

    def claims(self, owner: str) -> dict[str, int]:
        """How many slots of each kind the owner holds or waits for."""
        return {kind.name: station.claims[owner] for kind, station in self._stations.items()}

    def crowded(self, owner: str) -> bool:
        """Whether anybody else holds a slot of any kind, or waits for one."""
        return any(
            other != owner for station in self._stations.values() for other in station.claims
        )

    def late_s(self) -> float:
        """How long, of all kinds, the most overdue request has been due; 0.0 when none is."""
        return max(station.queue.late_s(self._clock()) for station in self._stations.values())

    def status(self) -> dict[str, PoolStatus]:
        """A snapshot of every kind, by name."""
        return {kind.name: station.status() for kind, station in self._stations.items()}

    def wake(self) -> None:
        """Somebody has come: engines that rest are loaded again before they are asked."""
        for station in self._stations.values():
            station.instances.wake()

    def trouble(self) -> str | None:
        """What is wrong with an engine, in words; None when nothing is."""
        for station in self._stations.values():
            if (trouble := station.instances.trouble) is not None:
                return trouble
        return None


def _supply(source: Sequence[E] | Supply[E]) -> Supply[E]:
    """A list has one entry a seat: engines that stand there more than once have as many seats."""
    if isinstance(source, Supply):
        return source
    seats = {id(engine): engine for engine in source}
    if len(source) % len(seats):
        raise ValueError("every engine of a list must stand there equally often")
    return Supply(tuple(seats.values()), seats=len(source) // len(seats))
