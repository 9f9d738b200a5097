"""The peer of a WebSocket, below ASGI: uvicorn's protocol with what ASGI has no word for."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from typing import TYPE_CHECKING

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

PING_EVERY_S, PONG_WITHIN_S = 20.0, 20.0
"""A peer that is gone without a word is found within the sum of both."""
_KEY = "antiphon.peer"
UNREAD_BYTES = 4 * 1024 * 1024
"""What may wait in the socket's buffer. Messages stop far below; pongs know no such bound."""
MOST_FRAGMENTS = 16_384
"""Pieces of one message. Their bytes are bounded, but an empty piece costs memory too."""

Ear = Callable[[bytes], bool]
"""Takes a binary message as it comes; False: it is to go the ordinary way."""


class PeerProtocol(WebSocketsSansIOProtocol):
    """Lets a connection be cut, and its peer be asked whether it is there.

    An ordinary close waits until everything before it was read, and a peer that does not read
    would hold its session for ever. uvicorn's own pings find a dead peer; ours tell a
    microphone that is silent from a line that stalls. And audio, which comes 50 times a second,
    can be taken at once: to queue it, stop reading, wake a task and read on costs more than to hear
    it.
    """

    ear: Ear | None = None
    _asked: dict[bytes, asyncio.Future[None]]

    async def run_asgi(self) -> None:
        """Hand ourselves over with the scope."""
        self._asked = {}
        self.scope.setdefault("extensions", {})[_KEY] = {"protocol": self}
        await super().run_asgi()

    def keepalive_timeout(self) -> None:
        """No pong came: the peer is gone, whatever it has not read."""
        super().keepalive_timeout()
        if self.transport.get_write_buffer_size():  # a close would wait until it is read
            self.transport.abort()

    async def send(self, message: ASGISendEvent) -> None:
        """As uvicorn does; but whoever does not answer our close in time is cut off."""
        await super().send(message)
        if message["type"] == "websocket.close" and self.close_timer is not None:
            self.close_timer.cancel()
            self.close_timer = self.loop.call_later(self.close_timeout, self.abort)

    def abort(self) -> None:
        """Cut the connection; what was not read by the peer is lost."""
        self.transport.abort()

    async def answers(self, within_s: float) -> bool:
        """Ping, and wait for the pong."""
        if self.close_sent or self.disconnected or self.transport.is_closing():
            return False
        payload = secrets.token_bytes(8)
        pong = self._asked[payload] = asyncio.get_running_loop().create_future()
        self.conn.send_ping(payload)
        self.transport.write(b"".join(self.conn.data_to_send()))
        try:
            async with asyncio.timeout(within_s):
                await pong
        except TimeoutError:
            return False
        finally:
            del self._asked[payload]
        return True

    def handle_ping(self) -> None:
        """Answer; but cut a peer that pings on and on, and reads none of the answers."""
        super().handle_ping()
        if self.transport.get_write_buffer_size() > UNREAD_BYTES:
            self.abort()

    def handle_bytes(self, event: Frame) -> None:
        """To the ear, where there is one, and nothing waits that came before."""
        whole = event.fin and self.queue.empty()
        if self.ear is None or not whole or not self.ear(bytes(event.data)):
            super().handle_bytes(event)

    def handle_cont(self, event: Frame) -> None:
        """Take a piece of a message; too many are none."""
        if len(self.frames) < MOST_FRAGMENTS:
            super().handle_cont(event)
        elif not self.transport.is_closing():
            self.conn.fail(1009, "a message in too many pieces")
            self.handle_parser_exception()

    def handle_pong(self, event: Frame) -> None:
        """Ours, or uvicorn's."""
        pong = self._asked.get(bytes(event.data))
        if pong is None:
            super().handle_pong(event)
        elif not pong.done():
            pong.set_result(None)


def abort(socket: WebSocket) -> None:
    """Cut a WebSocket's connection, where the server can."""
    if (peer := _protocol(socket)) is not None:
        peer.abort()


def listen(socket: WebSocket, ear: Ear | None) -> None:
    """Let an ear, or none any more, have binary messages first, where the server can."""
    if (peer := _protocol(socket)) is not None:
        peer.ear = ear


async def answers(socket: WebSocket, within_s: float) -> bool:
    """Whether the peer answers a ping in time; True where the server cannot ask."""
    peer = _protocol(socket)
    return peer is None or await peer.answers(within_s)


def _protocol(socket: WebSocket) -> PeerProtocol | None:
    peer = socket.scope.get("extensions", {}).get(_KEY)
    return peer["protocol"] if peer else None
