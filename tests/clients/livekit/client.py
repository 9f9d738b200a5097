"""LiveKit's agent session on its OpenAI plugin, with a microphone and a loudspeaker of our own in
the place of a room's."""

from __future__ import annotations

import asyncio
from time import monotonic, time

import stage
from livekit import rtc
from livekit.agents import Agent, AgentSession, function_tool
from livekit.agents.voice.io import AudioInput, AudioOutput, AudioOutputCapabilities
from livekit.plugins import openai


class Receiver(AudioInput):
    """What the microphone sends."""

    def __init__(self) -> None:
        super().__init__(label="receiver")
        self._frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()

    async def take(self, pcm: bytes) -> None:
        self._frames.put_nowait(rtc.AudioFrame(pcm, stage.PCM_HZ, 1, len(pcm) // 2))

    async def __anext__(self) -> rtc.AudioFrame:
        return await self._frames.get()


class Loudspeaker(AudioOutput):
    """Plays in real time, to nobody."""

    def __init__(self, seen: stage.Seen) -> None:
        super().__init__(
            label="loudspeaker",
            capabilities=AudioOutputCapabilities(pause=False),
            sample_rate=stage.PCM_HZ,
        )
        self._seen = seen
        self._given_s = 0.0
        self._plays_until = 0.0
        self._end: asyncio.TimerHandle | None = None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._given_s:
            self.on_playback_started(created_at=time())
        self._given_s += frame.duration
        self._plays_until = max(self._plays_until, monotonic()) + frame.duration
        self._seen.plays(bytes(frame.data))

    def flush(self) -> None:
        super().flush()
        if self._given_s and self._end is None:
            self._end = asyncio.get_running_loop().call_later(self._left_s, self._finish, False)

    def clear_buffer(self) -> None:
        if self._given_s:
            self._finish(True)

    @property
    def _left_s(self) -> float:
        """What is still to be played."""
        return max(0.0, self._plays_until - monotonic())

    def _finish(self, interrupted: bool) -> None:
        played_s = self._given_s - self._left_s
        if self._end is not None:
            self._end.cancel()
        self._end, self._given_s, self._plays_until = None, 0.0, 0.0
        self.on_playback_finished(playback_position=played_s, interrupted=interrupted)


@function_tool
async def get_weather(city: str) -> str:
    """The weather in a city."""
    return stage.WEATHER


def listen(session: AgentSession, seen: stage.Seen) -> None:
    @session.on("user_input_transcribed")
    def _(event) -> None:
        if event.is_final:
            seen.hears(event.transcript)

    @session.on("conversation_item_added")
    def _(event) -> None:
        if getattr(event.item, "role", "") == "assistant":
            seen.says(event.item.text_content or "")
            if event.item.interrupted:
                seen.is_cut()

    @session.on("function_tools_executed")
    def _(event) -> None:
        for call in event.function_calls:
            seen.calls(call.name, call.arguments)

    @session.on("error")
    def _(event) -> None:
        seen.fails(event.error)


async def scene(seen: stage.Seen) -> None:
    base_url = stage.URL.removesuffix("/realtime").replace("ws", "http", 1)
    model = openai.realtime.RealtimeModel(model="gpt-realtime", api_key="any", base_url=base_url)
    receiver = Receiver()
    async with AgentSession(llm=model) as session:
        listen(session, seen)
        session.input.audio, session.output.audio = receiver, Loudspeaker(seen)
        agent = Agent(instructions=stage.INSTRUCTIONS, tools=[get_weather])
        await session.start(agent, record=False)
        await stage.play(stage.Microphone(receiver.take), seen)
    await model.aclose()


stage.perform(scene)
