"""Lookout: asks now and then whether the engines that run elsewhere are still there.

What it finds stands in the engine (`away`), where the pool and the calls read it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from .engines.ports import RunsElsewhere

EVERY_S = 2.0


class Lookout:
    """For as long as the scope."""

    def __init__(self, engines: Iterable[object]) -> None:
        self._engines = [engine for engine in engines if isinstance(engine, RunsElsewhere)]

    async def __aenter__(self) -> Lookout:
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._looks = [self._tasks.create_task(self._look(engine)) for engine in self._engines]
        return self

    async def __aexit__(self, *_: object) -> None:
        for look in self._looks:
            look.cancel()
        await self._tasks.__aexit__(None, None, None)

    async def _look(self, engine: RunsElsewhere) -> None:
        while True:
            await engine.look()
            await asyncio.sleep(EVERY_S)
