"""Kokoro-82M on onnxruntime: clauses to speech at 24 kHz, on a CPU thread of its own; on a CUDA
device where onnxruntime-gpu is installed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import onnxruntime
import structlog

from pipeline.blends import Blend, read_blend
from pipeline.engines import g2p
from pipeline.engines.device_memory import fitting, measured, must_be_measured, used_bytes
from pipeline.engines.idle import Idle
from pipeline.engines.kokoro_graph import without_silence
from pipeline.engines.kokoro_sound import (
    FASTEST,
    LANGUAGES,
    LONGEST_CLAUSE,
    LONGEST_PHONEMES,
    RATE_HZ,
    SLOWEST,
    VOICES,
    blend_of,
    finish,
    language_of,
    last_sound,
    load_style,
    phonemes_of,
    style_of,
    voice_files,
)
from pipeline.engines.onnx import CUDA, choose_providers, device_of, load_session
from pipeline.engines.ports import EngineInfo, Float32, MemoryUse, SpeechRequest, Stop, Voice
from pipeline.engines.threads import EngineThreads
from pipeline.errors import StartError, TtsFailed
from pipeline.models import locate

log = structlog.get_logger(__name__)

MODEL = "kokoro-v1.0-int8"
SHARE = "ANTIPHON_TTS_GPU_MEMORY"


class KokoroOnnxSynthesizer:
    """One instance: one model in memory (about 90 MB on disk), one clause at a time."""

    def __init__(
        self, models_dir: Path, threads: int, memory_gib: float = 0, unload_s: float = 0
    ) -> None:
        """`memory_gib`: what onnxruntime may take of a CUDA device's memory; 0: all of it.
        `unload_s`: when nobody has spoken for so long the voices' styles leave the memory; 0:
        never."""
        self._idle = Idle(unload_s, load_style.cache_clear)
        self._memory_gib = memory_gib
        self._memory: MemoryUse | None = None
        self._device = "cpu"
        self._models_dir = models_dir
        self._intra_op_threads = threads
        self._worker = EngineThreads("kokoro", 1)
        self._model: onnxruntime.InferenceSession | None = None
        self._styles: dict[str, Path] = {}
        self._voices: tuple[Voice, ...] = ()

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("kokoro-onnx", MODEL, self._device)

    @property
    def memory(self) -> MemoryUse | None:
        return self._memory

    @property
    def rate_hz(self) -> int:
        return RATE_HZ

    @property
    def voices(self) -> tuple[Voice, ...]:
        """Those whose language is spoken properly here, by name; empty before `start`."""
        return self._voices

    @property
    def blends_voices(self) -> bool:
        return True

    async def start(self) -> None:
        """Load the model and the list of voices, and speak once so that the first clause is fast.

        Raises `ModelMissing`, or `StartError` when a file is there but cannot be used, or its share
        of a device's memory does not suffice.
        """
        await self._worker.run(self._load)

    def _load(self) -> None:
        path = locate(self._models_dir, MODEL) / "kokoro-v1.0.int8.onnx"
        self._styles = voice_files(locate(self._models_dir, VOICES))
        self._voices = tuple(Voice(name, LANGUAGES[name[0]]) for name in self._styles)
        try:
            graph = without_silence(path)
        except Exception as error:  # no ONNX file, or one of other tensors
            raise StartError(f"The speech model {path} cannot be used: {error!r}") from error
        try:
            self._memory = measured(
                self._used_bytes, lambda: self._open(graph), self._speak, 1, self._memory_gib
            )
        except StartError:
            raise
        except Exception as error:  # a file that is no voice, an espeak that does not load
            raise StartError(f"The speech model {path} cannot be used: {error}") from error
        fitting(self._memory, 1, SHARE)

    def _open(self, graph: bytes) -> None:
        available = onnxruntime.get_available_providers()
        self._model = load_session(
            graph,
            threads=self._intra_op_threads,
            providers=choose_providers(available, self._memory_gib),
        )
        self._device, why = device_of(available, self._model.get_providers())
        log.info("voice_device", engine="kokoro-onnx", device=self._device, why=why)
        if self._device == "cuda":
            must_be_measured(self._memory_gib, SHARE)

    def _used_bytes(self) -> int | None:
        """None on a CPU, and until a session says where it runs: with CUDA built in, perhaps."""
        if self._model is None:
            return used_bytes() if CUDA in onnxruntime.get_available_providers() else None
        return used_bytes() if self._device == "cuda" else None

    def _speak(self, count: int) -> None:
        """Clauses, one after the other: on a device the longest that a reply's get, to see what one
        takes; on a CPU, where it would only take time, a short one."""
        text = LONGEST_CLAUSE if self._device == "cuda" else "Hello there, hello."
        phonemes, first = g2p.phonemes(text, "en-us"), read_blend(next(iter(self._styles)))
        for _ in range(count):
            self._render(phonemes, first, 1)

    async def close(self) -> None:
        """End the thread and free the model."""
        self._idle.stop()
        await self._worker.close()
        self._model = None

    async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        """Voice a clause: one chunk, or several when it is longer than 510 phonemes.

        The pause that belongs after a clause is not in it: 80 to 200 ms of quiet remain.
        """
        blend = blend_of(request.voice, self._styles)
        language = language_of(request, blend.leader)
        text = await self._worker.run(phonemes_of, request.text, language)
        speed = min(max(request.speed, SLOWEST), FASTEST)
        for piece in g2p.pieces(text, LONGEST_PHONEMES):
            if stop.is_set:
                return
            self._idle.used()
            yield await self._worker.run(self._render, piece, blend, speed)

    def _render(self, piece: str, blend: Blend, speed: float) -> Float32:
        """One run of the model: at most 510 phonemes -> samples, shape (n,)."""
        if self._model is None:
            raise TtsFailed("The speech model is not loaded.")
        tokens = [g2p.TOKENS[sign] for sign in piece]
        feed = {
            "tokens": np.array([[0, *tokens, 0]], dtype=np.int64),
            "style": style_of(blend, self._styles, len(tokens)),
            "speed": np.array([speed], dtype=np.float32),
            "last_sound": np.array([last_sound(piece) + 1], dtype=np.int64),
        }
        try:
            audio = np.asarray(self._model.run(["audio"], feed)[0], dtype=np.float32).ravel()
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise TtsFailed("The speech model failed on this text.") from error
        return finish(audio)
