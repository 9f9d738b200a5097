"""ResourcePool: the only way to a scarce engine.

    async with pool.lease(TTS, owner, purpose=Purpose.FIRST_CLAUSE) as slot:
        async for chunk in slot.stream(lambda engine, stop: engine.synthesize(request, stop)):
            ...

Two things are kept apart. A *claim* is the owner's: it begins with the lease and is gone the
moment the `async with` is left, however it is left. An *occupancy* is the engine's: the call runs
in a task of the pool's own, is told to stop when its lease ends, and leaves at its next chunk.
Until then the slot shows as `stopping` and is not handed out; only the next in the queue waits.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from enum import IntEnum
from types import TracebackType
from typing import Any, Generic, TypeVar

import structlog

from .config import PoolConfig
from .engines.ports import EndOfTurnModel, LanguageModel, Stop, Synthesizer, Transcriber
from .errors import AtCapacity, EngineError, PoolTimeout

E = TypeVar("E")
T = TypeVar("T")

log = structlog.get_logger(__name__)

_CALL_BUFFER = 64
"""Items a call may be ahead of its reader; a faster engine waits."""


@dataclass(frozen=True)
class Kind(Generic[E]):
    """A kind of slot; its type parameter is what a slot of it gives access to."""

    name: str


STT: Kind[Transcriber] = Kind("stt")
EOT: Kind[EndOfTurnModel] = Kind("eot")
LLM: Kind[LanguageModel] = Kind("llm")
TTS: Kind[Synthesizer] = Kind("tts")


class Purpose(IntEnum):
    """What a slot is wanted for, the most urgent first."""

    FIRST_CLAUSE = 0
    FINAL = 1
    LATER_CLAUSE = 2
    PARTIAL = 3
    BATCH = 4
    SPECULATION = 5


@dataclass(frozen=True, slots=True)
class PoolStatus:
    """A snapshot of one kind, as `/status` shows it. Waits are of the last 512 leases."""

    slots: int
    claimed: int
    busy: int
    stopping: int
    waiting: int
    wait_ms_p50: float
    wait_ms_p95: float


@dataclass(eq=False, slots=True)
class _Seat(Generic[E]):
    """One place at an engine: handed to one lease at a time, busy while a call runs in it."""

    engine: E
    leased: bool = False
    running: int = 0

    @property
    def free(self) -> bool:
        return not self.leased and not self.running


@dataclass(eq=False, slots=True)
class _Request(Generic[E]):
    """A lease that waits for its seat."""

    owner: str
    purpose: Purpose
    deadline: float | None
    granted: asyncio.Future[_Seat[E]]


@dataclass(eq=False, slots=True)
class _Station(Generic[E]):
    """All seats of one kind, and who waits for them."""

    seats: tuple[_Seat[E], ...]
    queue: deque[_Request[E]] = field(default_factory=deque)
    claims: Counter[str] = field(default_factory=Counter)
    waits_s: deque[float] = field(default_factory=lambda: deque(maxlen=512))

    def hand_out(self) -> None:
        """Give free seats to those who wait, first come first served."""
        for seat in self.seats:
            if not seat.free:
                continue
            request = self._next()
            if request is None:
                return
            seat.leased = True
            request.granted.set_result(seat)

    def _next(self) -> _Request[E] | None:
        while self.queue:
            request = self.queue.popleft()
            if not request.granted.done():
                return request
        return None


class Slot(Generic[E]):
    """A leased place at an engine. Valid inside its `async with` only."""

    __slots__ = ("_calls", "_pool", "_seat", "_station", "waited_s")

    def __init__(
        self, pool: ResourcePool, station: _Station[E], seat: _Seat[E], waited_s: float
    ) -> None:
        self._pool = pool
        self._station = station
        self._seat = seat
        self._calls: list[_Call[Any]] = []
        self.waited_s = waited_s

    @property
    def engine(self) -> E:
        """The engine of this slot; call it through `call` and `stream` only."""
        return self._seat.engine

    async def call(self, function: Callable[[E, Stop], Awaitable[T]]) -> T:
        """Run one engine call that gives one result."""

        async def once(engine: E, stop: Stop) -> AsyncIterator[T]:
            yield await function(engine, stop)

        async for result in self.stream(once):
            return result
        raise EngineError("the engine gave no result")

    async def stream(self, function: Callable[[E, Stop], AsyncIterator[T]]) -> AsyncIterator[T]:
        """Run one engine call that gives a stream of results.

        The call runs in a task of the pool's. Leaving this iterator, or the lease, stops it.
        """
        call: _Call[T] = _Call()
        self._calls.append(call)
        self._seat.running += 1
        self._pool._start(self._run(function, call))
        try:
            while True:
                item = await call.items.get()
                if isinstance(item, _End):
                    if item.error is not None:
                        raise item.error
                    return
                yield item
        finally:
            call.abandon()

    async def _run(self, function: Callable[[E, Stop], AsyncIterator[T]], call: _Call[T]) -> None:
        error: Exception | None = None
        try:
            stream = function(self._seat.engine, call.stop)
            async with aclosing(stream) as items:  # type: ignore[type-var]
                async for item in items:
                    if call.stop.is_set:
                        break
                    await call.items.put(item)
        except Exception as failure:
            error = failure
            if call.stop.is_set:  # nobody listens any more
                log.info("engine_call_failed_after_stop", error=repr(failure))
        finally:
            self._seat.running -= 1
            self._station.hand_out()
        if not call.stop.is_set:
            await call.items.put(_End(error))

    def _leave(self) -> None:
        for call in self._calls:
            call.abandon()
        self._seat.leased = False
        self._station.hand_out()


@dataclass(frozen=True, slots=True)
class _End:
    """The last item of a call: how it ended."""

    error: Exception | None


class _Call(Generic[T]):
    """What passes between the task a call runs in and the one that reads it."""

    __slots__ = ("items", "stop")

    def __init__(self) -> None:
        self.stop = Stop()
        self.items: asyncio.Queue[T | _End] = asyncio.Queue(_CALL_BUFFER)

    def abandon(self) -> None:
        """The reader is gone: tell the engine, and unblock a `put` that waits for room."""
        self.stop.set()
        while not self.items.empty():
            self.items.get_nowait()


class ResourcePool:
    """Hands out the seats of each kind of engine, and takes them back whatever happens."""

    def __init__(
        self,
        engines: Mapping[Kind[Any], Sequence[Any]],
        config: PoolConfig | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`engines` lists for each kind one entry a seat; an engine that serves n calls at once
        stands there n times."""
        self._config = config or PoolConfig()
        self._clock = clock
        self._stations: dict[Kind[Any], _Station[Any]] = {
            kind: _Station(tuple(_Seat(engine) for engine in seats))
            for kind, seats in engines.items()
        }
        self._tasks = asyncio.TaskGroup()
        self._calls: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> ResourcePool:
        await self._tasks.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Wait for running calls to leave; after 5 s, abandon those that hang."""
        if self._calls:
            _, hung = await asyncio.wait(self._calls, timeout=5.0)
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
        queue is full and `PoolTimeout` after the longest wait.
        """
        station: _Station[E] = self._stations[kind]
        asked = self._clock()
        station.claims[owner] += 1
        try:
            seat = await self._acquire(station, owner, purpose, deadline, max_wait_s)
            waited_s = self._clock() - asked
            station.waits_s.append(waited_s)
            slot = Slot(self, station, seat, waited_s)
            try:
                yield slot
            finally:
                slot._leave()
        finally:
            station.claims[owner] -= 1
            if not station.claims[owner]:
                del station.claims[owner]

    async def _acquire(
        self,
        station: _Station[E],
        owner: str,
        purpose: Purpose,
        deadline: float | None,
        max_wait_s: float | None,
    ) -> _Seat[E]:
        if len(station.queue) >= self._config.max_waiting:
            raise AtCapacity("too many requests wait for this engine", retry_after_s=5.0)
        request = _Request(owner, purpose, deadline, asyncio.get_running_loop().create_future())
        station.queue.append(request)
        station.hand_out()
        try:
            async with asyncio.timeout(
                self._config.max_wait_s if max_wait_s is None else max_wait_s
            ):
                return await request.granted
        except TimeoutError:
            self._forget(station, request)
            raise PoolTimeout("waited too long for a free engine", retry_after_s=5.0) from None
        except asyncio.CancelledError:
            self._forget(station, request)
            raise

    @staticmethod
    def _forget(station: _Station[E], request: _Request[E]) -> None:
        """Drop a request that gave up; a seat granted in the same moment goes to the next."""
        if request in station.queue:
            station.queue.remove(request)
        if request.granted.done() and not request.granted.cancelled():
            request.granted.result().leased = False
            station.hand_out()

    def claims(self, owner: str) -> dict[str, int]:
        """How many slots of each kind the owner holds or waits for."""
        return {kind.name: station.claims[owner] for kind, station in self._stations.items()}

    def status(self) -> dict[str, PoolStatus]:
        """A snapshot of every kind, by name."""
        return {kind.name: _snapshot(station) for kind, station in self._stations.items()}


def _snapshot(station: _Station[Any]) -> PoolStatus:
    waits = sorted(station.waits_s)

    def percentile(p: float) -> float:
        return round(1000 * waits[min(len(waits) - 1, int(p * len(waits)))], 1) if waits else 0.0

    return PoolStatus(
        slots=len(station.seats),
        claimed=sum(seat.leased for seat in station.seats),
        busy=sum(seat.leased and seat.running > 0 for seat in station.seats),
        stopping=sum(not seat.leased and seat.running > 0 for seat in station.seats),
        waiting=len(station.queue),
        wait_ms_p50=percentile(0.5),
        wait_ms_p95=percentile(0.95),
    )
