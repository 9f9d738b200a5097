"""Engines that fail: memory that is full, calls that hang, instances that break."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from pipeline.config import PoolConfig
from pipeline.engine_faults import is_fault, is_out_of_memory
from pipeline.engines.ports import Stop
from pipeline.errors import (
    GpuOutOfMemory,
    NotFound,
    PromptRefused,
    RateLimited,
    SttFailed,
    TtsFailed,
    Unspeakable,
)
from pipeline.instances import FAILURES_IN_ROW, Instances
from pipeline.pool import TTS, ResourcePool, Slot, Supply

HANG_S = 0.15


# --- out of memory --------------------------------------------------------------------------------


class OutOfMemoryError(RuntimeError):
    """As torch names it (`torch.OutOfMemoryError`, also `torch.cuda.OutOfMemoryError`)."""


class RuntimeException(Exception):
    """As onnxruntime names it where it cannot be imported."""


def onnxruntime_says(message: str) -> Exception:
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    return state.RuntimeException(message)  # type: ignore[no-any-return]


def wrapped(error: Exception) -> Exception:
    """As the engines here pass on what their runtime raised."""
    failure = TtsFailed("The speech model failed on this text.")
    failure.__cause__ = error
    return failure


FULL: list[Callable[[], Exception]] = [
    lambda: OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB (GPU 0; ...)"),
    lambda: RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"),  # torch before 1.13
    lambda: RuntimeError("CUDA failed with error out of memory"),  # ctranslate2
    lambda: RuntimeError("cuBLAS failed with status CUBLAS_STATUS_ALLOC_FAILED"),
    lambda: RuntimeException(
        "[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : Non-zero status code returned while running "
        "Conv node. Name:'/decoder/conv' Status Message: bfc_arena.cc:376 AllocateRawInternal "
        "Failed to allocate memory for requested buffer of size 1073741824"
    ),
    lambda: onnxruntime_says("Failed to allocate memory for requested buffer of size 8388608"),
    lambda: wrapped(OutOfMemoryError("CUDA out of memory.")),
    lambda: wrapped(onnxruntime_says("Failed to allocate memory for requested buffer of size 1")),
    lambda: GpuOutOfMemory("out of memory in speech recognition"),
]


@pytest.mark.parametrize("error", FULL)
def test_full_memory_is_known_by_every_runtimes_own_words(error: Callable[[], Exception]) -> None:
    assert is_out_of_memory(error())
    assert not is_fault(error())


@pytest.mark.parametrize(
    "error", [RuntimeError("no"), TtsFailed("out of memory"), ValueError("CUDA error: 700"),
    onnxruntime_says("invalid expand shape")],
)  # fmt: skip
def test_other_errors_are_not_taken_for_it(error: Exception) -> None:
    assert not is_out_of_memory(error)
    assert is_fault(error)


def test_torchs_own_class_is_known_where_torch_is_there() -> None:
    torch = pytest.importorskip("torch")
    for kind in {torch.OutOfMemoryError, torch.cuda.OutOfMemoryError}:
        assert is_out_of_memory(kind("Tried to allocate 20.00 MiB"))
        assert is_out_of_memory(wrapped(kind("")))
        assert issubclass(kind, RuntimeError)


@pytest.mark.parametrize(
    "error", [Unspeakable("no"), NotFound("no"), RateLimited("no"), PromptRefused("too long")]
)
def test_an_answer_that_is_no_is_no_fault(error: Exception) -> None:
    assert not is_fault(error)


class Engine:
    """Says so many numbers, unless it is told to do worse."""

    def __init__(self, name: str = "engine") -> None:
        self.name = name
        self.errors: list[Exception | None] = []
        """What the next calls raise, None: nothing."""
        self.after = 0
        """Numbers said before the error."""
        self.hang: asyncio.Event | None = None
        self.freed = 0
        self.calls = 0
        self.closed = False

    async def count(self, to: int, stop: Stop) -> AsyncIterator[int]:
        self.calls += 1
        error = self.errors.pop(0) if self.errors else None
        for number in range(to):
            if error is not None and number == self.after:
                raise error
            if self.hang is not None:
                await self.hang.wait()
            if stop.is_set:
                return
            yield number
        await asyncio.sleep(0)

    async def free_memory(self) -> None:
        self.freed += 1


async def read(slot: Slot[Engine], to: int = 3) -> list[int]:
    return [n async for n in slot.stream(lambda engine, stop: engine.count(to, stop))]


async def ask(pool: ResourcePool, owner: str = "anna", to: int = 3) -> list[int]:
    async with pool.lease(TTS, owner) as slot:
        return await read(slot, to)  # type: ignore[arg-type]


@pytest.mark.parametrize("error", FULL)
async def test_full_memory_once_is_freed_and_the_call_tried_again(
    error: Callable[[], Exception],
) -> None:
    engine = Engine()
    engine.errors = [error()]
    async with ResourcePool({TTS: [engine]}) as pool:
        assert await ask(pool) == [0, 1, 2]
    assert (engine.calls, engine.freed) == (2, 1)


@pytest.mark.parametrize("error", FULL)
async def test_full_memory_for_good_fails_that_one_request(
    error: Callable[[], Exception],
) -> None:
    engine = Engine()
    engine.errors = [error(), error()]
    async with ResourcePool({TTS: [engine]}) as pool:
        with pytest.raises(GpuOutOfMemory):
            await ask(pool)
        assert engine.calls == 2
        assert await ask(pool, "ben") == [0, 1, 2]
        assert pool.trouble() is None


async def test_what_was_said_already_is_not_said_twice() -> None:
    engine = Engine()
    engine.errors, engine.after = [OutOfMemoryError("CUDA out of memory")], 2
    async with ResourcePool({TTS: [engine]}) as pool:
        with pytest.raises(GpuOutOfMemory):
            await ask(pool)
    assert (engine.calls, engine.freed) == (1, 1)


async def test_the_failed_calls_values_are_let_go_of_before_the_retry() -> None:
    alive: list[int] = []

    class Tensor:
        def __init__(self) -> None:
            alive.append(1)

        def __del__(self) -> None:
            alive.pop()

    held_at_retry: list[int] = []

    async def run(engine: Engine, stop: Stop) -> AsyncIterator[int]:
        held_at_retry.append(len(alive))
        activations = Tensor()
        if len(held_at_retry) == 1:
            raise OutOfMemoryError("CUDA out of memory")
        assert activations
        yield 1

    async with ResourcePool({TTS: [Engine()]}) as pool, pool.lease(TTS, "anna") as slot:
        assert [n async for n in slot.stream(run)] == [1]  # type: ignore[arg-type]
    assert held_at_retry == [0, 0]


async def test_an_engine_without_a_cache_is_simply_tried_again() -> None:
    class Plain:
        calls = 0

        async def count(self, to: int, stop: Stop) -> AsyncIterator[int]:
            self.calls += 1
            if self.calls == 1:
                raise MemoryError
            yield to

    async with ResourcePool({TTS: [Plain()]}) as pool:
        assert await ask(pool) == [3]


async def test_what_no_engine_should_raise_is_told_as_the_kinds_failure() -> None:
    engine = Engine()
    engine.errors = [KeyError("oops")]
    async with ResourcePool({TTS: [engine]}) as pool:
        with pytest.raises(TtsFailed) as told:
            await ask(pool)
    assert isinstance(told.value.__cause__, KeyError)
    assert "oops" not in str(told.value)  # what a client reads are our own words


# --- instances ------------------------------------------------------------------------------------


async def probed(engine: Engine, stop: Stop) -> AsyncIterator[int]:
    """What nobody's input has a part in."""
    async for number in engine.count(1, stop):
        yield number


