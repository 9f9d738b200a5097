"""openai-python, unmodified, talks to the real models over the Realtime API."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from typing import Any

import pytest
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from benchmarks.clips import clips_without_pauses
from benchmarks.wer import word_errors, words
from pipeline.audio import float_to_pcm16, pcm16_to_float
from pipeline.resampling import Resampler
from server.cli.wav import read_wav
from tests.e2e.conftest import HearAgain
from tests.realtime.oracle import Oracle
from tests.support import ServerProcess

pytestmark = pytest.mark.models

PCM_HZ = 24_000
FRAME_S = 0.1
PLAIN = "You answer in one short, plain sentence, without numbers."
TRANSCRIBED = {"transcription": {"model": "whisper-1"}}


def spoken(number: int = 0) -> tuple[bytes, str]:
    """A clip's audio at 24 kHz, and its words."""
    clip = clips_without_pauses()[number]
    wav = read_wav(clip.path)
    resampler = Resampler(wav.rate_hz, PCM_HZ)
    samples = pcm16_to_float(wav.samples.tobytes())
    return float_to_pcm16(resampler.feed(samples)) + float_to_pcm16(resampler.flush()), clip.words


class Talker:
    """A client with a microphone that never stops."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.oracle = Oracle()
        self.say = b""

    async def microphone(self) -> None:
        size = round(2 * PCM_HZ * FRAME_S)
        while True:
            frame, self.say = self.say[:size], self.say[size:]
            audio = b64encode(frame.ljust(size, b"\0")).decode()
            await self.connection.input_audio_buffer.append(audio=audio)
            await asyncio.sleep(FRAME_S)

    async def until(self, kind: str) -> Any:
        async with asyncio.timeout(60):
            while True:
                event = await self.connection.recv()
                self.oracle.see(event.to_dict(mode="json", exclude_unset=True))
                if event.type == kind:
                    return event


def client_of(server: ServerProcess) -> AsyncOpenAI:
    base_url = f"{server.url}/v1"
    return AsyncOpenAI(
        api_key="any", base_url=base_url, websocket_base_url=base_url.replace("http", "ws")
    )


async def test_a_spoken_turn_push_to_talk(
    real_server: ServerProcess, hear_again: HearAgain
) -> None:
    audio, said = spoken()
    async with client_of(real_server) as client, client.realtime.connect(model="any") as line:
        talker = Talker(line)
        await line.session.update(
            session={
                "type": "realtime",
                "instructions": PLAIN,
                "audio": {"input": {"turn_detection": None, **TRANSCRIBED}},
            }
        )
        await line.input_audio_buffer.append(audio=b64encode(audio).decode())
        talker.oracle.sent("input_audio_buffer.commit")
        await line.input_audio_buffer.commit()
        await line.response.create()
        heard = await talker.until("conversation.item.input_audio_transcription.completed")
        assert word_errors(said, heard.transcript).rate <= 0.15
        done = (await talker.until("response.done")).response
        assert done.status == "completed"
        reply = b"".join(
            b64decode(event["delta"])
            for event in talker.oracle.events
            if event["type"] == "response.output_audio.delta"
        )
        transcript = done.output[0].content[0].transcript
    again = await asyncio.to_thread(hear_again, reply)
    assert word_errors(transcript, again).rate <= 0.25


async def hands_free(server: ServerProcess) -> None:
    audio, _ = spoken()
    other, _ = spoken(2)  # a reply may repeat the question, and who repeats a reply is its echo
    async with client_of(server) as client, client.realtime.connect(model="any") as line:
        talker = Talker(line)
        session = {"type": "realtime", "instructions": PLAIN, "audio": {"input": TRANSCRIBED}}
        await line.session.update(session=session)  # type: ignore[arg-type]
        await talker.until("session.updated")
        microphone = asyncio.create_task(talker.microphone())
        try:
            talker.say = audio
            heard = await talker.until("conversation.item.input_audio_transcription.completed")
            assert words(heard.transcript)
            await talker.until("response.output_audio.delta")
            talker.say = other  # cuts in
            await talker.until("input_audio_buffer.speech_started")
            await talker.until("input_audio_buffer.committed")
            await talker.until("response.done")
        finally:
            microphone.cancel()
            await asyncio.gather(microphone, return_exceptions=True)


async def test_a_spoken_turn_and_one_that_cuts_in_twice_in_parallel(
    real_server: ServerProcess,
) -> None:
    await asyncio.gather(hands_free(real_server), hands_free(real_server))
