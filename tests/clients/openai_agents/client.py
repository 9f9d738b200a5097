"""OpenAI's Agents SDK for Python: a `RealtimeRunner`'s session, by voice, by text, with a tool."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Any

import stage
from agents import function_tool
from agents.realtime import RealtimeAgent, RealtimeRunner, RealtimeSession


@function_tool
def get_weather(city: str) -> str:
    """The weather in a city."""
    return stage.WEATHER


async def listen(session: RealtimeSession, seen: stage.Seen) -> None:
    async for event in session:
        match event.type:
            case "audio":
                seen.plays(event.audio.data)
            case "audio_interrupted":
                seen.is_cut()
            case "tool_start":
                seen.calls(event.tool.name, event.arguments)
            case "history_added":
                note(event.item, seen)
            case "history_updated":
                for item in event.history:
                    note(item, seen)
            case "error":
                seen.fails(event.error)


def note(item: Any, seen: stage.Seen) -> None:
    """An item of the history, which is told again whenever it has changed."""
    if item.type != "message":
        return
    text = " ".join(getattr(part, "transcript", "") or "" for part in item.content)
    if item.role == "user":
        seen.hears(text)
    elif item.role == "assistant" and item.status != "in_progress":
        seen.says(text)


async def scene(seen: stage.Seen) -> None:
    agent = RealtimeAgent(name="Ada", instructions=stage.INSTRUCTIONS, tools=[get_weather])
    runner = RealtimeRunner(agent)
    async with await runner.run(
        model_config={"url": f"{stage.URL}?model=gpt-realtime", "api_key": "any"}
    ) as session:
        listening = asyncio.create_task(listen(session, seen))
        try:
            await session.send_message("Who are you?")
            await seen.until("an answer to a typed turn", lambda: stage.has(seen.said, "antiphon"))
            seen.said.clear()
            await stage.play(stage.Microphone(session.send_audio), seen)
        finally:
            listening.cancel()
            with suppress(asyncio.CancelledError):
                await listening


stage.perform(scene)
