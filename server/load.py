"""LoadMonitor: looks at the event loop and the pool twice a second, and says what to leave off."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from session.manager import SessionManager
from session.shedding import Level, Sample, Shedding

log = structlog.get_logger(__name__)

TICK_S = 0.1
TICKS = 5
"""Ticks to a sample."""


class LoadMonitor:
    """The level of load shedding, for whoever asks. Use it as an async context manager."""

    def __init__(
        self,
        late_s: Callable[[], float],
        sessions: SessionManager,
        beat: Callable[[], None],
        sampled: Callable[[Sample, Level], None],
    ) -> None:
        """`late_s`: how long the pool's most overdue request has been due. `beat` is called at
        every tick: the loop runs. `sampled` is told every sample, and
        the level that follows.
        """
        self._late_s = late_s
        self._sessions = sessions
        self._beat = beat
        self._sampled = sampled
        self._shedding = Shedding()
        self.last = Sample(0.0, 0.0)

    @property
    def level(self) -> Level:
        """What is left off now."""
        return self._shedding.level

    async def __aenter__(self) -> LoadMonitor:
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._task = self._tasks.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await self._tasks.__aexit__(None, None, None)

    async def _run(self) -> None:
        while True:
            lag_s, late_s = 0.0, float("inf")
            for _ in range(TICKS):
                due = time.monotonic() + TICK_S
                await asyncio.sleep(TICK_S)
                lag_s = max(lag_s, time.monotonic() - due)
                # The least of them: a burst that is served between two looks is no standing queue.
                late_s = min(late_s, self._late_s())
                self._beat()
            self.note(Sample(lag_s, late_s), time.monotonic())

    def note(self, sample: Sample, now: float) -> None:
        """Take a sample, and act on what follows."""
        self.last = sample
        before = self._shedding.level
        level = self._shedding.note(sample, now)
        self._sampled(sample, level)
        if level is before:
            return
        log.warning(
            "load_shedding", level=level.value, left_off=level.name.lower(),
            lag_ms=round(1000 * sample.lag_s), late_ms=round(1000 * sample.late_s),
        )  # fmt: skip
        if level is Level.NEWCOMERS:
            self._sessions.shut("the server is overloaded; try again soon")
        elif before is Level.NEWCOMERS:
            self._sessions.reopen()
