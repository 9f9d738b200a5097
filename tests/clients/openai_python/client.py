"""openai-python's `realtime.connect`, with a user who plays what comes as it comes."""

from __future__ import annotations

import asyncio
from base64 import b64decode, b64encode
from contextlib import suppress
from time import monotonic
from typing import Any

import stage
from openai import AsyncOpenAI
from openai.resources.realtime.realtime import AsyncRealtimeConnection

TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather in a city.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"type": "string"}},
        "required": ["city"],
    },
}


class User:
    """What an application does with the connection's events."""

    def __init__(self, connection: AsyncRealtimeConnection, seen: stage.Seen) -> None:
        self._connection = connection
        self._seen = seen
        self._item = ""
        """That is being played."""
        self._began = 0.0

    async def listen(self) -> None:
        async for event in self._connection:
            await self._take(event)

    async def _take(self, event: Any) -> None:
        seen, connection = self._seen, self._connection
        match event.type:
            case "conversation.item.input_audio_transcription.completed":
                seen.hears(event.transcript)
            case "response.output_audio.delta":
                if event.item_id != self._item:
                    self._item, self._began = event.item_id, monotonic()
                seen.plays(b64decode(event.delta))
            case "response.output_audio_transcript.done":
                seen.says(event.transcript)
            case "response.function_call_arguments.done":
                seen.calls(event.name, event.arguments)
                await connection.conversation.item.create(
                    item={
                        "type": "function_call_output",
                        "call_id": event.call_id,
                        "output": stage.WEATHER,
                    }
                )
            case "response.done":
                response = event.response
                if any(item.type == "function_call" for item in response.output or []):
                    await connection.response.create()
                if response.status == "cancelled" and seen.ahead_s:
                    seen.is_cut()
                    await connection.conversation.item.truncate(
                        item_id=self._item,
                        content_index=0,
                        audio_end_ms=round((monotonic() - self._began) * 1000),
                    )
            case "error":
                seen.fails(event.error.message)


async def scene(seen: stage.Seen) -> None:
    base_url = stage.URL.removesuffix("/realtime")
    client = AsyncOpenAI(
        api_key="any", base_url=base_url.replace("ws", "http", 1), websocket_base_url=base_url
    )
    async with client, client.realtime.connect(model="gpt-realtime") as connection:
        await connection.session.update(
            session={
                "type": "realtime",
                "instructions": stage.INSTRUCTIONS,
                "tools": [TOOL],  # type: ignore[list-item]
                "audio": {"input": {"transcription": {"model": "whisper-1"}}},
            }
        )
        listening = asyncio.create_task(User(connection, seen).listen())

        async def send(pcm: bytes) -> None:
            await connection.input_audio_buffer.append(audio=b64encode(pcm).decode())

        try:
            await stage.play(stage.Microphone(send), seen)
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening


stage.perform(scene)
