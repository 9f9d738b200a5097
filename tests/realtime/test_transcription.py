"""What a user says is told while they say it, word after word."""

from __future__ import annotations

import asyncio

from pipeline.engines.ports import SpeechWindow, Stop, Transcript
from pipeline.utterance import SPEECH_HZ
from tests.realtime.client import PCM_HZ, connected
from tests.support import live_server, murmur, silence

WORD_S = 0.5
SPOKEN = [f"word{at}" for at in range(40)]
KIND = "conversation.item.input_audio_transcription"


async def hear_as_it_is_said(window: SpeechWindow, stop: Stop) -> Transcript:
    """A word every so often; the last is not sure."""
    count = round(len(window.audio) / SPEECH_HZ / WORD_S)
    return Transcript(" ".join([*SPOKEN[:count], "perhaps"][: max(count, 1)]), "en")


async def test_deltas_come_while_the_user_speaks_and_add_up_to_the_transcript() -> None:
    async with live_server() as server, connected(server.url.replace("http", "ws")) as client:
        server.house.engines.transcriber.transcribe = hear_as_it_is_said  # type: ignore[method-assign]
        input_ = {"transcription": {"model": "whisper-1"}}
        await client.update(audio={"input": input_}, output_modalities=["text"])
        (session,) = server.house.sessions
        user = session._turns.machine.user
        for _ in range(3):  # each brings another transcript so far
            asked_to = 0 if user.turn is None else user.turn.asked_to
            await client.append(murmur(1.6, PCM_HZ))
            async with asyncio.timeout(20):
                while user.turn is None or user.turn.asked_to <= asked_to or not user.turn.answered:
                    await asyncio.sleep(0.005)
        await client.append(silence(2.0, PCM_HZ))
        completed = await client.until(f"{KIND}.completed")
        deltas = client.of(f"{KIND}.delta")
        assert len(deltas) > 1
        assert "".join(event["delta"] for event in deltas) == completed["transcript"]
        assert {event["item_id"] for event in deltas} == {completed["item_id"]}
        kinds = client.kinds
        assert kinds.index(f"{KIND}.delta") < kinds.index("input_audio_buffer.speech_stopped")
        assert kinds.index("input_audio_buffer.speech_started") < kinds.index(f"{KIND}.delta")


async def test_who_wants_no_transcript_is_told_nothing() -> None:
    async with live_server() as server, connected(server.url.replace("http", "ws")) as client:
        server.house.engines.transcriber.transcribe = hear_as_it_is_said  # type: ignore[method-assign]
        await client.update(output_modalities=["text"])
        await client.append(murmur(4.0, PCM_HZ) + silence(2.0, PCM_HZ))
        await client.done()
        assert not [kind for kind in client.kinds if kind.startswith(KIND)]
