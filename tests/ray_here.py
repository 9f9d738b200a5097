"""A replica in this process, and the way to it: what Ray Serve carries, without Ray."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from pipeline.config import RayConfig
from pipeline.engines.ray_plan import Part
from pipeline.engines.ray_replica import EngineReplica
from pipeline.engines.ray_wire import FORM


@asynccontextmanager
async def replica_of(part: Part) -> AsyncIterator[EngineReplica]:
    """It, with its engine loaded; its process ends with the block."""
    replica = EngineReplica(part)
    await replica.describe(FORM)
    try:
        yield replica
    finally:
        assert replica._keeper is not None
        replica._keeper.cancel()
        with suppress(asyncio.CancelledError):
            await replica._keeper


class Response:
    """A call under way, as Serve's handle gives it."""

    def __init__(self, results: Any) -> None:
        self._results = results
        self._step: asyncio.Future[Any] | None = None
        self._cancelled = False

    def __aiter__(self) -> Response:
        return self

    async def __anext__(self) -> Any:
        if self._cancelled:
            raise ConnectionError("the call was cancelled")
        self._step = asyncio.ensure_future(anext(self._results))
        try:
            return await self._step
        except asyncio.CancelledError:
            raise ConnectionError("the call was cancelled") from None

    def cancel(self) -> None:
        self._cancelled = True
        if self._step is not None:
            self._step.cancel()


class _Method:
    def __init__(self, function: Any, *, stream: bool) -> None:
        self._function = function
        self._stream = stream

    def remote(self, *arguments: object) -> Any:
        called = self._function(*arguments)
        return Response(called) if self._stream else called


class Handle:
    """Of a deployment whose one replica is this one, or what stands in for it."""

    def __init__(self, replica: Any, *, stream: bool = False) -> None:
        self._replica = replica
        self._stream = stream

    def options(self, *, stream: bool) -> Handle:
        return Handle(self._replica, stream=stream)

    def __getattr__(self, name: str) -> _Method:
        return _Method(getattr(self._replica, name), stream=self._stream)


class Way:
    """A `Link` to it."""

    def __init__(self, replica: Any, config: RayConfig | None = None) -> None:
        self.config = config or RayConfig()
        self._replica = replica

    async def open(self, kind: str) -> Any:
        return Handle(self._replica)

    async def close(self, kind: str) -> None:
        """It stands."""
