"""Engines that nobody needs, where the operator wants it so: closed, and made for whoever comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import wraps

import pytest

from pipeline.errors import TtsFailed
from pipeline.pool import TTS, ResourcePool, Supply
from tests import virtual_time
from tests.pipeline.test_pool_faults import Engine, Shop, ask

REST_S = 600.0


def in_no_time(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    @wraps(test)
    def run() -> None:
        virtual_time.run(test())  # type: ignore[arg-type]

    return run


@asynccontextmanager
async def resting(shop: Shop, most: int = 1) -> AsyncIterator[ResourcePool]:
    engines, clock = tuple(shop.made), asyncio.get_running_loop().time
    supply = Supply(engines, 1, most, shop.make, shop.close, rest_s=REST_S)
    async with ResourcePool({TTS: supply}, clock=clock) as pool:
        yield pool


def instances(pool: ResourcePool) -> int:
    return pool.status()["tts"].instances


@in_no_time
async def test_nobody_needs_it_and_it_is_closed_and_made_anew_for_whoever_comes() -> None:
    shop = Shop(first := Engine())
    async with resting(shop) as pool:
        await asyncio.sleep(REST_S - 1)
        assert await ask(pool) == [0, 1, 2]
        await asyncio.sleep(REST_S - 1)
        assert shop.closed == []  # it was needed since
        await asyncio.sleep(2)
        assert shop.closed == [first]
        assert instances(pool) == 0
        assert pool.trouble() is None
        three = await asyncio.gather(*(ask(pool, name) for name in ("anna", "ben", "cleo")))
        assert three == [[0, 1, 2]] * 3
        assert (len(shop.made), shop.places) == (2, [0])
        assert instances(pool) == 1
        await asyncio.sleep(REST_S + 1)
        assert shop.closed == shop.made
        await asyncio.sleep(10 * REST_S)
        assert len(shop.made) == 2


@in_no_time
async def test_all_that_there_always_are_come_back() -> None:
    shop = Shop(Engine())
    shop.made.append(Engine("beside it"))
    async with resting(shop, most=2) as pool:
        for _ in range(4):  # one at a time: they are never all in use, and yet are needed
            await asyncio.sleep(REST_S / 2)
            await ask(pool)
        assert shop.closed == []
        await asyncio.sleep(REST_S + 1)
        assert len(shop.closed) == 2
        await ask(pool)
        await asyncio.sleep(1)
        assert (instances(pool), shop.places) == (2, [0, 1])


@in_no_time
async def test_a_call_that_takes_its_time_is_not_cut_off() -> None:
    shop = Shop(first := Engine())
    first.hang = asyncio.Event()
    async with resting(shop) as pool:
        slow = asyncio.ensure_future(ask(pool))
        await asyncio.sleep(2.5 * REST_S)
        assert (shop.closed, instances(pool)) == ([], 1)
        first.hang.set()
        assert await slow == [0, 1, 2]


@in_no_time
async def test_it_is_made_as_somebody_comes_before_it_is_asked() -> None:
    shop = Shop(Engine())
    async with resting(shop) as pool:
        await asyncio.sleep(REST_S + 1)
        assert instances(pool) == 0
        pool.wake()
        pool.wake()
        await asyncio.sleep(1)
        assert (instances(pool), len(shop.made)) == (1, 2)
        pool.wake()
        await asyncio.sleep(1)
        assert len(shop.made) == 2


@in_no_time
async def test_where_it_cannot_be_made_anew_that_is_told() -> None:
    async with resting(shop := Shop(Engine())) as pool:
        await asyncio.sleep(REST_S + 1)
        shop.broken = True
        asked = await asyncio.gather(ask(pool), ask(pool, "ben"), return_exceptions=True)
        assert [type(error) for error in asked] == [TtsFailed, TtsFailed]
        assert pool.trouble() == "speech synthesis is down"
        with pytest.raises(TtsFailed, match="down"):
            await ask(pool)


@in_no_time
async def test_one_that_is_broken_stays_for_the_operator_to_see() -> None:
    shop = Shop(first := Engine())
    async with resting(shop) as pool:
        for engine in (first, None):
            broken = engine or shop.made[-1]
            broken.errors = [RuntimeError("no")] * 3
            for name in ("anna", "ben", "cleo"):
                with pytest.raises(TtsFailed):
                    await ask(pool, name)
            await asyncio.sleep(1)
        assert pool.trouble() == "speech synthesis fails"
        await asyncio.sleep(3 * REST_S)
        assert (pool.trouble(), instances(pool)) == ("speech synthesis fails", 1)
