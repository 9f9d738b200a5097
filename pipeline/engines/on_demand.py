"""An engine that is loaded when somebody first needs it, once, and freed when nobody does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

import structlog

from pipeline.engines.idle import Idle
from pipeline.engines.ports import Engine

log = structlog.get_logger(__name__)

E = TypeVar("E", bound=Engine)


class OnDemand(Generic[E]):
    """Belongs to one event loop. `idle_s`: unused for so long it is freed; 0: it stays."""

    def __init__(self, make: Callable[[], E], idle_s: float = 0) -> None:
        self._make = make
        self._idle = Idle(idle_s, self._free)
        self._engine: E | None = None
        self._loading = asyncio.Lock()
        self._users = 0
        self._freeing: asyncio.Task[None] | None = None

    @property
    def loaded(self) -> E | None:
        """The engine, while it is in memory."""
        return self._engine

    @asynccontextmanager
    async def use(self) -> AsyncIterator[E]:
        """The engine, which stays while it is used. Raises what its start raises; the next one to
        need it tries again."""
        self._users += 1
        self._idle.stop()
        try:
            yield self._engine or await self._load()
        finally:
            self._users -= 1
            if not self._users and self._engine is not None:
                self._idle.used()

    async def close(self) -> None:
        """Free it, if it is there."""
        self._idle.stop()
        async with self._loading:
            if self._freeing is not None:
                await self._freeing
            engine, self._engine = self._engine, None
            if engine is not None:
                await engine.close()

    async def _load(self) -> E:
        """Whoever comes while it loads waits for that one, rather than load another."""
        async with self._loading:
            if self._engine is None:
                if self._freeing is not None:
                    await self._freeing
                engine = self._make()
                try:
                    await engine.start()
                except BaseException:
                    await engine.close()
                    raise
                self._engine = engine
                log.info("engine_ready", engine=engine.info.name, model=engine.info.model)
            return self._engine

    def _free(self) -> None:
        engine, self._engine = self._engine, None
        if engine is not None:
            log.info("engine_unloaded", engine=engine.info.name, model=engine.info.model)
            self._freeing = asyncio.create_task(_unload(engine), name="unload")


async def _unload(engine: Engine) -> None:
    """What goes wrong here is nobody's who needs the next one."""
    try:
        await engine.close()
    except Exception as error:  # any engine's own
        log.warning("engine_not_closed", engine=engine.info.name, error=repr(error))
