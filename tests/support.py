"""What tests of the whole server share: servers to talk to, and a client that is easy to ask."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import pytest
import websockets

from server.house import House
from server.serve import bound, running
from server.settings import load

ROOT = Path(__file__).parents[1]
NO_AUDIT = {"ANTIPHON_AUDIT_MB": "0"}
SCRIPTED = {
    **NO_AUDIT,
    "ANTIPHON_STT_ENGINE": "scripted",
    "ANTIPHON_TTS_ENGINE": "scripted",
    "ANTIPHON_LLM_ENGINE": "scripted",
    "ANTIPHON_VAD_ENGINE": "scripted",
}


def left_out(why: str) -> NoReturn:
    """This cannot be tried on this machine: it is left out, but where everything is to be tried
    (`.ci/run` sets `CI`) that is a failure."""
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


@dataclass(frozen=True)
class ServerProcess:
    """A server in a process of its own."""

    url: str
    pid: int

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/ws"


@contextmanager
def server_process(**environ: str) -> Iterator[ServerProcess]:
    """`antiphon serve` on a free port, ready; it must end with 0 when it is told to stop."""
    data = tempfile.TemporaryDirectory()
    process = subprocess.Popen(
        [sys.executable, "-m", "server", "serve", "--host", "127.0.0.1", "--port", "0"],
        cwd=ROOT,
        env={
            **os.environ,
            "ANTIPHON_LOG_LEVEL": "warning",
            "ANTIPHON_DATA_DIR": data.name,
            **NO_AUDIT,
            **environ,
        },
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    try:
        line = process.stdout.readline()
        assert "ready" in line, f"the server did not start: {line!r}"
        url = line.split()[-1].rstrip("/").replace("localhost", "127.0.0.1")
        yield ServerProcess(url, process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=45)
        process.stdout.close()
        data.cleanup()
    assert status == 0, f"the server ended with {status}"


@dataclass(frozen=True)
class LiveServer:
    """A server in this process, with its insides at hand."""

    house: House
    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"


@asynccontextmanager
async def live_server(**environ: str) -> AsyncIterator[LiveServer]:
    """A server with scripted engines in this event loop."""
    with tempfile.TemporaryDirectory() as data, bound("127.0.0.1", 0) as listener:
        chosen = load({**SCRIPTED, "ANTIPHON_DATA_DIR": data, **environ}, env_file=None)
        async with running(chosen, listener) as (house, _):
            yield LiveServer(house, listener.getsockname()[1])


@dataclass
class Caller:
    """A client of the native protocol that keeps everything it is told."""

    socket: websockets.ClientConnection
    messages: list[dict[str, Any]] = field(default_factory=list)
    audio: dict[int, bytearray] = field(default_factory=dict)
    _reply: int = 0

    async def say(self, kind: str, **fields: object) -> None:
        await self.socket.send(json.dumps({"type": kind, **fields}))

    async def speak(self, pcm: bytes, frame_bytes: int = 640) -> None:
        """Send audio as fast as it goes."""
        for start in range(0, len(pcm), frame_bytes):
            await self.socket.send(pcm[start : start + frame_bytes])

    async def next(self) -> dict[str, Any] | bytes:
        """The next frame; audio is kept by reply as well."""
        frame = await self.socket.recv()
        if isinstance(frame, bytes):
            self.audio.setdefault(self._reply, bytearray()).extend(frame)
            return frame
        message: dict[str, Any] = json.loads(frame)
        self.messages.append(message)
        if message["type"] == "reply_started":
            self._reply = message["reply"]
        return message

    async def until(self, kind: str, within_s: float = 20.0, **fields: object) -> dict[str, Any]:
        """The next message of a kind, with these fields; what comes before it is kept."""
        async with asyncio.timeout(within_s):
            while True:
                message = await self.next()
                if (
                    isinstance(message, dict)
                    and message["type"] == kind
                    and all(message.get(name) == value for name, value in fields.items())
                ):
                    return message

    async def play(self, within_s: float = 60.0) -> dict[str, Any]:
        """Hear a reply to its end, reporting its playback as soon as all audio is there."""
        end = await self.until("reply_audio_end", within_s)
        await self.say("playback", reply=end["reply"], played_ms=end["audio_ms"], done=True)
        return await self.until("reply_done", within_s, reply=end["reply"])

    async def closed(self, within_s: float = 20.0) -> int:
        """Wait until the server closes; the close code."""
        async with asyncio.timeout(within_s):
            with contextlib.suppress(websockets.ConnectionClosed):
                while True:
                    await self.next()
        code = self.socket.close_code
        assert code is not None
        return code

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [message for message in self.messages if message["type"] == kind]


@asynccontextmanager
async def call(
    url: str, hello: dict[str, Any] | None = None, **options: Any
) -> AsyncIterator[Caller]:
    """Connect; with a hello (as fields), wait for the welcome too."""
    async with websockets.connect(url, compression=None, max_size=None, **options) as socket:
        caller = Caller(socket)
        if hello is not None:
            await caller.say("hello", **hello)
            await caller.until("welcome")
        yield caller


def jain(shares: list[float]) -> float:
    """Jain's index (Jain, Chiu, Hawe 1984): 1 when all have the same, 1/n when one has all."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def murmur(seconds: float, rate_hz: int = 16_000, level: float = 0.3) -> bytes:
    """Speech, to the scripted ear: noise, so that no tone of a reply's is like it."""
    import numpy as np

    hiss = np.random.default_rng(0).uniform(-1.2, 1.2, round(seconds * rate_hz))
    return (level * 32_767 * hiss).astype("<i2").tobytes()


def silence(seconds: float, rate_hz: int = 16_000) -> bytes:
    return bytes(2 * round(seconds * rate_hz))
