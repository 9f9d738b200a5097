"""A client of the Realtime protocol for tests: it asks the oracle about everything it is told."""

from __future__ import annotations

import asyncio
import contextlib
import json
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import websockets

from tests.realtime.oracle import Oracle
from tests.support import LiveServer

PCM_HZ = 24_000


@dataclass
class Client:
    """Sends events, keeps what it is told, and waits for what it names."""

    socket: websockets.ClientConnection
    oracle: Oracle = field(default_factory=Oracle)

    async def say(self, kind: str, **fields: Any) -> None:
        self.oracle.sent(kind)
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def update(self, **session: Any) -> dict[str, Any]:
        await self.say("session.update", session={"type": "realtime", **session})
        updated: dict[str, Any] = (await self.until("session.updated"))["session"]
        return updated

    async def append(self, audio: bytes, piece: int = 9_600) -> None:
        """Send audio as fast as it goes, 200 ms a piece."""
        for start in range(0, len(audio), piece):
            data = b64encode(audio[start : start + piece]).decode()
            await self.say("input_audio_buffer.append", audio=data)

    async def type(self, text: str, **fields: Any) -> str:
        """Put a user's message in; its item's id."""
        content = [{"type": "input_text", "text": text}]
        item = {"type": "message", "role": "user", "content": content}
        await self.say("conversation.item.create", item=item, **fields)
        done = await self.until("conversation.item.done")
        item_id: str = done["item"]["id"]
        return item_id

    async def next(self) -> dict[str, Any]:
        event: dict[str, Any] = json.loads(await self.socket.recv())
        self.oracle.see(event)
        return event

    async def until(self, kind: str, within_s: float = 20.0) -> dict[str, Any]:
        async with asyncio.timeout(within_s):
            while True:
                if (event := await self.next())["type"] == kind:
                    return event

    async def done(self, within_s: float = 30.0) -> dict[str, Any]:
        """The end of a response."""
        done: dict[str, Any] = (await self.until("response.done", within_s))["response"]
        return done

    async def error(self) -> dict[str, Any]:
        error: dict[str, Any] = (await self.until("error"))["error"]
        return error

    async def closed(self, within_s: float = 20.0) -> int | None:
        async with asyncio.timeout(within_s):
            with contextlib.suppress(websockets.ConnectionClosed):
                while True:
                    await self.next()
        return self.socket.close_code

    @property
    def kinds(self) -> list[str]:
        """The types of all events, runs of one type as one."""
        kinds = [event["type"] for event in self.oracle.events]
        return [kind for at, kind in enumerate(kinds) if not at or kinds[at - 1] != kind]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event for event in self.oracle.events if event["type"] == kind]


def hears(server: LiveServer, text: str) -> None:
    """From now on this is what the scripted recogniser understands."""
    transcriber = server.house.engines.transcriber
    transcriber._script = replace(transcriber._script, stt_text=text)  # type: ignore[attr-defined]


@asynccontextmanager
async def connected(url: str, **options: Any) -> AsyncIterator[Client]:
    """A client of `ws://.../v1/realtime`, after its `session.created`."""
    async with websockets.connect(
        f"{url}/v1/realtime?model=gpt-realtime", compression=None, max_size=None, **options
    ) as socket:
        client = Client(socket)
        await client.until("session.created")
        yield client
