"""Connection: one accepted WebSocket, in the conversation's words: frames in, events out."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from starlette.websockets import WebSocket, WebSocketDisconnect

from pipeline.errors import AntiphonError
from pipeline.events import Failed
from server.failures import failure_of
from server.headers import remote_of
from server.peer import Ear, abort, answers, listen
from session.messages import Event

Frames = Callable[[Event], Sequence[str | bytes]]
CLOSE_S = 2.0
"""The longest wait for a peer to read what comes before its close."""
PING_S = 2.0
"""A peer that answers no ping within this is behind a line that stalls."""
YIELD_EVERY = 64


class Connection:
    """Reads and writes frames; closes, or cuts where the peer does not read."""

    def __init__(self, socket: WebSocket, frames: Frames) -> None:
        """`frames`: how an event is written; it may be another one later."""
        self._socket = socket
        self.frames = frames
        self._received = 0

    @property
    def remote(self) -> str:
        """The peer's address."""
        return remote_of(self._socket)

    @property
    def socket(self) -> WebSocket:
        """What it began with: its address and its headers."""
        return self._socket

    async def receive(self) -> tuple[str | None, bytes | None]:
        """A text or a binary frame. Cancelled, it loses none. Raises `WebSocketDisconnect`."""
        self._received += 1
        if self._received % YIELD_EVERY == 0:
            await asyncio.sleep(0)  # many small frames may lie ready: others want their turn
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        return message.get("text"), message.get("bytes")

    @contextmanager
    def listening(self, ear: Ear) -> Iterator[None]:
        """Within the scope the ear has binary frames first; `receive` gets those it leaves."""
        listen(self._socket, ear)
        try:
            yield
        finally:
            listen(self._socket, None)

    async def send(self, event: Event) -> int:
        """Send an event; the size of its frames. Waits while the peer does not read.

        Raises `WebSocketDisconnect`.
        """
        size = 0
        try:
            for frame in self.frames(event):
                size += len(frame)
                if isinstance(frame, bytes):
                    await self._socket.send_bytes(frame)
                else:
                    await self._socket.send_text(frame)
        except RuntimeError as closed:  # by the server: no pong came, or it stops
            raise WebSocketDisconnect(1006) from closed
        return size

    async def answers(self) -> bool:
        """Whether the peer answers a ping."""
        return await answers(self._socket, PING_S)

    async def refuse(self, error: AntiphonError) -> None:
        """Say why, and close with its code."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self.send(Failed(error))
        except TimeoutError:
            self.abort()
            return
        except WebSocketDisconnect:
            return
        await self.close(failure_of(error).close, str(error))

    async def close(self, code: int, reason: str) -> None:
        """Close, or cut, when the peer does not read what comes before the close."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._socket.close(code, reason[:120])
        except (TimeoutError, WebSocketDisconnect, RuntimeError):
            self.abort()

    def abort(self) -> None:
        """Cut the connection; what was not read by the peer is lost."""
        abort(self._socket)
