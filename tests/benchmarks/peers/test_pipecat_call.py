"""A call to a scripted bot that speaks as Pipecat does: the line, the caller, the crowd."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve

from benchmarks.client import calling
from benchmarks.crowd import Calls
from benchmarks.peers.pipecat.line import pipecat_line
from server.cli.wav import Recording

RATE_HZ = 16_000
CLIP = Recording(np.full(RATE_HZ // 10, 9_000, np.int16), RATE_HZ)
SPEECH = np.full(480, 9_000, np.int16).tobytes()  # 20 ms at 24 kHz
LOUD = 1_000


def rtvi(kind: str, **data: object) -> str:
    return json.dumps({"label": "rtvi-ai", "type": kind, "id": "1", "data": data})


async def answer(socket: ServerConnection, frames: int) -> None:
    """Say "Yes." for so many frames, once the whole clip has been heard."""
    await socket.send(rtvi("user-input", text="Well?", final=True))
    await socket.send(rtvi("bot-llm-started"))
    await socket.send(rtvi("bot-llm-text", text="Yes."))
    for _ in range(frames):
        await socket.send(SPEECH)
    await socket.send(rtvi("bot-stopped-speaking"))


@asynccontextmanager
async def bot(converse: Callable[[ServerConnection], Awaitable[None]]) -> AsyncIterator[str]:
    async with serve(converse, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/"


@asynccontextmanager
async def scripted_bot(frames: int) -> AsyncIterator[str]:
    """Answers each clip when silence follows it, and stops when it is told to."""

    async def converse(socket: ServerConnection) -> None:
        hearing = False
        async for frame in socket:
            if isinstance(frame, bytes):
                loud = np.abs(np.frombuffer(frame, "<i2")).max() > LOUD
                if hearing and not loud:
                    await answer(socket, frames)
                hearing = bool(loud)
            else:
                message = json.loads(frame)
                if message["type"] == "client-ready":
                    await socket.send(rtvi("bot-ready", version="2.2.0"))
                elif message["type"] == "client-message":
                    await socket.send(json.dumps({"type": "interruption"}))

    async with bot(converse) as url:
        yield url


async def test_a_caller_hears_a_reply_out() -> None:
    async with (
        scripted_bot(frames=5) as url,
        calling(url, line=pipecat_line, rate_hz=RATE_HZ) as caller,
    ):
        turn = await caller.say(CLIP)
    assert (turn.reply.status, turn.reply.text) == ("completed", "Yes.")
    assert turn.transcripts == ("Well?",)
    assert turn.playback.audio.tobytes() == SPEECH * 5
    assert turn.voice_to_voice_s is not None


async def test_a_caller_may_stop_a_long_reply_and_speak_again() -> None:
    async with (
        scripted_bot(frames=500) as url,
        calling(url, line=pipecat_line, rate_hz=RATE_HZ) as caller,
    ):
        first = await caller.say(CLIP, listen_s=0.05)
        second = await caller.say(CLIP, listen_s=0.05)
    assert [first.reply.status, second.reply.status] == ["cancelled", "cancelled"]
    assert [first.reply.number, second.reply.number] == [1, 2]


async def test_a_bot_that_hangs_up_is_noticed() -> None:
    async def hang_up(socket: ServerConnection) -> None:
        await socket.recv()
        await socket.send(rtvi("bot-ready", version="2.2.0"))

    async with bot(hang_up) as url:
        with pytest.raises(ExceptionGroup) as failure:
            await say_once(url)
    assert failure.group_contains(ConnectionError)


async def say_once(url: str) -> None:
    async with calling(url, line=pipecat_line, rate_hz=RATE_HZ) as caller:
        await caller.say(CLIP)


async def test_turns_without_an_answer_take_for_ever() -> None:
    async with (
        scripted_bot(frames=5) as url,
        calling(url, line=pipecat_line, rate_hz=RATE_HZ) as caller,
    ):
        turn = await caller.say(CLIP)
    summary = Calls((turn, None)).summary()
    assert (summary["turns"], summary["answered"], summary["no_answer"]) == (2, 1, 1)
    assert summary["voice_to_voice_ms"] == {"p50": None, "p95": None}
