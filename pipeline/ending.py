"""Ending tasks of whom nobody knows what they await."""

from __future__ import annotations

import asyncio

AGAIN_S = 3.0
"""Longer than the last words of one that was cancelled take."""


async def end(*tasks: asyncio.Task[None]) -> None:
    """Cancel tasks until they are over.

    Once does not suffice: `asyncio.wait_for` of Python 3.11, by which redis-py sends, loses the
    cancellation that comes as what it waits for is done.
    """
    left = set(tasks)
    while left:
        for task in left:
            task.cancel()
        _, left = await asyncio.wait(left, timeout=AGAIN_S)
