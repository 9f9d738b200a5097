"""Bell: what one task waits for."""

from __future__ import annotations

import asyncio


class Bell:
    """Wakes the task that waits for it; rung while nobody waits, it is forgotten.

    So look first, and wait then. For many to wait, and to remember, there is `asyncio.Event`: it
    takes 850 bytes, and a session would have five of them.
    """

    __slots__ = ("_waiting",)

    def __init__(self) -> None:
        self._waiting: asyncio.Future[None] | None = None

    @property
    def awaited(self) -> bool:
        """Somebody waits, and was not woken yet."""
        return self._waiting is not None and not self._waiting.done()

    def ring(self) -> None:
        """Wake the one that waits."""
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(None)

    async def wait(self) -> None:
        """Until the next ring."""
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            await self._waiting
        finally:
            self._waiting = None
