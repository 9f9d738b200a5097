"""What a client chooses of turn detection, over a socket: each choice changes what happens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest

from pipeline import listening
from pipeline.engines.ports import Float32, SpeechWindow, Stop, Transcript
from pipeline.turn import Phase, TurnMachine
from pipeline.utterance import FRAME, SPEECH_HZ
from tests.realtime.client import PCM_HZ, Client, connected, hears
from tests.support import LiveServer, live_server, murmur, silence

QUESTION, UNFINISHED = "What time is it?", "I went to the"
SPOKEN_S = 0.64
WITHIN_S = 20.0


@pytest.fixture(autouse=True)
def only_frames_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """No silence is put where no frames come: a test says all that is heard."""
    monkeypatch.setattr(listening, "GAP_S", 1e6)


@asynccontextmanager
async def detecting(vad: dict[str, Any] | None) -> AsyncIterator[tuple[LiveServer, Client]]:
    """A client that has chosen this turn detection."""
    async with live_server() as server, connected(server.url.replace("http", "ws")) as client:
        shown = await client.update(audio={"input": {"turn_detection": vad}})
        effective = shown["audio"]["input"]["turn_detection"]
        assert effective is None if vad is None else vad.items() <= effective.items()
        yield server, client


async def heard(server: LiveServer, seconds: float) -> TurnMachine:
    """Wait until so much audio is heard, and the words of what was said are known."""
    (session,) = server.house.sessions
    machine, ear = session._turns.machine, session._pipeline.listening
    end = seconds * SPEECH_HZ - 2 * FRAME  # the resampler holds some back, and half a frame waits
    async with asyncio.timeout(WITHIN_S):
        while ear._position < end or (machine.phase is Phase.PAUSED and not _known(machine)):
            await asyncio.sleep(0.005)
    return machine


def _known(machine: TurnMachine) -> bool:
    turn = machine.user.turn
    return turn is None or turn.manual or turn.answered


PATIENCE = [
    ({"type": "server_vad"}, QUESTION, 0.2, False),
    ({"type": "server_vad"}, QUESTION, 0.4, True),
    ({"type": "server_vad"}, UNFINISHED, 0.9, False),
    ({"type": "server_vad"}, UNFINISHED, 1.2, True),
    ({"type": "server_vad", "silence_duration_ms": 300}, UNFINISHED, 0.2, False),
    ({"type": "server_vad", "silence_duration_ms": 300}, UNFINISHED, 0.4, True),
    ({"type": "server_vad", "silence_duration_ms": 1_500}, QUESTION, 1.4, False),
    ({"type": "server_vad", "silence_duration_ms": 1_500}, QUESTION, 1.7, True),
    ({"type": "semantic_vad", "eagerness": "high"}, UNFINISHED, 0.7, False),
    ({"type": "semantic_vad", "eagerness": "high"}, UNFINISHED, 0.9, True),
    ({"type": "semantic_vad", "eagerness": "medium"}, UNFINISHED, 0.9, False),
    ({"type": "semantic_vad", "eagerness": "auto"}, UNFINISHED, 1.2, True),
    ({"type": "semantic_vad", "eagerness": "low"}, UNFINISHED, 1.6, False),
    ({"type": "semantic_vad", "eagerness": "low"}, UNFINISHED, 2.0, True),
]
"""The detection, the words, the silence after them, and whether it ends the turn."""


@pytest.mark.parametrize(("vad", "words", "silence_s", "over"), PATIENCE)
async def test_how_long_a_silence_ends_a_turn(
    vad: dict[str, Any], words: str, silence_s: float, over: bool
) -> None:
    async with detecting(vad) as (server, client):
        hears(server, words)
        await client.append(murmur(SPOKEN_S, PCM_HZ) + silence(silence_s, PCM_HZ))
        if over:
            await client.until("input_audio_buffer.committed")
        else:
            machine = await heard(server, SPOKEN_S + silence_s)
            assert machine.phase is Phase.PAUSED  # and so it stays, until more is heard
            await client.append(murmur(SPOKEN_S, PCM_HZ))
            await heard(server, 2 * SPOKEN_S + silence_s)
            await client.type("A word in between.")
            started = client.of("input_audio_buffer.speech_started")
            assert len({event["item_id"] for event in started}) == 1  # the same turn goes on
            assert not client.of("input_audio_buffer.committed")


@pytest.mark.parametrize(("threshold", "started_s"), [(0.5, 0.5), (0.8, 2.5)])
async def test_how_sure_a_voice_must_be(threshold: float, started_s: float) -> None:
    vad = {"type": "server_vad", "threshold": threshold, "prefix_padding_ms": 0}
    async with detecting(vad) as (server, client):

        def by_level(frames: Float32, states: Float32) -> tuple[Float32, Float32]:
            peaks = np.abs(frames).max(axis=1)
            return np.select([peaks > 0.2, peaks > 0.01], [1.0, 0.65]).astype(np.float32), states

        server.house.engines.voice_activity.score = by_level  # type: ignore[method-assign]
        faint, plain = murmur(1.0, PCM_HZ, level=0.1), murmur(1.0, PCM_HZ)
        await client.append(silence(0.5, PCM_HZ) + faint + silence(1.0, PCM_HZ) + plain)
        started = await client.until("input_audio_buffer.speech_started")
        assert started["audio_start_ms"] == pytest.approx(1000 * started_s, abs=50)


@pytest.mark.parametrize("padding_ms", [0, 300, 900])
async def test_how_much_before_the_voice_belongs_to_a_turn(padding_ms: int) -> None:
    vad = {"type": "server_vad", "prefix_padding_ms": padding_ms, "create_response": False}
    async with detecting(vad) as (server, client):
        windows: list[float] = []
        transcriber = server.house.engines.transcriber
        hear = transcriber.transcribe

        async def noted(window: SpeechWindow, stop: Stop) -> Transcript:
            windows.append(len(window.audio) / SPEECH_HZ)
            return await hear(window, stop)

        transcriber.transcribe = noted  # type: ignore[method-assign]
        sounds = silence(1.0, PCM_HZ) + murmur(SPOKEN_S, PCM_HZ) + silence(1.5, PCM_HZ)
        await client.append(sounds)
        started = await client.until("input_audio_buffer.speech_started")
        await client.until("input_audio_buffer.committed")
        assert started["audio_start_ms"] == pytest.approx(1_000 - padding_ms, abs=50)
        assert windows[-1] == pytest.approx(SPOKEN_S + padding_ms / 1000, abs=0.1)


async def test_without_detection_only_a_commit_ends_a_turn_and_nothing_is_told_of_speech() -> None:
    async with detecting(None) as (server, client):
        await client.append(murmur(SPOKEN_S, PCM_HZ) + silence(3.0, PCM_HZ))
        await heard(server, SPOKEN_S + 3.0)
        await client.say("input_audio_buffer.commit")
        await client.until("input_audio_buffer.committed")
        await client.until("conversation.item.done")
        assert client.kinds[2:] == [
            "input_audio_buffer.committed", "conversation.item.added", "conversation.item.done",
        ]  # fmt: skip
