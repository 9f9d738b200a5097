"""openai-python's own client, unmodified, against a live server with scripted engines."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

from tests.realtime.client import hears
from tests.realtime.oracle import Oracle
from tests.support import live_server, murmur, silence

PCM_HZ = 24_000


class Caller:
    """The client, and the oracle over its shoulder."""

    def __init__(self, connection: AsyncRealtimeConnection) -> None:
        self.connection = connection
        self.oracle = Oracle()

    async def until(self, kind: str, within_s: float = 30.0) -> Any:
        async with asyncio.timeout(within_s):
            while True:
                event = await self.connection.recv()
                self.oracle.see(event.to_dict(mode="json", exclude_unset=True))
                if event.type == kind:
                    return event

    async def append(self, pcm: bytes) -> None:
        for start in range(0, len(pcm), 9_600):
            audio = b64encode(pcm[start : start + 9_600]).decode()
            await self.connection.input_audio_buffer.append(audio=audio)

    async def ask(self, text: str) -> None:
        await self.connection.conversation.item.create(
            item={
                "type": "message",
                "role": "user",
                "content": [{"type": "input_text", "text": text}],
            }
        )
        await self.connection.response.create()


@asynccontextmanager
async def caller() -> AsyncIterator[Caller]:
    async with live_server() as server:
        hears(server, "Stop it, please.")  # none of a reply's own words
        client = AsyncOpenAI(
            api_key="sk-any", base_url=f"{server.url}/v1",
            websocket_base_url=f"{server.url.replace('http', 'ws')}/v1",
        )  # fmt: skip
        async with client, client.realtime.connect(model="gpt-realtime") as connection:
            yield Caller(connection)


async def test_a_text_turn() -> None:
    async with caller() as user:
        await user.connection.session.update(
            session={"type": "realtime", "output_modalities": ["text"], "instructions": "Be kind."}
        )
        updated = await user.until("session.updated")
        assert updated.session.instructions == "Be kind."
        await user.ask("Say hello.")
        assert (await user.until("response.output_text.done")).text.startswith("This is")
        assert (await user.until("response.done")).response.status == "completed"
        user.oracle.settled()


async def test_an_audio_turn() -> None:
    async with caller() as user:
        await user.append(murmur(1.0, PCM_HZ) + silence(2.0, PCM_HZ))
        await user.until("input_audio_buffer.speech_started")
        await user.until("input_audio_buffer.committed")
        assert b64decode((await user.until("response.output_audio.delta")).delta)
        done = (await user.until("response.done")).response
        assert done.output[0].content[0].transcript.startswith("This is a scripted reply")
        user.oracle.settled()


async def test_a_function_call() -> None:
    async with caller() as user:
        await user.connection.session.update(
            session={
                "type": "realtime",
                "tools": [{"type": "function", "name": "weather", "parameters": {}}],
            }
        )
        await user.ask("How is the weather?")
        call = await user.until("response.function_call_arguments.done")
        assert call.name == "weather"
        await user.connection.conversation.item.create(
            item={"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}
        )
        await user.until("response.done")
        await user.connection.response.create()
        said = (await user.until("response.output_audio_transcript.done")).transcript
        assert said == "The tool says sunny."
        await user.until("response.done")


async def test_a_cancel_and_a_truncation() -> None:
    async with caller() as user:
        await user.ask("Tell me a story.")
        delta = await user.until("response.output_audio.delta")
        await user.connection.response.cancel()
        done = (await user.until("response.done")).response
        assert done.status_details.reason == "client_cancelled"
        await user.connection.conversation.item.truncate(
            item_id=delta.item_id, content_index=0, audio_end_ms=0
        )
        await user.until("conversation.item.truncated")
        await user.connection.conversation.item.retrieve(item_id=delta.item_id)
        item = (await user.until("conversation.item.retrieved")).item
        assert item.content[0].transcript == ""
        await user.connection.response.cancel()
        assert (await user.until("error")).error.code == "response_cancel_not_active"


async def test_a_barge_in() -> None:
    async with caller() as user:
        await user.ask("Tell me a story.")
        await user.until("response.output_audio.delta")
        await user.append(murmur(1.0, PCM_HZ) + silence(2.0, PCM_HZ))
        await user.until("input_audio_buffer.speech_started")
        done = (await user.until("response.done")).response
        assert done.status_details.reason == "turn_detected"
        await user.until("input_audio_buffer.committed")
        assert (await user.until("response.done")).response.status == "completed"
        user.oracle.settled()
