"""Speech to text by RealtimeSTT: a recorder for each session, one Whisper for all of them.

The package is an optional extra, imported when this engine is started and not before.
"""

from __future__ import annotations

import asyncio
import importlib
import logging
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, Protocol

from pipeline.engines.ports import (
    AskModel,
    Choice,
    ChosenElsewhere,
    EngineInfo,
    HasSeats,
    MeasuresMemory,
    MemoryUse,
    Recogniser,
    RunsElsewhere,
    SpeechWindow,
    Stop,
    Transcriber,
    Transcript,
)
from pipeline.engines.recorder_ear import RecorderEar
from pipeline.engines.recorder_lanes import Answer, Lane
from pipeline.engines.threads import EngineThreads
from pipeline.errors import StartError, SttFailed
from pipeline.models import locate

VAD = "silero-vad"
"""A recorder wants a voice detector; without a path it would fetch one from the network."""

PARTIAL_EVERY_S = 0.1
"""How often a recorder looks whether words so far are wanted."""
QUEUED_FRAMES = 1_000
"""A recorder drops the oldest of more, and they are 32 s of audio. Its own default drops the onset
of speech that comes in a burst after 3 s of a stalled line."""

_making = threading.Lock()
"""Recorders are made one after the other: each adds to the same logger."""


class RealtimeSttTranscriber:
    """Windows go to the shared model directly; sessions speak to it through their recorders."""

    def __init__(self, models_dir: Path, whisper: Transcriber) -> None:
        self._models_dir = models_dir
        self._whisper = whisper
        self._importing = EngineThreads("realtimestt", 1)
        self._package: _Package | None = None

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("realtimestt", self._whisper.info.model, self._whisper.info.device)

    @property
    def memory(self) -> MemoryUse | None:
        return self._whisper.memory if isinstance(self._whisper, MeasuresMemory) else None

    @property
    def seats(self) -> int:
        """Windows that may be at the shared model at once."""
        return self._whisper.seats if isinstance(self._whisper, HasSeats) else 1

    @property
    def languages(self) -> frozenset[str]:
        return self._whisper.languages

    async def start(self) -> None:
        """Import the package (and PyTorch with it: some seconds), and load the model.

        Raises `ModelMissing`, or `StartError` with the mend when the package is not here.
        """
        vad = locate(self._models_dir, VAD) / "silero_vad.onnx"
        self._package = await self._importing.run(_Package, vad)
        await self._whisper.start()

    async def close(self) -> None:
        """Free the model. The recorders are their sessions', which have ended before."""
        await self._importing.close()
        await self._whisper.close()

    async def transcribe(self, window: SpeechWindow, stop: Stop) -> Transcript:
        """One window, without a recorder."""
        return await self._whisper.transcribe(window, stop)

    async def recogniser(self, ask: AskModel) -> Recogniser:
        """A session's ear, with a recorder of its own (made in about 0.1 s, on its own thread)."""
        package = self._package
        if package is None:
            raise SttFailed("speech recognition is not running")
        final, partial = Lane(package.answer), Lane(package.answer)
        thread = EngineThreads("recorder", 1)
        making = thread.submit(package.recorder, final, partial)
        try:
            recorder = await asyncio.wrap_future(making)
        except BaseException as error:
            making.add_done_callback(_discard)  # it may be made though nobody waits any more
            await thread.close()
            if isinstance(error, Exception):
                raise SttFailed("no recorder could be made for this session") from error
            raise
        return RecorderEar(recorder, final, partial, thread, ask)


class _ModelElsewhere(Transcriber, RunsElsewhere, ChosenElsewhere, Protocol):
    """What the model is asked for, in a replica."""


class RealtimeSttElsewhere(RealtimeSttTranscriber):
    """The same, where the shared model runs elsewhere: sessions and their recorders are here."""

    def __init__(self, models_dir: Path, whisper: _ModelElsewhere, slots: int) -> None:
        """`slots`: windows that are at the model at once, from here."""
        super().__init__(models_dir, whisper)
        self._model = whisper
        self._slots = slots

    @property
    def seats(self) -> int:
        return self._slots

    @property
    def choice(self) -> Choice:
        return self._model.choice

    @property
    def away(self) -> bool:
        return self._model.away

    async def look(self) -> None:
        await self._model.look()


def _discard(made: Future[Any]) -> None:
    if not made.cancelled() and made.exception() is None:
        made.result().shutdown()


class _Package:
    """RealtimeSTT, imported: what of it is used, and its manners mended."""

    def __init__(self, vad: Path) -> None:
        try:
            recorders = importlib.import_module("RealtimeSTT.audio_recorder")
            engines = importlib.import_module("RealtimeSTT.transcription_engines")
            shutdown = importlib.import_module("RealtimeSTT.core.shutdown")
            making = importlib.import_module("RealtimeSTT.core.initialization")
            detectors = importlib.import_module("RealtimeSTT.core.silero_vad")
        except ImportError as error:
            raise StartError(
                f"ANTIPHON_STT_ENGINE=realtimestt needs the package RealtimeSTT ({error}): "
                "run `make setup EXTRAS=realtimestt`"
            ) from None
        self._make: Any = recorders.AudioToTextRecorder
        # Each would load a voice detector of its own, which is never asked: ours says when somebody
        # speaks. One for all saves 8 MB a session.
        detector = detectors.create_silero_vad_model("raw_onnx", None, str(vad), 1)
        making.__dict__["create_silero_vad_model"] = lambda **_: detector
        self._engines: Any = engines
        # It prints a farewell in red at every session's end; standard output is the server's.
        shutdown.__dict__["print"] = lambda *_, **__: None

    def recorder(self, final: Lane, partial: Lane) -> Any:
        """A recorder that decides nothing: it neither begins nor ends a recording by itself."""
        log = logging.getLogger("realtimestt")
        with _making:
            before = list(log.handlers)
            try:
                return self._make(
                    use_microphone=False,
                    spinner=False,
                    no_log_file=True,
                    level=logging.CRITICAL,
                    transcription_executor=final,
                    realtime_transcription_executor=partial,
                    enable_realtime_transcription=True,
                    realtime_processing_pause=PARTIAL_EVERY_S,
                    warmup_vad=False,
                    min_length_of_recording=0,
                    min_gap_between_recordings=0,
                    allowed_latency_limit=QUEUED_FRAMES,
                    # The words decide whether a turn is over: a full stop that the model did not
                    # write would end every unfinished clause.
                    ensure_sentence_starting_uppercase=False,
                    ensure_sentence_ends_with_period=False,
                )
            finally:
                # Each leaves a handler behind, and sets the level so that what people say is
                # logged. What goes wrong is raised, and logged where it is caught.
                for handler in [kept for kept in log.handlers if kept not in before]:
                    log.removeHandler(handler)
                log.setLevel(logging.CRITICAL)

    def answer(self, transcript: Transcript) -> Answer:
        """A transcript as the package's executors give it."""
        info = self._engines.TranscriptionInfo(transcript.language, 1 - transcript.no_speech)
        result: Answer = self._engines.TranscriptionResult(transcript.text, info)
        return result
