"""pydantic-ai's realtime session, with its default handling of a user who cuts in."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from time import monotonic

import stage
from pydantic_ai import Agent
from pydantic_ai.messages import (
    FunctionToolCallEvent,
    PartEndEvent,
    RealtimeInputSpeechStartEvent,
    RealtimeSessionErrorEvent,
    SpeechPart,
)
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.realtime import RealtimeSession
from pydantic_ai.realtime.openai import OpenAIRealtimeModel

agent = Agent(instructions=stage.INSTRUCTIONS)


@agent.tool_plain
def get_weather(city: str) -> str:
    """The weather in a city."""
    return stage.WEATHER


class Player:
    """A loudspeaker that plays in real time, and knows how much it has played."""

    def __init__(self, session: RealtimeSession, seen: stage.Seen) -> None:
        self._session = session
        self._seen = seen
        self._chunks: asyncio.Queue[bytes] = asyncio.Queue()
        self.bytes = 0

    async def receive(self) -> None:
        async for chunk in self._session.stream_audio():
            self._seen.plays(chunk)
            self._chunks.put_nowait(chunk)

    async def play(self) -> None:
        due = 0.0
        while chunk := await self._chunks.get():
            due = max(due, monotonic()) + len(chunk) / 2 / stage.PCM_HZ
            await asyncio.sleep(due - monotonic())
            self.bytes += len(chunk)

    def flush(self) -> None:
        while not self._chunks.empty():
            self._chunks.get_nowait()


async def listen(session: RealtimeSession, player: Player, seen: stage.Seen) -> None:
    async for event in session:
        match event:
            case PartEndEvent(part=SpeechPart(speaker=speaker, transcript=text)):
                (seen.hears if speaker == "user" else seen.says)(text or "")
            case FunctionToolCallEvent(part=part):
                seen.calls(part.tool_name, part.args_as_dict())
            case RealtimeInputSpeechStartEvent():
                if await session.interrupt(played_bytes=player.bytes):
                    player.flush()
                    seen.is_cut()
            case RealtimeSessionErrorEvent():
                seen.fails(event)


async def scene(seen: stage.Seen) -> None:
    base_url = stage.URL.removesuffix("/realtime").replace("ws", "http", 1)
    model = OpenAIRealtimeModel(
        "gpt-realtime", provider=OpenAIProvider(api_key="any", base_url=base_url)
    )
    async with agent.realtime(model).session() as session:
        player = Player(session, seen)
        tasks = [
            asyncio.create_task(player.receive()),
            asyncio.create_task(player.play()),
            asyncio.create_task(listen(session, player, seen)),
        ]
        try:
            await stage.play(stage.Microphone(session.send_audio), seen)
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task


stage.perform(scene)
