"""Kokoro-82M on onnxruntime: clauses to speech at 24 kHz, on a CPU thread of its own."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator
from pathlib import Path

import numpy as np
import onnxruntime
from kokoro_onnx.trim import trim

from pipeline.blends import Blend, read_blend
from pipeline.engines import g2p
from pipeline.engines.kokoro_graph import without_silence
from pipeline.engines.onnx import load_session
from pipeline.engines.ports import EngineInfo, Float32, SpeechRequest, Stop, Voice
from pipeline.engines.threads import EngineThreads
from pipeline.errors import NotFound, StartError, TtsFailed, Unspeakable
from pipeline.models import locate

MODEL = "kokoro-v1.0-int8"
VOICES = "kokoro-voices"

RATE_HZ = 24_000
LONGEST_PHONEMES = 510
"""The model's context, without the pad at both ends; also the rows of a voice file."""

LANGUAGES = {
    "a": "en-us",
    "b": "en-gb",
    "e": "es",
    "f": "fr-fr",
    "h": "hi",
    "i": "it",
    "p": "pt-br",
}
"""A voice's first letter -> its language. Japanese ("j") and Mandarin ("z") are not offered: espeak
reads kanji as the words "Chinese letter" and gives Mandarin sounds that Kokoro has no signs for."""

SLOWEST, FASTEST = 0.5, 2.0
"""The speeds at which the model still speaks clearly; a request past them gets the nearest. It
makes sounds in whole frames of 25 ms, so faster than 2 it drops below one frame a sound."""

FADE_MS = 5
"""At both ends of a piece, so that it begins and ends at zero and no seam clicks."""


@functools.lru_cache(maxsize=64)
def load_style(path: Path) -> Float32:
    """A voice's style vectors, shape (510, 1, 256), one per number of phonemes; read once for all
    instances (0.5 MB a voice)."""
    style = np.fromfile(path, dtype="<f4").reshape(LONGEST_PHONEMES, 1, 256)
    style.flags.writeable = False
    return style


class KokoroOnnxSynthesizer:
    """One instance: one model in memory (about 90 MB on disk), one clause at a time."""

    def __init__(self, models_dir: Path, threads: int) -> None:
        self._models_dir = models_dir
        self._intra_op_threads = threads
        self._worker = EngineThreads("kokoro", 1)
        self._model: onnxruntime.InferenceSession | None = None
        self._styles: dict[str, Path] = {}
        self._voices: tuple[Voice, ...] = ()

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("kokoro-onnx", MODEL)

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

        Raises `ModelMissing`, or `StartError` when a file is there but cannot be used.
        """
        await self._worker.run(self._load)

    def _load(self) -> None:
        path = locate(self._models_dir, MODEL) / "kokoro-v1.0.int8.onnx"
        files = sorted(locate(self._models_dir, VOICES).glob("*.bin"))
        self._styles = {file.stem: file for file in files if file.stem[0] in LANGUAGES}
        self._voices = tuple(Voice(name, LANGUAGES[name[0]]) for name in self._styles)
        try:
            graph = without_silence(path)
        except Exception as error:  # no ONNX file, or one of other tensors
            raise StartError(f"The speech model {path} cannot be used: {error!r}") from error
        self._model = load_session(graph, threads=self._intra_op_threads)
        try:
            first = read_blend(next(iter(self._styles)))
            self._render(g2p.phonemes("Hello there, hello.", "en-us"), first, 1)
        except Exception as error:  # a file that is no voice, an espeak that does not load
            raise StartError(f"The speech model {path} cannot be used: {error}") from error

    async def close(self) -> None:
        """End the thread and free the model."""
        await self._worker.close()
        self._model = None

    async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        """Voice a clause: one chunk, or several when it is longer than 510 phonemes.

        The pause that belongs after a clause is not in it: 80 to 200 ms of quiet remain.
        """
        blend = self._blend(request.voice)
        language = self._language(request, blend.leader)
        text = await self._worker.run(_phonemes, request.text, language)
        speed = min(max(request.speed, SLOWEST), FASTEST)
        for piece in g2p.pieces(text, LONGEST_PHONEMES):
            if stop.is_set:
                return
            yield await self._worker.run(self._render, piece, blend, speed)

    def _blend(self, voice: str) -> Blend:
        try:
            blend = read_blend(voice)
        except ValueError as wrong:
            raise NotFound(f"There is no voice named {voice!r}: {wrong}.") from None
        for name in blend.voices:
            if name not in self._styles:
                raise NotFound(f"There is no voice named {name!r}.")
        return blend

    def _language(self, request: SpeechRequest, voice: str) -> str:
        """The voice's own language, or the one asked for when it is another ("fr": "fr-fr")."""
        own = LANGUAGES[voice[0]]
        wanted = (request.language or own).lower()
        primary = wanted.split("-")[0]
        for language in (own, *LANGUAGES.values()):
            if language == wanted or language.split("-")[0] == primary:
                return language
        raise NotFound(f"No voice here speaks {wanted!r}.")

    def _style(self, blend: Blend, length: int) -> Float32:
        """What a blend sounds like over so many phonemes: the mean of its voices' style vectors,
        by their shares, shape (1, 256)."""
        rows = (share * load_style(self._styles[name])[length - 1] for name, share in blend.shares)
        style: Float32 = np.sum(list(rows), axis=0, dtype=np.float32)
        return style

    def _render(self, piece: str, blend: Blend, speed: float) -> Float32:
        """One run of the model: at most 510 phonemes -> samples, shape (n,)."""
        if self._model is None:
            raise TtsFailed("The speech model is not loaded.")
        tokens = [g2p.TOKENS[sign] for sign in piece]
        feed = {
            "tokens": np.array([[0, *tokens, 0]], dtype=np.int64),
            "style": self._style(blend, len(tokens)),
            "speed": np.array([speed], dtype=np.float32),
            "last_sound": np.array([_last_sound(piece) + 1], dtype=np.int64),
        }
        try:
            audio = np.asarray(self._model.run(["audio"], feed)[0], dtype=np.float32).ravel()
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise TtsFailed("The speech model failed on this text.") from error
        return finish(audio)


def _last_sound(piece: str) -> int:
    """Where the last sign stands that is voiced; marks and spaces are not."""
    return max(index for index, sign in enumerate(piece) if sign.isalpha())


def _phonemes(text: str, language: str) -> str:
    try:
        found = g2p.phonemes(text, language)
    except Exception as error:  # phonemizer raises RuntimeError, IndexError and others
        raise TtsFailed("This text could not be turned into sounds.") from error
    if not found:
        raise Unspeakable("There is nothing in this text to say.")
    return found


def finish(audio: Float32) -> Float32:
    """Raw model output, shape (n,) -> what may be played: finite, peak at most 1, silence trimmed,
    faded at both ends. Raises `TtsFailed` when it is not sound at all."""
    if not np.isfinite(audio).all():
        raise TtsFailed("The speech model gave numbers that are no sound.")
    peak = float(np.abs(audio).max(initial=0.0))
    if peak == 0.0:
        raise TtsFailed("The speech model gave no sound.")
    sound: Float32 = np.divide(trim(audio)[0], max(peak, 1.0), dtype=np.float32)
    length = min(RATE_HZ * FADE_MS // 1000, sound.size // 2)
    ramp = np.linspace(0.0, 1.0, length, dtype=np.float32)
    sound[:length] *= ramp
    sound[sound.size - length :] *= ramp[::-1]
    return sound
