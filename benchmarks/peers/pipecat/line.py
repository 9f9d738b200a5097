"""A line to a Pipecat bot, for `benchmarks.client.calling`: a WebSocket with a translator on it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from websockets.asyncio.client import ClientConnection, connect

from benchmarks.line import Line
from benchmarks.peers.pipecat.translation import Frame, Translator

REPLY_HZ = 24_000
"""Pipecat's default output rate, whatever the synthesizer's own is."""
OPEN_S = 60.0
"""Until a call is taken: the bot stands still while it loads the models of those before."""


class PipecatLine:
    """Speaks the native protocol to a caller, and RTVI with raw PCM16 to the bot."""

    def __init__(self, socket: ClientConnection) -> None:
        self._socket = socket
        self._translator = Translator(REPLY_HZ)
        self._inbox: asyncio.Queue[Frame | None] = asyncio.Queue()
        """What the caller will read; None: the bot has hung up."""

    async def send(self, frame: Frame, /) -> None:
        """A frame of the native protocol."""
        onward = self._translator.from_caller(frame)
        for answer in onward.to_caller:
            self._inbox.put_nowait(answer)
        for message in onward.to_bot:
            await self._socket.send(message)

    async def __aiter__(self) -> AsyncIterator[Frame]:
        while (frame := await self._inbox.get()) is not None:
            yield frame

    async def listen(self) -> None:
        """Translate what the bot sends, until it hangs up."""
        async for frame in self._socket:
            for message in self._translator.from_bot(frame):
                self._inbox.put_nowait(message)
        self._inbox.put_nowait(None)


@asynccontextmanager
async def pipecat_line(url: str) -> AsyncIterator[Line]:
    """A line that is open for as long as the block. Raises what `websockets` raises."""
    async with connect(
        url, compression=None, max_size=None, proxy=None, open_timeout=OPEN_S
    ) as socket:
        line = PipecatLine(socket)
        async with asyncio.TaskGroup() as group:
            ears = group.create_task(line.listen())
            try:
                yield line
            finally:
                ears.cancel()
