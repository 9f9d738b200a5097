"""The peer of a WebSocket, below ASGI: uvicorn's protocol with what ASGI has no word for."""

from __future__ import annotations

from starlette.websockets import WebSocket
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

_KEY = "antiphon.peer"


class PeerProtocol(WebSocketsSansIOProtocol):
    """Lets a connection be cut. An ordinary close waits until everything before it was read, and
    a peer that does not read would hold its session for ever.
    """

    async def run_asgi(self) -> None:
        """Hand ourselves over with the scope."""
        self.scope.setdefault("extensions", {})[_KEY] = {"protocol": self}
        await super().run_asgi()

    def abort(self) -> None:
        """Cut the connection; what was not read by the peer is lost."""
        self.transport.abort()


def abort(socket: WebSocket) -> None:
    """Cut a WebSocket's connection, where the server can."""
    peer = socket.scope.get("extensions", {}).get(_KEY)
    if peer is not None:
        peer["protocol"].abort()
