"""The bell that one task waits for."""

from __future__ import annotations

import asyncio

import pytest

from pipeline.bell import Bell


async def test_the_one_that_waits_is_woken_once_however_often_it_rings() -> None:
    bell = Bell()
    waiting = asyncio.ensure_future(bell.wait())
    await asyncio.sleep(0)
    bell.ring()
    bell.ring()
    await waiting
    again = asyncio.ensure_future(bell.wait())
    await asyncio.sleep(0)
    assert not again.done()
    bell.ring()
    await again


async def test_rung_for_nobody_it_is_forgotten() -> None:
    bell = Bell()
    bell.ring()
    waiting = asyncio.ensure_future(bell.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    bell.ring()
    await waiting


async def test_whoever_leaves_can_be_rung_for_without_harm() -> None:
    bell = Bell()
    gone = asyncio.ensure_future(bell.wait())
    await asyncio.sleep(0)
    gone.cancel()
    bell.ring()
    with pytest.raises(asyncio.CancelledError):
        await gone
    bell.ring()