class Shop:
    """Makes engines, and knows what became of them."""

    def __init__(self, first: Engine, *, broken: bool = False, probes: bool = False) -> None:
        self.made = [first]
        self.probe = probed if probes else None
        self.broken = broken
        self.closed: list[Engine] = []
        self.closing = asyncio.Event()
        self.places: list[int] = []

    async def make(self, place: int) -> Engine:
        self.places.append(place)
        await asyncio.sleep(0)
        if self.broken:
            raise RuntimeError("the file is gone")
        self.made.append(Engine(f"number {len(self.made) + 1}"))
        return self.made[-1]

    async def close(self, engine: Engine) -> None:
        self.closed.append(engine)
        self.closing.set()

    @asynccontextmanager
    async def pool(
        self, most: int = 1, seats: int = 1, **config: float
    ) -> AsyncIterator[ResourcePool]:
        supply = Supply((self.made[0],), seats, most, self.make, self.close, HANG_S, self.probe)
        async with ResourcePool({TTS: supply}, PoolConfig(**config)) as pool:  # type: ignore[arg-type]
            yield pool
            for engine in self.made:  # what hung may go at last
                if engine.hang is not None:
                    engine.hang.set()


async def until(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not true():
            await asyncio.sleep(0.001)


async def test_a_hung_engine_fails_its_request_and_the_next_one_has_another_engine() -> None:
    first = Engine()
    first.hang = asyncio.Event()
    shop = Shop(first)
    async with shop.pool() as pool:
        with pytest.raises(TtsFailed, match="does not answer"):
            await ask(pool)
        status = pool.status()["tts"]
        assert (status.claimed, status.busy, status.stopping) == (0, 0, 1)
        assert await ask(pool, "ben") == [0, 1, 2]
        assert shop.made[1].calls == 1
        assert pool.trouble() is None
        first.hang.set()  # it comes back after all: nobody uses it any more, and it is closed
        await shop.closing.wait()
        assert shop.closed == [first]
        status = pool.status()["tts"]
        assert (status.instances, status.stopping) == (1, 0)


async def test_who_waits_for_a_hung_engine_gets_the_one_that_takes_its_place() -> None:
    first = Engine()
    first.hang = asyncio.Event()
    async with Shop(first).pool() as pool:
        asked = asyncio.gather(ask(pool), ask(pool, "ben"), return_exceptions=True)
        hung, served = await asked
        assert isinstance(hung, TtsFailed)
        assert served == [0, 1, 2]


async def test_a_stopped_call_that_does_not_leave_hangs_too() -> None:
    first = Engine()
    first.hang = asyncio.Event()
    shop = Shop(first)
    async with shop.pool() as pool:
        task = asyncio.ensure_future(ask(pool))
        await until(lambda: first.calls == 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert pool.status()["tts"].stopping == 1
        assert await ask(pool, "ben") == [0, 1, 2]
        assert shop.made[1].calls == 1


async def test_a_second_hang_is_told_and_nobody_waits_for_nothing() -> None:
    first = Engine()
    first.hang = asyncio.Event()
    shop = Shop(first)
    async with shop.pool() as pool:
        with pytest.raises(TtsFailed):
            await ask(pool)
        await until(lambda: len(shop.made) == 2)
        shop.made[1].hang = asyncio.Event()
        hung, waiting = await asyncio.gather(ask(pool), ask(pool, "ben"), return_exceptions=True)
        assert isinstance(hung, TtsFailed)
        assert isinstance(waiting, TtsFailed)
        with pytest.raises(TtsFailed, match="is down"):
            await ask(pool, "cleo")
        assert pool.trouble() == "speech synthesis does not answer"
        assert len(shop.made) == 2  # once in a process
        status = pool.status()["tts"]
        assert (status.instances, status.waiting, status.stopping) == (0, 0, 2)
        # A machine that slept is no dead engine: what answers again is used again.
        shop.made[1].hang.set()
        await until(lambda: pool.trouble() is None)
        assert await ask(pool, "dora") == [0, 1, 2]


async def test_a_reader_that_is_slow_is_no_engine_that_hangs() -> None:
    engine = Engine()
    async with Shop(engine).pool() as pool, pool.lease(TTS, "anna") as slot:
        got = []
        async for number in slot.stream(lambda e, stop: e.count(200, stop)):  # type: ignore[attr-defined]
            if number == 0:
                await asyncio.sleep(3 * HANG_S)  # the engine waits with a full buffer meanwhile
            got.append(number)
        assert got == list(range(200))


async def test_an_engine_that_fails_time_after_time_is_replaced_once() -> None:
    first = Engine()
    first.errors = [SttFailed("no")] * FAILURES_IN_ROW
    shop = Shop(first)
    async with shop.pool() as pool:
        for _ in range(FAILURES_IN_ROW):
            with pytest.raises(SttFailed):
                await ask(pool)
        assert await ask(pool) == [0, 1, 2]
        assert shop.closed == [first]
        shop.made[1].errors = [ValueError("no")] * FAILURES_IN_ROW
        for _ in range(FAILURES_IN_ROW):
            with pytest.raises(TtsFailed):
                await ask(pool)
        assert pool.trouble() == "speech synthesis fails"
        assert len(shop.made) == 2
        assert await ask(pool) == [0, 1, 2]  # it is still tried, and what succeeds is well again
        assert pool.trouble() is None


async def test_input_that_no_engine_can_take_makes_a_whole_one_no_broken_one() -> None:
    engine = Engine()
    shop = Shop(engine, probes=True)
    async with shop.pool() as pool:
        for _ in range(4):
            engine.errors = [TtsFailed("this cannot be said")] * FAILURES_IN_ROW
            for _ in range(FAILURES_IN_ROW):
                with pytest.raises(TtsFailed):
                    await ask(pool, "poisoner")
                await until(lambda: pool.status()["tts"].stopping == 0)  # not while it is probed
            assert await ask(pool, "anna") == [0, 1, 2]
        assert pool.trouble() is None
    assert shop.made == [engine]
    assert engine.calls == 4 * (FAILURES_IN_ROW + 2)  # theirs, hers, and the probe


async def test_an_engine_that_fails_its_probe_too_is_replaced_once() -> None:
    first = Engine()
    first.errors = [TtsFailed("no")] * (FAILURES_IN_ROW + 1)
    shop = Shop(first, probes=True)
    async with shop.pool() as pool:
        for _ in range(FAILURES_IN_ROW):
            with pytest.raises(TtsFailed):
                await ask(pool)
        await until(lambda: len(shop.made) == 2)
        assert await ask(pool) == [0, 1, 2]
        await shop.closing.wait()
        assert shop.closed == [first]
        second = shop.made[1]
        second.errors = [TtsFailed("no")] * (FAILURES_IN_ROW + 1)
        for _ in range(FAILURES_IN_ROW):
            with pytest.raises(TtsFailed):
                await ask(pool)
        await until(lambda: pool.trouble() == "speech synthesis fails")
        assert await ask(pool) == [0, 1, 2]
        assert pool.trouble() is None
        assert len(shop.made) == 2


async def test_a_probe_that_hangs_is_an_answer_too_and_whoever_failed_has_heard_before() -> None:
    first = Engine()
    first.errors = [TtsFailed("no")] * FAILURES_IN_ROW
    shop = Shop(first, probes=True)
    async with shop.pool() as pool:
        for number in range(FAILURES_IN_ROW):
            if number == FAILURES_IN_ROW - 1:
                first.hang = asyncio.Event()
                first.after = 0
            with pytest.raises(TtsFailed, match="no"):
                await ask(pool)
        await until(lambda: len(shop.made) == 2)
        assert await ask(pool, "ben") == [0, 1, 2]


async def test_failures_with_successes_between_them_are_the_requests_own() -> None:
    engine = Engine()
    engine.errors = [TtsFailed("no"), TtsFailed("no"), None] * 3
    shop = Shop(engine)
    async with shop.pool() as pool:
        await asyncio.gather(*(ask(pool, f"o{n}") for n in range(9)), return_exceptions=True)
    assert shop.made == [engine]


async def test_when_no_other_can_be_made_that_is_told() -> None:
    first = Engine()
    first.hang = asyncio.Event()
    async with Shop(first, broken=True).pool() as pool:
        asked = await asyncio.gather(ask(pool), ask(pool, "ben"), return_exceptions=True)
        assert [type(error) for error in asked] == [TtsFailed, TtsFailed]
        assert pool.trouble() == "speech synthesis is down"


async def test_while_the_only_one_is_being_replaced_that_is_told() -> None:
    first, loaded = Engine(), asyncio.Event()
    first.hang = asyncio.Event()
    shop = Shop(first)
    make = shop.make

    async def slowly(place: int) -> Engine:
        await loaded.wait()
        return await make(place)

    shop.make = slowly  # type: ignore[method-assign]
    async with shop.pool() as pool:
        with pytest.raises(TtsFailed):
            await ask(pool)
        assert pool.trouble() == "speech synthesis is being replaced"
        loaded.set()
        assert await ask(pool, "ben") == [0, 1, 2]
        assert pool.trouble() is None


async def test_one_that_cannot_be_loaded_in_time_is_given_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.instances.LOAD_S", 0.05)
    first = Engine()
    first.hang = asyncio.Event()
    shop = Shop(first)
    monkeypatch.setattr(shop, "make", lambda place: asyncio.Event().wait())
    async with shop.pool() as pool:
        asked = await asyncio.gather(ask(pool), ask(pool, "ben"), return_exceptions=True)
        assert [type(error) for error in asked] == [TtsFailed, TtsFailed]
        assert pool.trouble() == "speech synthesis is down"


async def test_a_call_that_something_in_the_engine_cancels_fails_as_any_other() -> None:
    class GivesUp(Engine):
        async def count(self, to: int, stop: Stop) -> AsyncIterator[int]:
            raise asyncio.CancelledError
            yield 0

    async with ResourcePool({TTS: [GivesUp()]}) as pool:
        async with asyncio.timeout(10):
            with pytest.raises(TtsFailed):
                await ask(pool)


async def test_instances_are_added_while_requests_wait_and_given_up_when_idle() -> None:
    now = 0.0
    first = Engine()
    first.hang = asyncio.Event()
    shop = Shop(first)
    supply = Supply((first,), 1, 2, shop.make, shop.close)
    async with ResourcePool({TTS: supply}, clock=lambda: now) as pool:
        asked = [asyncio.ensure_future(ask(pool, f"o{n}")) for n in range(3)]
        await until(lambda: first.calls == 1)
        now = 5.0  # the second has waited for so long when its turn comes
        first.hang.set()
        await asyncio.gather(*asked)
        await until(lambda: len(shop.made) == 2)
        assert shop.places == [1]
        assert pool.status()["tts"].instances == 2
        assert pool.status()["tts"].slots == 2
        first.hang = asyncio.Event()
        first.calls = shop.made[1].calls = 0
        slow = asyncio.ensure_future(ask(pool, "anna"))
        await until(lambda: first.calls == 1)
        assert await ask(pool, "ben") == [0, 1, 2]
        assert shop.made[1].calls == 1  # beside the first, not after it
        now = 100.0
        first.hang.set()
        await slow
        assert await ask(pool, "cleo") == [0, 1, 2]
        assert shop.made[1].calls == 1  # alone, one has the first
        await shop.closing.wait()
        assert shop.closed == [shop.made[1]]
        assert pool.status()["tts"].instances == 1


async def test_all_seats_of_a_hung_instance_are_out_of_use() -> None:
    first = Engine()
    first.hang = asyncio.Event()
    shop = Shop(first)
    async with shop.pool(seats=2) as pool:
        with pytest.raises(TtsFailed):
            await ask(pool)
        assert await asyncio.gather(ask(pool, "b"), ask(pool, "c")) == [[0, 1, 2]] * 2
        assert shop.made[1].calls == 2


async def broken_for_good(shop: Shop, pool: ResourcePool) -> None:
    """Break the first engine and the one that took its place; that one stays."""
    for number in range(2):
        await until(lambda at=number: len(shop.made) == at + 1)  # type: ignore[misc]
        shop.made[number].errors = [TtsFailed("no")] * 1_000
        for _ in range(FAILURES_IN_ROW):
            with pytest.raises(TtsFailed):
                await ask(pool)
    assert pool.trouble() == "speech synthesis fails"


async def test_a_broken_instance_takes_nobody_from_a_healthy_one() -> None:
    shop = Shop(Engine())
    async with shop.pool(most=2) as pool:
        await broken_for_good(shop, pool)
        healthy = Engine("healthy")
        pool._stations[TTS].instances._add(healthy, 1)
        for number in range(30):
            assert await ask(pool, f"caller {number}") == [0, 1, 2]
        # Nor those who come all at once, though it is free sooner.
        crowd = await asyncio.gather(*(ask(pool, f"o{n}") for n in range(10)))
        assert crowd == [[0, 1, 2]] * 10
        assert healthy.calls == 40
        assert pool.trouble() == "speech synthesis fails"


async def test_calls_that_were_stopped_do_not_hide_that_all_others_fail() -> None:
    first = Engine()
    first.errors = [TtsFailed("no"), TtsFailed("no"), None, TtsFailed("no"), TtsFailed("no")]
    shop = Shop(first, probes=True)
    async with shop.pool() as pool:
        for _ in range(2):
            with pytest.raises(TtsFailed):
                await ask(pool)
        await stopped(pool)
        with pytest.raises(TtsFailed):
            await ask(pool)
        await until(lambda: len(shop.made) == 2)  # its probe failed as well
        assert await ask(pool) == [0, 1, 2]


async def test_a_call_that_was_stopped_makes_a_broken_instance_no_whole_one() -> None:
    shop = Shop(Engine())
    async with shop.pool() as pool:
        await broken_for_good(shop, pool)
        shop.made[1].errors = []
        await stopped(pool)
        assert pool.trouble() == "speech synthesis fails"
        assert await ask(pool) == [0, 1, 2]
        assert pool.trouble() is None


async def stopped(pool: ResourcePool) -> None:
    """A call that its owner leaves after the first of what it gives."""
    async with pool.lease(TTS, "hasty") as slot:
        async for _ in slot.stream(lambda engine, stop: engine.count(1_000, stop)):
            break
    await until(lambda: pool.status()["tts"].stopping == 0)


@pytest.mark.parametrize("unhealthy", ["hung", "broken"])
async def test_the_healthy_instance_stays_when_one_too_many_is_given_up(unhealthy: str) -> None:
    now = 0.0
    shop = Shop(Engine())
    instances = Instances(TTS, Supply((shop.made[0],), 1, 2, shop.make), lambda: now, lambda: None)
    instances._replaced = True
    instances._add(await shop.make(1), 1)
    first, healthy = instances.present
    if unhealthy == "hung":
        first.seats[0].running = 1
        instances.hang(first.seats[0])
    else:
        for _ in range(FAILURES_IN_ROW):
            first.seats[0].running = 1
            instances.ended(first.seats[0], TtsFailed("no"))
    assert not first.healthy
    instances.sizing.seen(full=True, now=now)
    now = 100.0
    await instances._resize()
    assert instances.present == [healthy]
    assert not instances.hopeless
    assert instances.sizing.most == 1  # it had been replaced once already


async def test_what_takes_the_place_of_the_first_is_a_lone_callers_as_that_was() -> None:
    """The first has all the threads that one caller can use, those beside it their share."""
    now = 0.0
    first = Engine()
    shop = Shop(first)
    supply = Supply((first,), 1, 2, shop.make, shop.close)
    instances = Instances(TTS, supply, lambda: now, lambda: None)
    instances._add(await shop.make(1), 1)
    beside = instances.present[1]
    instances.hang(instances.present[0].seats[0])
    await instances._replace()
    assert shop.places == [1, 0]
    assert [instance.engine for instance in instances.present] == [shop.made[2], beside.engine]
    seat = instances.free_seat()
    assert seat is not None
    assert seat.instance.engine is shop.made[2]
    instances.sizing.seen(full=True, now=now)
    now = 100.0
    await instances._resize()
    assert [instance.engine for instance in instances.present] == [shop.made[2]]


async def test_of_healthy_instances_the_youngest_is_given_up_and_may_come_again() -> None:
    now = 0.0
    shop = Shop(Engine())
    instances = Instances(TTS, Supply((shop.made[0],), 1, 2, shop.make), lambda: now, lambda: None)
    instances._add(await shop.make(1), 1)
    oldest = instances.present[0]
    instances.sizing.seen(full=True, now=now)
    now = 100.0
    await instances._resize()
    assert instances.present == [oldest]
    assert instances.sizing.most == 2
