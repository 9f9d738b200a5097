"""Alarm: goes off at a time that is moved all the time, nearly always to a later one."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

LATE_S = 0.0005
"""uvloop rounds to whole milliseconds: this much later, a timer is never early."""


class Alarm:
    """One timer, which is not moved to a later time before its own is up."""

    def __init__(self, ring: Callable[[], None], clock: Callable[[], float]) -> None:
        self._ring = ring
        self._clock = clock
        self._at = float("inf")
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")

    def set(self, at: float) -> None:
        """Ring at `at`, in the clock's seconds, and at no other time."""
        self._at = at
        if self._timer is None or at < self._timer_at:
            self._start()

    def cancel(self) -> None:
        """Do not ring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _start(self) -> None:
        self.cancel()
        self._timer_at = self._at
        wait_s = max(0.0, self._at - self._clock()) + LATE_S
        self._timer = asyncio.get_running_loop().call_later(wait_s, self._go_off)

    def _go_off(self) -> None:
        self._timer = None
        if self._clock() < self._at:
            self._start()
        else:
            self._ring()
