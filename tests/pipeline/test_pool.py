"""ResourcePool: claims, occupancies, waiting, and giving back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from pipeline.config import PoolConfig
from pipeline.engines.ports import Stop
from pipeline.errors import AtCapacity, PoolTimeout, TtsFailed
from pipeline.pool import TTS, Purpose, ResourcePool, Slot, Supply


class Engine:
    """Counts, a chunk whenever it is let on; notes when two calls overlap."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.calls: list[str] = []
        self.go = asyncio.Event()
        self.entered = asyncio.Event()

    async def count(self, name: str, to: int, stop: Stop) -> AsyncIterator[int]:
        self.running += 1
        self.most = max(self.most, self.running)
        self.calls.append(name)
        self.entered.set()
        try:
            for number in range(to):
                if stop.is_set:
                    return
                yield number
                await self.go.wait()
        finally:
            self.running -= 1

    async def fail(self, stop: Stop) -> int:
        raise TtsFailed("no")


def pool_of(engine: Engine, seats: int = 1, **config: float) -> ResourcePool:
    return ResourcePool({TTS: [engine] * seats}, PoolConfig(**config))  # type: ignore[arg-type]


async def read(slot: Slot[Engine], name: str, to: int = 3) -> list[int]:
    return [n async for n in slot.stream(lambda engine, stop: engine.count(name, to, stop))]


async def test_a_lease_gives_an_engine_and_takes_it_back() -> None:
    engine = Engine()
    engine.go.set()
    async with pool_of(engine) as pool:
        async with pool.lease(TTS, "anna") as slot:
            assert pool.claims("anna") == {"tts": 1}
            assert await read(slot, "a") == [0, 1, 2]  # type: ignore[arg-type]
        assert pool.claims("anna") == {"tts": 0}
        state = pool.status()["tts"]
        assert (state.claimed, state.busy, state.stopping, state.waiting) == (0, 0, 0, 0)


async def test_one_seat_serves_one_call_at_a_time_in_order_of_arrival() -> None:
    engine = Engine()
    engine.go.set()

    async with pool_of(engine) as pool:

        async def one(name: str) -> None:
            async with pool.lease(TTS, name) as slot:
                await read(slot, name)  # type: ignore[arg-type]

        async with asyncio.TaskGroup() as tasks:
            for name in "abcdef":
                tasks.create_task(one(name))
    assert engine.calls == list("abcdef")
    assert engine.most == 1


async def test_a_cancelled_owner_has_no_claim_though_its_engine_is_still_at_work() -> None:
    engine = Engine()
    async with pool_of(engine) as pool:

        async def owner() -> None:
            async with pool.lease(TTS, "anna") as slot:
                await read(slot, "a")  # type: ignore[arg-type]

        task = asyncio.ensure_future(owner())
        await engine.entered.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert pool.claims("anna") == {"tts": 0}
        state = pool.status()["tts"]
        assert (state.claimed, state.busy, state.stopping) == (0, 0, 1)

        async def next_one() -> None:
            async with pool.lease(TTS, "ben") as slot:
                assert engine.running == 0  # the seat was handed out only when it was free
                await read(slot, "b")  # type: ignore[arg-type]

        waiting = asyncio.ensure_future(next_one())
        await asyncio.sleep(0)
        assert pool.status()["tts"].waiting == 1
        engine.go.set()
        await waiting
    assert engine.most == 1


async def test_a_guess_that_was_dropped_counts_as_one_until_its_engine_has_left_it() -> None:
    engine = Engine()
    async with ResourcePool({TTS: Supply((engine,), seats=2, guesses=1)}) as pool:

        async def guess(name: str) -> None:
            async with pool.lease(TTS, name, purpose=Purpose.SPECULATION) as slot:
                await read(slot, name)  # type: ignore[arg-type]

        dropped = asyncio.ensure_future(guess("anna"))
        await engine.entered.wait()
        dropped.cancel()
        await asyncio.gather(dropped, return_exceptions=True)
        next_one = asyncio.ensure_future(guess("ben"))
        await asyncio.sleep(0)
        state = pool.status()["tts"]
        assert (state.claimed, state.stopping, state.waiting) == (0, 1, 1)
        engine.go.set()
        await next_one
    assert engine.calls == ["anna", "ben"]
    assert engine.most == 1


