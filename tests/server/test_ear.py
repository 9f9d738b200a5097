"""Audio is taken as it comes, past the reader; and all of it stays in order."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from pipeline.engines.ports import Float32, SpeechWindow, Stop, Transcript
from pipeline.engines.scripted import ScriptedTranscriber
from server.connection import Connection
from server.voice_socket import SHORT_S
from tests.faults.raw import BINARY, CONTINUATION, TEXT, frame, raw
from tests.support import call, live_server, murmur, silence

HELLO = frame(TEXT, b'{"type":"hello","turn_detection":"manual"}')
COMMIT = frame(TEXT, b'{"type":"commit"}')
SHORT_BYTES = round(2 * 16_000 * SHORT_S)


class Heard:
    """What the recogniser was given, and what passed the reader."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.windows: list[Float32] = []
        self.read: list[int] = []
        self.turn = asyncio.Condition()
        receive = Connection.receive

        async def transcribe(_: object, window: SpeechWindow, stop: Stop) -> Transcript:
            async with self.turn:
                self.windows.append(window.audio)
                self.turn.notify_all()
            return Transcript("words", "en")

        async def received(connection: Connection) -> tuple[str | None, bytes | None]:
            text, data = await receive(connection)
            if data is not None:
                self.read.append(len(data))
            return text, data

        monkeypatch.setattr(ScriptedTranscriber, "transcribe", transcribe)
        monkeypatch.setattr(Connection, "receive", received)

    async def turns(self, count: int) -> list[bytes]:
        """The audio of so many turns, as PCM."""
        async with asyncio.timeout(10), self.turn:
            await self.turn.wait_for(lambda: len(self.windows) >= count)
        return [(window * 32_768).astype("<i2").tobytes() for window in self.windows]


@pytest.fixture
def heard(monkeypatch: pytest.MonkeyPatch) -> Heard:
    return Heard(monkeypatch)


async def test_a_microphone_wakes_no_reader(heard: Heard) -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.speak(murmur(1.0) + silence(1.5))
        await caller.until("transcript", final=True)
        await caller.say("bye")
        await caller.closed()
    assert heard.read == []


async def test_long_frames_short_ones_and_pieces_are_heard_in_their_order(heard: Heard) -> None:
    sound = np.random.default_rng(2).integers(-9_000, 9_000, 16_000).astype("<i2").tobytes()
    frames, at, sizes = [], 0, (640, 1_000, 640, SHORT_BYTES - 2, 2, SHORT_BYTES)
    while at < len(sound):
        size = sizes[len(frames) % len(sizes)]
        piece = sound[at : at + size]
        if size == 1_000:  # in two pieces
            frames.append(frame(BINARY, piece[:401], fin=False) + frame(CONTINUATION, piece[401:]))
        else:
            frames.append(frame(BINARY, piece))
        at += size
    async with live_server() as server, raw(server.port) as client:
        await client.upgrade()
        await client.send(HELLO)
        await client.reader.readuntil(b'"welcome"')
        await client.send(*frames[:40])  # in many packets
        await client.send(b"".join(frames[40:]) + COMMIT)  # and in one
        assert await heard.turns(1) == [sound]
    assert SHORT_BYTES - 2 in heard.read


async def test_audio_overtakes_no_command_of_the_same_packet(heard: Heard) -> None:
    first, second = murmur(0.5), murmur(0.7)

    def frames(sound: bytes) -> bytes:
        pieces = [sound[at : at + 640] for at in range(0, len(sound), 640)]
        return b"".join(frame(BINARY, piece) for piece in pieces)

    async with live_server() as server, raw(server.port) as client:
        await client.upgrade()
        await client.send(HELLO)
        await client.reader.readuntil(b'"welcome"')
        await client.send(frames(first) + COMMIT + frames(second) + COMMIT)
        assert await heard.turns(2) == [first, second]
