"""A WebSocket client without manners: it sends what a test gives it, and may never read."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0x0, 0x1, 0x2, 0x8, 0x9, 0xA
_UPGRADE = (
    "GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
)


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, rsv: int = 0) -> bytes:
    """One masked frame (RFC 6455, 5.2); `rsv` are the three reserved bits."""
    length = len(payload)
    head = bytes([fin << 7 | rsv << 4 | opcode])
    if length < 126:
        head += bytes([0x80 | length])
    elif length < 65_536:
        head += struct.pack("!BH", 0x80 | 126, length)
    else:
        head += struct.pack("!BQ", 0x80 | 127, length)
    return head + b"\0\0\0\0" + payload  # masked by zeros: as it is


@dataclass
class Raw:
    """A connection of bytes."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def send(self, *pieces: bytes) -> None:
        """Send, waiting for room; a connection that is gone is no error here."""
        try:
            for piece in pieces:
                self.writer.write(piece)
                await self.writer.drain()
        except ConnectionError:
            pass

    async def upgrade(self, *headers: str) -> bytes:
        """Ask for a WebSocket; the head of the answer."""
        await self.send((_UPGRADE + "".join(f"{h}\r\n" for h in headers) + "\r\n").encode())
        return await self.reader.readuntil(b"\r\n\r\n")

    async def hello(self) -> None:
        """A WebSocket on which hello was said; its replies are slow, and so long."""
        await self.upgrade()
        await self.send(frame(TEXT, b'{"type":"hello","voice":"tone-low","speed":0.25}'))

    async def until(self, word: bytes) -> None:
        """Read up to a frame that has this in it, and to that frame's end."""
        async with asyncio.timeout(20):
            while word not in (await self._frame())[1]:
                pass

    async def close_code(self) -> int | None:
        """Read up to the server's close frame; its code, or None when there was none."""
        async with asyncio.timeout(20):
            try:
                while True:
                    opcode, payload = await self._frame()
                    if opcode == CLOSE:
                        return int.from_bytes(payload[:2], "big")
            except (ConnectionError, asyncio.IncompleteReadError):
                return None

    async def _frame(self) -> tuple[int, bytes]:
        opcode, length = await self.reader.readexactly(2)
        if length >= 126:
            size = await self.reader.readexactly(2 if length == 126 else 8)
            length = int.from_bytes(size, "big")
        return opcode & 0x0F, await self.reader.readexactly(length)

    def reset(self) -> None:
        """Gone without a goodbye: the kernel sends a reset."""
        raw: socket.socket = self.writer.get_extra_info("socket")
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def raw(port: int, *, receive_buffer: int | None = None) -> AsyncIterator[Raw]:
    """A TCP connection to the server; `receive_buffer` in bytes: a small one of the kernel's."""
    connection = socket.socket()
    if receive_buffer is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
    connection.setblocking(False)
    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", port))
    reader, writer = await asyncio.open_connection(sock=connection, limit=4_096)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()


def noise(length: int) -> bytes:
    """Bytes that mean nothing."""
    return os.urandom(length)
