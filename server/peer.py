"""The peer of a connection, below ASGI: uvicorn's protocols with what ASGI has no word for."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import h11
import structlog
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.frames import Frame

from server.request_ids import new_id

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

PING_EVERY_S, PONG_WITHIN_S = 20.0, 20.0
"""A peer that is gone without a word is found within the sum of both."""
_KEY = "antiphon.peer"
UNREAD_BYTES = 4 * 1024 * 1024
"""What may wait in the socket's buffer. Messages stop far below; pongs know no such bound."""
MESSAGE_BYTES = 256 * 1024
"""The longest message that is read at all, unless its endpoint reads longer ones: what has come of
one is kept until its end comes, and that may be never. `/ws` refuses shorter ones itself, and tells
why."""
MOST_FRAGMENTS = 16_384
"""Pieces of one message. Their bytes are bounded, but an empty piece costs memory too."""

Ear = Callable[[bytes], bool]
"""Takes a binary message as it comes; False: it is to go the ordinary way."""


HEAD_S = 10.0
"""A request's head comes within this."""
_UNREAD = "HTTP/1.1 {}\r\nconnection: close\r\ncontent-length: 0\r\nx-request-id: {}\r\n\r\n"
FLUSH_S = 5.0
"""So long a peer that is cut off may still read what was sent before."""


class HttpPeer(H11Protocol):
    """Lets an answer be cut off in its middle: ASGI can only end it well, or raise. And tells of
    what never becomes a request: what is not HTTP, and what does not come to the end of its head.
    """

    tell: Callable[[str, str], None] = staticmethod(lambda reason, remote: None)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_timer: asyncio.TimerHandle | None = None
        inner = self.app

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            with _known_in(scope, self):
                if _of_two_lengths(scope):
                    await self._refuse(send)
                else:
                    await inner(scope, receive, send)

        self.app = app

    def cut(self) -> None:
        """Close without an end; a peer that reads nothing more is not waited for."""
        self.transport.close()
        asyncio.get_running_loop().call_later(FLUSH_S, self.transport.abort)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """A browser may connect for later: it is given as long as one that begins to speak."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_S, self._no_head)

    def data_received(self, data: bytes) -> None:
        """Read on; a head that has begun must come to its end in time."""
        super().data_received(data)
        if self.conn.their_state is not h11.IDLE:
            self._forget_head()
        elif self._head_timer is None and self.conn.trailing_data[0]:
            self._head_timer = self.loop.call_later(HEAD_S, self._no_head)

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._forget_head()
        super().connection_lost(exc)
        self._let_go()

    def handle_websocket_upgrade(self, event: h11.Request) -> None:
        """From here on `PeerProtocol` has the connection."""
        super().handle_websocket_upgrade(event)
        self._let_go()

    def _let_go(self) -> None:
        self.app = self.config.loaded_app  # ours has us in it: we would keep each other

    def send_400_response(self, msg: str) -> None:
        """What came is not HTTP, or its head is larger than is read."""
        self._forget_head()
        request_id = self._told("malformed")
        cycle = self.cycle
        if cycle is not None and not cycle.response_complete:
            # It was in a body: whoever reads that has nobody to answer any more.
            cycle.disconnected = True
            cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._answer_unread("400 Bad Request", request_id)
            self.transport.close()
        else:  # an answer has begun, and cannot become another one
            self.cut()

    async def _refuse(self, send: Send) -> None:
        """A proxy may have read another body than we would, and take its rest for a request of
        somebody else's (RFC 9112, 11.2): nothing more is read of this connection."""
        request_id = self._told("malformed").encode()
        head = [
            (b"connection", b"close"),
            (b"content-length", b"0"),
            (b"x-request-id", request_id),
        ]
        await send({"type": "http.response.start", "status": 400, "headers": head})
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _no_head(self) -> None:
        self._head_timer = None
        if self.conn.trailing_data[0]:  # else it only connected, and nobody need be told
            self._answer_unread("408 Request Timeout", self._told("slow"))
        self.cut()

    def _forget_head(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _told(self, reason: str) -> str:
        """Tell of it; gives the id under which that was noted."""
        request_id = new_id()
        with structlog.contextvars.bound_contextvars(request=request_id):
            self.tell(reason, self._remote())
        return request_id

    def _answer_unread(self, status: str, request_id: str) -> None:
        self.transport.write(_UNREAD.format(status, request_id).encode())

    def _remote(self) -> str:
        return "{}:{}".format(*self.client) if self.client else "unknown"


def _of_two_lengths(scope: Scope) -> bool:
    names = {name for name, _ in scope["headers"]}
    return b"content-length" in names and b"transfer-encoding" in names


def http_peer(tell: Callable[[str, str], None]) -> type[HttpPeer]:
    """The class for one server: `tell` gets a reason of the gate's, and the peer's address."""

    class Peer(HttpPeer):
        pass

    Peer.tell = staticmethod(tell)
    return Peer


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
        with _known_in(self.scope, self):
            await super().run_asgi()

    def keepalive_timeout(self) -> None:
        """No pong came: the peer is gone, whatever it has not read."""
        super().keepalive_timeout()
        if self.transport.get_write_buffer_size():  # a close would wait until it is read
            self.transport.abort()

    async def send(self, message: ASGISendEvent) -> None:
        """As uvicorn does; but whoever does not answer our close in time is cut off."""
        await super().send(message)
        if message["type"] == "websocket.accept":  # the scope has what came
            self.request.headers.clear()
            self.response.headers.clear()
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


def read_up_to(socket: WebSocket, size: int) -> None:
    """Let messages have so many bytes from now on, where the server can; to be said before the
    socket is accepted, or one may have begun."""
    if (peer := _protocol(socket)) is not None:
        peer.conn.max_message_size = size


async def answers(socket: WebSocket, within_s: float) -> bool:
    """Whether the peer answers a ping in time; True where the server cannot ask."""
    peer = _protocol(socket)
    return peer is None or await peer.answers(within_s)


def cut(scope: Scope) -> None:
    """Cut an HTTP connection in the middle of its answer, where the server can."""
    peer = scope.get("extensions", {}).get(_KEY)
    if peer is not None:
        peer["protocol"].cut()


@contextmanager
def _known_in(scope: Any, protocol: asyncio.Protocol) -> Iterator[None]:
    """Within the block an application's scope has its protocol, which has the scope: after it they
    would keep each other, and with them all that the connection was."""
    extensions = scope.setdefault("extensions", {})
    extensions[_KEY] = {"protocol": protocol}
    try:
        yield
    finally:
        del extensions[_KEY]


def _protocol(socket: WebSocket) -> PeerProtocol | None:
    peer = socket.scope.get("extensions", {}).get(_KEY)
    return peer["protocol"] if peer else None
