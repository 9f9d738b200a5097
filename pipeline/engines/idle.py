"""What is to happen when something has not been used for a while."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


class Idle:
    """Calls `then` once when it was not used for `seconds` since it was last; 0: never. Belongs to
    one event loop."""

    def __init__(self, seconds: float, then: Callable[[], object]) -> None:
        self._seconds = seconds
        self._then = then
        self._timer: asyncio.TimerHandle | None = None

    def used(self) -> None:
        """It was, until now."""
        self.stop()
        if self._seconds:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._then)

    def stop(self) -> None:
        """It is in use, or over: nothing happens until it was used again."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
