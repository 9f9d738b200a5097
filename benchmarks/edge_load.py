"""Many clients in one process, cheap enough to load a server and not themselves.

    python -m benchmarks.edge_load PORT KIND COUNT SECONDS [CORE]

KIND: `idle` (a hello, then nothing), `listen` (and a microphone of noise in 20 ms frames), `hear`
(and a typed turn after each reply, its playback reported), `echo` (the frames, without a hello).
Prints one line of JSON when all are connected and one at the end, after a line on standard input.
"""

from __future__ import annotations

import asyncio
import json
import os
import struct
import sys
import time
from typing import Any, cast

import numpy as np

FRAME_S = 0.02
RATE_HZ = 16_000
REPLY_BYTES_PER_S = 48_000
NOISE_DBFS = -50.0
REPORT_S = 0.25
_UPGRADE = (
    b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


def frame(opcode: int, payload: bytes) -> bytes:
    """A masked frame (RFC 6455, 5.2); the mask is zeros, which costs the server as much."""
    size = len(payload)
    head = bytes([0x80 | opcode, 0x80 | (size if size < 126 else 126)])
    return head + (struct.pack("!H", size) if size >= 126 else b"") + b"\0\0\0\0" + payload


def text(**message: object) -> bytes:
    return frame(1, json.dumps(message).encode())


def microphone() -> list[bytes]:
    """A second of noise, as frames ready to be sent."""
    noise = np.random.default_rng(0).normal(0, 32_768 * 10 ** (NOISE_DBFS / 20), RATE_HZ)
    pcm = noise.round().astype("<i2").tobytes()
    size = round(FRAME_S * RATE_HZ) * 2
    return [frame(2, pcm[at : at + size]) for at in range(0, len(pcm), size)]


class Client(asyncio.Protocol):
    """One client: its side of the protocol, and a loudspeaker on a clock."""

    def __init__(self, kind: str) -> None:
        self._kind = kind
        self._held = b""
        self._upgraded = False
        self._reply = 0
        self._received = 0
        self._ends_at = 0.0
        self._loop = asyncio.get_running_loop()
        self.ready = self._loop.create_future()
        self.lost = False
        self.replies = 0
        self.audio_s = 0.0
        self.dry_s: list[float] = []
        self._asked_at = 0.0
        self.waits_s: list[float] = []
        """From each typed turn to the first of its audio."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.transport.write(_UPGRADE)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True
        if not self.ready.done():
            self.ready.set_exception(exc or ConnectionError("closed"))

    def data_received(self, data: bytes) -> None:
        self._held += data
        if not self._upgraded:
            head, found, rest = self._held.partition(b"\r\n\r\n")
            if not found:
                return
            if b" 101 " not in head:
                raise ConnectionError(head.decode())
            self._upgraded, self._held = True, rest
            if self._kind == "echo":
                self.ready.set_result(None)
            else:
                self.transport.write(text(type="hello"))
        while (size := len(self._held)) >= 2:
            length, at = self._held[1], 2
            if length >= 126:
                width = 2 if length == 126 else 8
                length = int.from_bytes(self._held[2 : 2 + width], "big")
                at += width
            if size < at + length:
                return
            opcode, payload = self._held[0] & 0x0F, self._held[at : at + length]
            self._held = self._held[at + length :]
            if opcode == 2:
                self._audio(len(payload))
            elif opcode == 1:
                self._told(json.loads(payload))
            elif opcode == 9:
                self.transport.write(frame(10, payload))

    def _audio(self, size: int) -> None:
        self.audio_s += size / REPLY_BYTES_PER_S
        if self._kind == "echo":
            return
        now = self._loop.time()
        if not self._received:
            self._ends_at = now
            self.waits_s.append(now - self._asked_at)
            self._loop.call_later(REPORT_S, self._report, self._reply)
        elif now > self._ends_at:
            self.dry_s.append(now - self._ends_at)
            self._ends_at = now
        self._received += size
        self._ends_at += size / REPLY_BYTES_PER_S

    def _told(self, message: dict[str, Any]) -> None:
        match message["type"]:
            case "welcome":
                self.ready.set_result(None)
            case "reply_started":
                self._reply, self._received = message["reply"], 0
            case "reply_audio_end":
                left_s = max(0.0, self._ends_at - self._loop.time())
                self._loop.call_later(left_s, self._played, self._reply, message["audio_ms"])
            case "reply_done":
                self.replies += 1
                self.ask()
            case "error":
                raise RuntimeError(message)
            case _:
                pass

    def ask(self) -> None:
        """A typed turn."""
        if not self.lost:
            self._asked_at = self._loop.time()
            self.transport.write(text(type="text", text="go on"))

    def _report(self, reply: int) -> None:
        if self.lost or reply != self._reply:
            return
        left_s = self._ends_at - self._loop.time()
        if left_s > 0:
            played_ms = max(0.0, self._received / REPLY_BYTES_PER_S - left_s) * 1_000
            self.transport.write(text(type="playback", reply=reply, played_ms=played_ms))
            self._loop.call_later(REPORT_S, self._report, reply)

    def _played(self, reply: int, audio_ms: float) -> None:
        if not self.lost:
            report = {"reply": reply, "played_ms": audio_ms, "done": True}
            self.transport.write(text(type="playback", **report))


async def microphones(clients: list[Client], seconds: float, late_ms: list[float]) -> None:
    """All microphones, spread evenly over each frame's time."""
    frames = microphone()
    groups = [clients[start::10] for start in range(10)]
    clock = time.monotonic
    began = clock()
    for tick in range(int(seconds / FRAME_S) * 10):
        due = began + tick * FRAME_S / 10
        if (wait := due - clock()) > 0:
            await asyncio.sleep(wait)
        late_ms.append((clock() - due) * 1_000)
        piece = frames[tick // 10 % len(frames)]
        for client in groups[tick % 10]:
            if not client.lost:
                client.transport.write(piece)


async def main(port: int, kind: str, count: int, seconds: float) -> None:
    """Connect all, tell, load, tell, and wait for a line before leaving."""
    loop = asyncio.get_running_loop()
    clients = []
    for _ in range(count):
        _, client = await loop.create_connection(lambda: Client(kind), "127.0.0.1", port)
        await asyncio.wait_for(client.ready, 30)
        clients.append(client)
    print(json.dumps({"connected": count}), flush=True)
    cpu_s, began, late_ms = time.process_time(), time.monotonic(), [0.0]
    if kind == "hear":
        for number, client in enumerate(clients):
            loop.call_later(3.0 * number / count, client.ask)
    if kind == "idle":
        await asyncio.sleep(seconds)
    else:
        await microphones(clients, seconds, late_ms)
    took_s = time.monotonic() - began
    dry = sorted(dry for client in clients for dry in client.dry_s)
    waits = sorted(wait for client in clients for wait in client.waits_s)
    print(
        json.dumps(
            {
                "seconds": took_s,
                "cpu": (time.process_time() - cpu_s) / took_s,
                "late_p99_ms": sorted(late_ms)[int(len(late_ms) * 0.99)],
                "lost": sum(client.lost for client in clients),
                "replies": sum(client.replies for client in clients),
                "audio_s": sum(client.audio_s for client in clients),
                "waits_p50_s": waits[len(waits) // 2] if waits else 0.0,
                "waits_p95_s": waits[int(len(waits) * 0.95)] if waits else 0.0,
                "dry": len(dry),
                "dry_most_s": dry[-1] if dry else 0.0,
            }
        ),
        flush=True,
    )
    await asyncio.to_thread(sys.stdin.readline)
    for client in clients:
        client.transport.abort()


if __name__ == "__main__":
    if len(sys.argv) > 5:
        os.sched_setaffinity(0, {int(sys.argv[5])})
    import uvloop

    uvloop.run(main(int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
