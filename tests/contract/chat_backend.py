"""A chat completions server for tests: real sockets, and the very bytes that a test wants sent.

    async with chat_backend() as backend:           # backend.url goes into ANTIPHON_LLM_BASE_URL
        backend.answer = refuses(429, retry_after="2")

What a backend can get wrong, and how to ask for it:

| fault | `backend.answer =` |
|---|---|
| refuses connections; takes them again | `await backend.refuse()`; `await backend.listen()` |
| HTTP 429 or 503 with Retry-After, 500 | `refuses(429, retry_after="2")`, `refuses(500)` |
| stalls: before its head, before the first token, in mid-stream | `stalls()`, `stalls(head())`, `stalls(head(), chunk("Half a"))` |
| never stops | `never_stops()`; faster than anybody reads: `never_stops(every_s=0)` |
| one line without an end | `one_endless_line()` |
| broken SSE | `breaks_sse()` |
| a character split over packets (harmless) | `byte_by_byte(head(), reply("naïve"))` |
| the stream ends inside a character | `cuts_a_character()` |
| closes early: before its head, in mid-stream | `sends()`, `sends(head(), chunk("Half a"))` |
| resets the connection in mid-stream | `resets(head(), chunk("Half a"))` |
| an HTML page with status 200, an error page | `answers_html()`, `answers_html(502)` |
| one after the other, the last for good | `in_turn(refuses(500), sends(head(), reply("Fine.")))` |
"""  # noqa: E501 - a table reads best with its rows whole

from __future__ import annotations

import asyncio
import json
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

Answer = Callable[[asyncio.StreamWriter], Awaitable[None]]
"""Writes a response. It is cancelled when its client leaves."""


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
    """Sends its parts one by one, each in a packet of its own, and closes."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()
            await asyncio.sleep(0)

    return answer


def byte_by_byte(*parts: bytes) -> Answer:
    """Sends every byte by itself, so that characters and line ends come in pieces."""
    return sends(*(bytes([byte]) for part in parts for byte in part))


def refuses(status: int, body: bytes = b'{"error": {"message": "no"}}', **headers: str) -> Answer:
    """Answers with an HTTP error; `retry_after="2"` becomes the header of that name."""
    return sends(head(status, "application/json", **headers), body)


def stalls(*parts: bytes) -> Answer:
    """Sends its parts, and then nothing more, until the client goes."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        await sends(*parts)(writer)
        await asyncio.Event().wait()

    return answer


def never_stops(text: str = "on ", every_s: float = 0.001) -> Answer:
    """A token every so often, until the client goes."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head())
        while True:
            writer.write(chunk(text))
            await writer.drain()
            await asyncio.sleep(every_s)

    return answer


def one_endless_line() -> Answer:
    """An event whose line never ends."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        writer.write(head() + b"data: ")
        while True:
            writer.write(b"x" * 16_384)
            await writer.drain()
            await asyncio.sleep(0)

    return answer


def breaks_sse() -> Answer:
    """A token, and then an event that is cut off inside its JSON."""
    return sends(head(), chunk("Half a"), b'data: {"choices": [{"delta": {"con\n\n', chunk("b"))


def cuts_a_character() -> Answer:
    """A token, and then a stream that ends inside an ï."""
    token = chunk("naïve")
    return sends(head(), chunk("How "), token[: token.index(b"\xc3") + 1])


def resets(*parts: bytes) -> Answer:
    """Sends its parts, and then resets the connection (RST, not FIN)."""

    async def answer(writer: asyncio.StreamWriter) -> None:
        await sends(*parts)(writer)
        raw: socket.socket = writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    return answer


def answers_html(status: int = 200) -> Answer:
    """What a proxy in between says."""
    return sends(head(status, "text/html"), b"<!doctype html>\n<h1>Bad gateway</h1>\n")


def in_turn(*answers: Answer) -> Answer:
    """A different answer to each request; the last one to all that follow."""
    left = list(answers)

    async def answer(writer: asyncio.StreamWriter) -> None:
        await (left.pop(0) if len(left) > 1 else left[0])(writer)

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
    host: str = "127.0.0.1"
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a request for a completion has come."""
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when a client closes its connection before the answer is over."""
    connections: int = 0
    """Open at this moment."""
    port: int = 0
    _server: asyncio.Server | None = None
    _handlers: set[asyncio.Task[None]] = field(default_factory=set)

    async def stall(self, writer: asyncio.StreamWriter) -> None:
        """Send no more, until the client goes."""
        await asyncio.Event().wait()

    async def listen(self) -> None:
        """Take connections, on the same port as before."""
        self._server = await asyncio.start_server(self._accept, self.host, self.port)
        self.port = self._server.sockets[0].getsockname()[1]
        self.url = f"http://{self.host}:{self.port}/v1"

    async def refuse(self) -> None:
        """Refuse connections from now on; those that are open are cut."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for task in self._handlers:
            task.cancel()
        await asyncio.gather(*self._handlers, return_exceptions=True)
        await asyncio.sleep(0)  # what is cut is gone with the loop's next turn

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer))
        self._handlers.add(task)
        task.add_done_callback(self._handlers.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):
                await self._respond(reader, writer)
                await writer.drain()
        finally:
            self.connections -= 1
            writer.close()
        try:
            with suppress(ConnectionError):
                await writer.wait_closed()
        finally:
            writer.transport.abort()  # when cut with much still to be sent

    async def _respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines[1:] if line)
        self.keys.append(headers.get("authorization", ""))
        if lines[0].startswith("get /v1/models "):
            writer.write(head(self.models_status, "application/json") + self.models)
        elif lines[0].startswith("post /v1/chat/completions "):
            body = await reader.readexactly(int(headers["content-length"]))
            self.requests.append(json.loads(body))
            self.asked.set()
            await self._answer_until_left(reader, writer)
        else:
            writer.write(head(404, "application/json"))

    async def _answer_until_left(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        loop = asyncio.get_running_loop()
        answering = loop.create_task(self._answer(writer))
        leaving = loop.create_task(self._watch(reader))
        try:
            await asyncio.wait((answering, leaving), return_when=asyncio.FIRST_COMPLETED)
            if not answering.done():
                self.left.set()
        finally:
            answering.cancel()
            leaving.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)

    async def _answer(self, writer: asyncio.StreamWriter) -> None:
        try:
            await self.answer(writer)
        except ConnectionError:
            self.left.set()

    async def _watch(self, reader: asyncio.StreamReader) -> None:
        with suppress(ConnectionError):
            await reader.read()


@asynccontextmanager
async def chat_backend(host: str = "127.0.0.1", port: int = 0) -> AsyncIterator[ChatBackend]:
    """A backend on a port of the loopback; 0: a free one."""
    backend = ChatBackend(host=host, port=port)
    await backend.listen()
    try:
        yield backend
    finally:
        await backend.refuse()