async def test_a_call_is_a_second_of_audio_ahead_of_its_reader_and_a_chunk_at_most() -> None:
    """However long the chunks of a voice are; a reader that goes on has them all, in order."""
    engine = Engine()
    engine.go.set()
    given = 0

    async def count(engine: Engine, stop: Stop) -> AsyncIterator[int]:
        nonlocal given
        async for number in engine.count("anna", 12, stop):
            given = number + 1
            yield number

    async def settle() -> None:
        for _ in range(50):
            await asyncio.sleep(0)

    async with pool_of(engine) as pool:
        async with pool.lease(TTS, "anna") as slot:
            for chunk_s, ahead in ((1.0, 1), (0.25, 4), (30.0, 1)):
                chunks = slot.stream(count, lambda _, chunk_s=chunk_s: chunk_s)  # type: ignore[arg-type, misc]
                for read in range(3):
                    assert await anext(chunks) == read
                    await settle()
                    assert given == read + 1 + ahead + 1  # and the one in the engine's hands
                assert [chunk async for chunk in chunks] == list(range(3, 12))
            left = slot.stream(count, lambda _: 1.0)  # type: ignore[arg-type]
            assert await anext(left) == 0
            await settle()
            assert engine.running == 1
        await settle()
        assert engine.running == 0  # it does not wait for a reader who has gone


async def test_who_waits_too_long_is_told_and_forgotten() -> None:
    engine = Engine()
    async with pool_of(engine, max_wait_s=0.01) as pool, pool.lease(TTS, "anna"):
        with pytest.raises(PoolTimeout):
            async with pool.lease(TTS, "ben"):
                pass
        assert pool.status()["tts"].waiting == 0
        assert pool.claims("ben") == {"tts": 0}


async def test_a_full_queue_refuses_at_once() -> None:
    engine = Engine()
    async with pool_of(engine, max_waiting=1) as pool, pool.lease(TTS, "anna"):
        waiting = asyncio.ensure_future(_hold(pool, "ben"))
        await asyncio.sleep(0)
        with pytest.raises(AtCapacity):
            async with pool.lease(TTS, "cleo"):
                pass
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert pool.status()["tts"].waiting == 0


async def test_a_seat_granted_to_one_who_has_just_left_goes_to_the_next() -> None:
    engine = Engine()
    engine.go.set()
    async with pool_of(engine) as pool:
        async with pool.lease(TTS, "anna"):
            first = asyncio.ensure_future(_hold(pool, "ben"))
            second = asyncio.ensure_future(_hold(pool, "cleo"))
            await asyncio.sleep(0)
        first.cancel()  # its seat was granted a moment ago, and it has not run since
        assert await second == "cleo"
        await asyncio.gather(first, return_exceptions=True)
        assert pool.status()["tts"].claimed == 0


async def test_an_error_reaches_the_owner_and_does_not_block_the_next() -> None:
    engine = Engine()
    engine.go.set()
    async with pool_of(engine) as pool:
        with pytest.raises(TtsFailed):
            async with pool.lease(TTS, "anna") as slot:
                await slot.call(lambda engine, stop: engine.fail(stop))  # type: ignore[attr-defined]
        async with pool.lease(TTS, "ben") as slot:
            assert await read(slot, "b") == [0, 1, 2]  # type: ignore[arg-type]


async def test_a_reader_that_stops_half_way_stops_the_engine() -> None:
    engine = Engine()
    engine.go.set()
    async with pool_of(engine) as pool:
        async with pool.lease(TTS, "anna") as slot:
            stream = slot.stream(lambda e, stop: e.count("a", 10**9, stop))  # type: ignore[attr-defined]
            async for number in stream:
                if number == 5:
                    break
        async with asyncio.timeout(1), pool.lease(TTS, "ben") as slot:
            assert await read(slot, "b") == [0, 1, 2]  # type: ignore[arg-type]
        assert engine.running == 0


async def test_a_fast_engine_waits_for_a_slow_reader() -> None:
    engine = Engine()
    engine.go.set()
    made: list[int] = []

    async def eager(_: object, stop: Stop) -> AsyncIterator[int]:
        for number in range(10_000):
            made.append(number)
            yield number

    async with pool_of(engine) as pool, pool.lease(TTS, "anna") as slot:
        async for _ in slot.stream(eager):
            for _ in range(500):
                await asyncio.sleep(0)
            break
    assert len(made) < 200


async def _hold(pool: ResourcePool, owner: str) -> str:
    async with pool.lease(TTS, owner):
        return owner
