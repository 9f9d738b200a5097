"""The alarm whose time is moved all the time."""

from __future__ import annotations

import asyncio

from session.alarm import Alarm


class Clock:
    """Stands still until it is set; the alarm's timers run on the loop's."""

    def __init__(self) -> None:
        self.now = 0.0
        self.rung = asyncio.Event()
        self.alarm = Alarm(self.rung.set, lambda: self.now)

    async def a_moment(self) -> None:
        """Longer than any timer whose time had come."""
        gone = asyncio.Event()
        asyncio.get_running_loop().call_later(0.01, gone.set)
        await gone.wait()


async def test_it_rings_at_its_time() -> None:
    clock = Clock()
    clock.alarm.set(0.0)
    async with asyncio.timeout(5):
        await clock.rung.wait()


async def test_moved_to_a_later_time_it_does_not_ring_at_the_old_one() -> None:
    clock = Clock()
    clock.alarm.set(0.0)
    clock.alarm.set(1_000.0)
    await clock.a_moment()
    assert not clock.rung.is_set()
    clock.alarm.cancel()


async def test_moved_to_an_earlier_time_it_does_not_wait_for_the_old_one() -> None:
    clock = Clock()
    clock.alarm.set(1_000.0)
    clock.alarm.set(0.0)
    async with asyncio.timeout(5):
        await clock.rung.wait()


async def test_it_rings_again_when_set_again() -> None:
    clock = Clock()
    for _ in range(3):
        clock.alarm.set(clock.now)
        async with asyncio.timeout(5):
            await clock.rung.wait()
        clock.rung.clear()


async def test_cancelled_it_does_not_ring() -> None:
    clock = Clock()
    clock.alarm.set(0.0)
    clock.alarm.cancel()
    await clock.a_moment()
    assert not clock.rung.is_set()
