"""Pipecat's `OpenAIRealtimeLLMService` in a pipeline, with its own aggregators around it."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import stage
from loguru import logger
from pipecat.adapters.schemas.tools_schema import ToolsSchema
from pipecat.frames.frames import (
    ErrorFrame,
    Frame,
    InputAudioRawFrame,
    InterruptionFrame,
    LLMFullResponseEndFrame,
    LLMFullResponseStartFrame,
    LLMRunFrame,
    TranscriptionFrame,
    TTSAudioRawFrame,
    TTSTextFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import LLMContextAggregatorPair
from pipecat.processors.frame_processor import FrameDirection, FrameProcessor
from pipecat.services.llm_service import FunctionCallParams
from pipecat.services.openai.realtime import events
from pipecat.services.openai.realtime.llm import OpenAIRealtimeLLMService
from pipecat.workers.runner import WorkerRunner

logger.remove()  # of its log, standard output has no need


async def get_weather(params: FunctionCallParams, city: str) -> None:
    """The weather in a city.

    Args:
        city: Which one.
    """
    seen.calls("get_weather", {"city": city})
    await params.result_callback(stage.WEATHER)


seen = stage.Seen()


class Watcher(FrameProcessor):
    """Stands before and after the service: what the user said goes up, what is answered down."""

    def __init__(self) -> None:
        super().__init__()
        self._text = ""

    async def process_frame(self, frame: Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        match frame:
            case TranscriptionFrame():
                seen.hears(frame.text)
            case TTSAudioRawFrame():
                seen.plays(frame.audio)
            case LLMFullResponseStartFrame():
                self._text = ""
            case TTSTextFrame():
                self._text += frame.text
            case LLMFullResponseEndFrame():
                seen.says(self._text)
            case InterruptionFrame() if seen.ahead_s:  # its response may be known to be over by now
                seen.is_cut()
            case ErrorFrame():
                seen.fails(frame.error)
        await self.push_frame(frame, direction)


async def scene() -> None:
    service = OpenAIRealtimeLLMService(
        api_key="any",
        base_url=stage.URL,
        settings=OpenAIRealtimeLLMService.Settings(
            model="gpt-realtime",
            system_instruction=stage.INSTRUCTIONS,
            session_properties=events.SessionProperties(
                audio=events.AudioConfiguration(
                    input=events.AudioInput(transcription=events.InputAudioTranscription())
                )
            ),
        ),
    )
    context = LLMContext(tools=ToolsSchema(standard_tools=[get_weather]))
    user, assistant = LLMContextAggregatorPair(context)
    worker = PipelineWorker(
        Pipeline([user, Watcher(), service, Watcher(), assistant]),
        params=PipelineParams(audio_in_sample_rate=24_000, audio_out_sample_rate=24_000),
    )
    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    running = asyncio.create_task(runner.run())

    async def send(pcm: bytes) -> None:
        await worker.queue_frame(
            InputAudioRawFrame(audio=pcm, sample_rate=stage.PCM_HZ, num_channels=1)
        )

    try:
        await worker.queue_frame(LLMRunFrame())  # the agent speaks first, and learns of its tools
        await seen.until("a greeting", lambda: stage.has(seen.said, "antiphon"))
        seen.said.clear()
        await seen.played()
        await stage.play(stage.Microphone(send), seen)
    finally:
        await worker.cancel()
        with suppress(asyncio.CancelledError):
            await running


asyncio.run(scene())
print(seen.report(), flush=True)
