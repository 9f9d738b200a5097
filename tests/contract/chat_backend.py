"""A chat completions server for tests: real sockets, and the very bytes that a test wants sent."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]


def head(status: int = 200, kind: str = "text/event-stream", **headers: str) -> bytes:
    """A response's head; its body ends where the connection does."""
    lines = [f"HTTP/1.1 {status} X", f"content-type: {kind}", "connection: close"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def chunk(text: str | None = None, finish: str | None = None) -> bytes:
    """One token as an event."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return b"data: " + json.dumps({"choices": [choice]}, ensure_ascii=False).encode() + b"\n\n"


def reply(*texts: str) -> bytes:
    """A whole reply in good order."""
    return b"".join(map(chunk, texts)) + chunk(finish="stop") + b"data: [DONE]\n\n"


def sends(*parts: bytes) -> Answer:
    """An answer that sends its parts one by one, each in a packet of its own, and closes."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)

    return answer


@dataclass
class ChatBackend:
    """What it answers, what it was asked, and who has left."""

    answer: Answer = field(default_factory=lambda: sends(head(), reply("Hello", ", you.")))
    models: bytes = b'{"object": "list", "data": [{"id": "first"}, {"id": "second"}]}'
    models_status: int = 200
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    url: str = ""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client closes its connection before the answer is over."""

    async def stall(self, writer: asyncio.StreamWriter) -> None:
        """Send no more, until the client goes."""
        await self.left.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError, asyncio.IncompleteReadError):
            lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
            headers = dict(line.split(": ", 1) for line in lines[1:] if line)
            self.keys.append(headers.get("authorization", ""))
            if lines[0].startswith("get /v1/models "):
                writer.write(head(self.models_status, "application/json") + self.models)
            elif lines[0].startswith("post /v1/chat/completions "):
                body = await reader.readexactly(int(headers["content-length"]))
                self.requests.append(json.loads(body))
                async with asyncio.TaskGroup() as group:
                    watch = group.create_task(self._watch(reader))
                    await self.answer(writer)
                    watch.cancel()
            else:
                writer.write(head(404, "application/json"))
            await writer.drain()
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()

    async def _watch(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            await reader.read()
        self.left.set()


@asynccontextmanager
async def chat_backend() -> AsyncIterator[ChatBackend]:
    """A backend on a free port of the loopback."""
    backend = ChatBackend()
    handlers: set[asyncio.Task[None]] = set()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(backend._serve(reader, writer))
        handlers.add(task)

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    backend.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        yield backend
    finally:
        backend.left.set()
        server.close()
        await asyncio.gather(*handlers)
        await server.wait_closed()
