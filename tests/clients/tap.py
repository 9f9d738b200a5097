"""A tap on the line: it passes frames on as they are, and the oracle looks at every event.

When the client leaves, the tap stays until the server has ended what was open: how a line ends does
not hang on how fast the client goes.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import httpx
import websockets
from websockets.asyncio.server import Server, ServerConnection, serve

from tests.realtime.oracle import Oracle

REST_S = 30.0
_PASSED_ON = ("authorization", "openai-beta", "user-agent")


@dataclass
class Line:
    """One connection."""

    oracle: Oracle = field(default_factory=Oracle)
    asked: list[dict[str, Any]] = field(default_factory=list)
    """The client's events but for its audio."""
    wrong: list[str] = field(default_factory=list)
    """What the oracle said."""
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def see(self, event: dict[str, Any]) -> None:
        try:
            self.oracle.see(event)
        except Exception as error:
            self.wrong.append(f"{event.get('type')}: {error}")
        self._news.set()

    async def rest(self) -> None:
        """Wait until nothing is open and all truncations are answered; the test says if not."""
        with suppress(TimeoutError):
            async with asyncio.timeout(REST_S):
                while not (self.oracle.at_rest and self._truncated):
                    self._news.clear()
                    await self._news.wait()

    @property
    def _truncated(self) -> bool:
        asked = self.asked_for("conversation.item.truncate")
        return len(self.of("conversation.item.truncated")) >= len(asked)

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.oracle.events if event["type"] == kind]

    def asked_for(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.asked if event["type"] == kind]


@dataclass
class Tap:
    """Where clients connect to, and the lines that came of it."""

    url: str
    lines: list[Line]


@asynccontextmanager
async def tapped(server_url: str) -> AsyncIterator[Tap]:
    """`server_url`: ws://HOST:PORT. The tap's own begins the same way."""
    lines: list[Line] = []

    async def handle(client: ServerConnection) -> None:
        assert client.request is not None
        line = Line()
        lines.append(line)
        headers = {
            name: value
            for name, value in client.request.headers.raw_items()
            if name.lower() in _PASSED_ON
        }
        offered = client.request.headers.get("sec-websocket-protocol")
        await _ready(server_url)
        async with (
            websockets.connect(
                server_url + client.request.path,
                additional_headers=headers,
                user_agent_header=None,
                subprotocols=[websockets.Subprotocol(one.strip()) for one in offered.split(",")]
                if offered
                else None,
                compression=None,
                max_size=None,
                proxy=None,
            ) as server,
            asyncio.TaskGroup() as tasks,
        ):
            down = tasks.create_task(_down(client, server, line))
            await _up(client, server, line)
            await line.rest()
            down.cancel()

    async with serve(
        handle,
        "127.0.0.1",
        0,
        compression=None,
        max_size=None,
        select_subprotocol=lambda _, offered: "realtime" if "realtime" in offered else None,
    ) as tap:
        yield Tap(f"ws://127.0.0.1:{_port(tap)}", lines)


async def _ready(server_url: str) -> None:
    """A server that sheds load turns newcomers away, and does so for a while after it."""
    url = f"{server_url.replace('ws', 'http', 1)}/readyz"
    async with asyncio.timeout(REST_S), httpx.AsyncClient() as http:
        while (await http.get(url)).status_code != 200:
            await asyncio.sleep(0.2)


async def _up(client: ServerConnection, server: websockets.ClientConnection, line: Line) -> None:
    with suppress(websockets.ConnectionClosed):
        async for frame in client:
            event = json.loads(frame)
            line.oracle.sent(event["type"])
            if event["type"] != "input_audio_buffer.append":
                line.asked.append(event)
            await server.send(frame)


async def _down(client: ServerConnection, server: websockets.ClientConnection, line: Line) -> None:
    with suppress(websockets.ConnectionClosed):
        async for frame in server:
            line.see(json.loads(frame))
            with suppress(websockets.ConnectionClosed):  # the client left; what follows is seen
                await client.send(frame)
    await client.close()


def _port(server: Server) -> int:
    (socket,) = server.sockets
    port: int = socket.getsockname()[1]
    return port
