"""What a caller speaks through: a WebSocket, or one behind a translator (benchmarks/peers)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Protocol, TypeAlias

from websockets.asyncio.client import connect


class Line(Protocol):
    """Frames of the native protocol, text and binary, both ways."""

    async def send(self, frame: str | bytes, /) -> None: ...

    def __aiter__(self) -> AsyncIterator[str | bytes]: ...


Connect: TypeAlias = Callable[[str], AbstractAsyncContextManager[Line]]
"""From a ws:// address to a line that is open for as long as the block."""


@asynccontextmanager
async def native_line(url: str) -> AsyncIterator[Line]:
    """A line to our own server: nothing to translate. Raises what `websockets` raises."""
    async with connect(url, compression=None, max_size=None, proxy=None) as socket:
        yield socket
