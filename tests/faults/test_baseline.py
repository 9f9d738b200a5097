"""What is left is found, whatever else hangs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from pipeline.engines.ports import Stop
from pipeline.pool import TTS, ResourcePool
from tests.faults.baseline import Held


async def test_calls_that_hang_hide_nothing_but_themselves() -> None:
    release = asyncio.Event()

    async def hang(engine: str, stop: Stop) -> AsyncIterator[None]:
        await release.wait()
        yield

    async def wait() -> None:
        await release.wait()

    async with ResourcePool({TTS: ["one", "another"]}) as pool:
        before = Held.now()
        async with pool.lease(TTS, "anna") as first, pool.lease(TTS, "ben") as second:
            for slot in (first, second):
                slot.stream(hang)
            assert not Held.now().more_than(before, hung=2)
            assert Held.now().more_than(before, hung=1).count("Slot._run") == 1
            assert Held.now().more_than(before).count("Slot._run") == 2
            stray = asyncio.create_task(wait())
            assert "wait" in Held.now().more_than(before, hung=2)
            release.set()
            await stray
