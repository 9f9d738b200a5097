"""A task that loses a cancellation is cancelled again."""

from __future__ import annotations

import asyncio

import pytest

from pipeline import ending


async def test_a_task_whose_cancellation_is_lost_ends_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(ending, "AGAIN_S", 0.01)
    lost = 0

    async def goes_on() -> None:
        nonlocal lost
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            lost += 1
        await asyncio.Event().wait()

    async with asyncio.TaskGroup() as tasks:
        works = [tasks.create_task(goes_on()) for _ in range(2)]
        await asyncio.sleep(0)
        async with asyncio.timeout(5):
            await ending.end(*works)
    assert lost == 2
    assert all(work.cancelled() for work in works)


async def test_nothing_to_end_is_no_wait() -> None:
    await ending.end()
