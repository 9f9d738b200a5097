"""A bad line: a TCP proxy in this event loop that delays, bunches and holds up what passes.

    async with line_to(server.port, up=Weather(jitter_ms=200), seed=1) as line:
        async with call(line.ws_url, {}) as caller:
            with line.stalled("up"):
                ...

Nothing is lost and nothing overtakes: a late piece holds up those behind it, as TCP does. "Up" is
from the client to the server. The line's weather is a function of the time and the seed, so that it
is the same however the bytes happen to be cut into pieces.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Literal

HOST = "127.0.0.1"
STEP_MS = 20
"""How long one delay lasts before the next is drawn: about a packet of speech."""
PIECE_BYTES = 16_384
MOST_PIECES = 1_024
"""What may be on the line, each way; then the sender's own window fills."""

Direction = Literal["up", "down"]


@dataclass(frozen=True, slots=True)
class Weather:
    """What one direction does to what passes, in milliseconds."""

    delay_ms: float = 0.0
    jitter_ms: float = 0.0
    """Up to so much more, evenly drawn anew every `STEP_MS`."""
    burst_ms: float = 0.0
    """What comes within such a time leaves together, at its end; 0: at once."""

    def out_s(self, in_s: float, seed: str) -> float:
        """When a piece that came at `in_s` may leave, by itself; seconds since the line began."""
        step = int(in_s * 1_000 / STEP_MS)
        jitter_ms = random.Random(f"{seed} {step}").uniform(0, self.jitter_ms)
        out_s = in_s + (self.delay_ms + jitter_ms) / 1_000
        if not self.burst_ms:
            return out_s
        return math.ceil(out_s * 1_000 / self.burst_ms) * self.burst_ms / 1_000


class Way:
    """One direction of a line."""

    def __init__(self, weather: Weather, seed: str) -> None:
        self._weather = weather
        self._seed = seed
        self._began = time.monotonic()
        self._moves = asyncio.Event()
        self._moves.set()

    def stall(self) -> None:
        """Nothing comes out any more, nor what is on the line already."""
        self._moves.clear()

    def go_on(self) -> None:
        """What was held up comes out at once."""
        self._moves.set()

    async def carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        """Carry everything from `source` to `sink`, and then the end; a reset is an end, too."""
        line: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MOST_PIECES)
        async with asyncio.TaskGroup() as both:
            taking = both.create_task(self._take(source, line))
            with contextlib.suppress(OSError):  # whoever reads is gone
                await self._give(line, sink)
            taking.cancel()

    async def _take(
        self, source: asyncio.StreamReader, line: asyncio.Queue[tuple[float, bytes]]
    ) -> None:
        piece = b"?"
        while piece:
            try:
                piece = await source.read(PIECE_BYTES)
            except ConnectionError:
                piece = b""
            out_s = self._weather.out_s(time.monotonic() - self._began, self._seed)
            await line.put((out_s, piece))

    async def _give(
        self, line: asyncio.Queue[tuple[float, bytes]], sink: asyncio.StreamWriter
    ) -> None:
        while True:
            out_s, piece = await line.get()
            await asyncio.sleep(self._began + out_s - time.monotonic())
            await self._moves.wait()
            if not piece:
                sink.write_eof()
                return
            sink.write(piece)
            await sink.drain()


class Line:
    """Every connection to `port` through this proxy shares its weather."""

    def __init__(self, port: int, up: Weather, down: Weather, seed: int) -> None:
        self._to = port
        self.up, self.down = Way(up, f"{seed} up"), Way(down, f"{seed} down")
        self.port = 0

    @property
    def ws_url(self) -> str:
        return f"ws://{HOST}:{self.port}/ws"

    @contextmanager
    def stalled(self, *directions: Direction) -> Iterator[None]:
        """Nothing comes through these, or through both, for as long as the block."""
        ways = [getattr(self, direction) for direction in directions or ("up", "down")]
        for way in ways:
            way.stall()
        try:
            yield
        finally:
            for way in ways:
                way.go_on()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Carry one connection until both sides have ended it."""
        far_reader, far_writer = await asyncio.open_connection(HOST, self._to)
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self.up.carry(reader, far_writer))
                both.create_task(self.down.carry(far_reader, writer))
        finally:
            for end in (writer, far_writer):
                end.transport.abort()


@asynccontextmanager
async def line_to(
    port: int, *, up: Weather | None = None, down: Weather | None = None, seed: int = 0
) -> AsyncIterator[Line]:
    """A line to a port of this machine; it is cut where the block ends."""
    line = Line(port, up or Weather(), down or Weather(), seed)
    calls: set[asyncio.Task[None]] = set()
    async with asyncio.TaskGroup() as group:

        def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            calls.add(group.create_task(line.carry(reader, writer)))

        proxy = await asyncio.start_server(connected, HOST, 0)
        line.port = proxy.sockets[0].getsockname()[1]
        try:
            yield line
        finally:
            proxy.close()
            for call in calls:
                call.cancel()
