"""Piper on onnxruntime: clauses to speech at 22,050 Hz, at a fifth of Kokoro's cost or less.

Text becomes phonemes through piper-tts (GPL-3.0), an optional extra that is imported when this
engine is started and not before; the model is run by us.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import numpy as np
import onnxruntime

from pipeline.engines import g2p
from pipeline.engines.onnx import load_session
from pipeline.engines.ports import EngineInfo, Float32, SpeechRequest, Stop, Voice
from pipeline.engines.threads import EngineThreads
from pipeline.errors import NotFound, StartError, TtsFailed, Unspeakable
from pipeline.marks import Verdict, verdict_on
from pipeline.models import locate
from pipeline.seams import SENTENCE_PAUSE_S, ClauseShaper

MODEL = "piper-en-us-joe"
VOICE = Voice("en_US-joe-medium", "en-us")

RATE_HZ = 22_050
LONGEST_PHONEMES = 200
"""Of one run of the model, which was trained on single sentences: about 14 s of speech."""

SLOWEST, FASTEST = 0.5, 2.0
"""A request past them gets the nearest. Of 207 words Whisper base got 5% wrong at speed 1, 6% at
1.5, 11% at 2 and 17% at 2.5."""

NOISE, NOISE_OF_LENGTHS = 0.667, 0.8
"""How much the sound and the length of the phonemes vary: the voice's own defaults."""

_START, _PAD, _END = "^", "_", "$"

_espeak = threading.Lock()
"""piper-tts brings an espeak-ng of its own, apart from that of `g2p`; its state, too, is global."""

Phonemizer = Callable[[str], str]
"""Text to phonemes; not to be called twice at once."""

# What espeak reads without a pause, and a person with one.
_PAUSES = re.compile(r"\s*(?:\.{2,}|…|—|\s[-–]{1,2}(?=\s))\s*")
_DOTTED = re.compile(r"\b([A-Z][\w.]*)\.(?=\s+\w)")


class PiperSynthesizer:
    """One instance: one model in memory (63 MB on disk), one clause at a time."""

    def __init__(self, models_dir: Path, threads: int) -> None:
        self._models_dir = models_dir
        self._intra_op_threads = threads
        self._worker = EngineThreads("piper", 1)
        self._model: onnxruntime.InferenceSession | None = None
        self._phonemize: Phonemizer | None = None
        self._ids: dict[str, list[int]] = {}

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("piper", MODEL)

    @property
    def rate_hz(self) -> int:
        return RATE_HZ

    @property
    def voices(self) -> tuple[Voice, ...]:
        return (VOICE,)

    async def start(self) -> None:
        """Load the voice, and speak once so that the first clause is fast.

        Raises `ModelMissing`, or `StartError` when the package is not installed or a file is there
        but cannot be used.
        """
        await self._worker.run(self._load)

    def _load(self) -> None:
        self._phonemize = _phonemizer()
        folder = locate(self._models_dir, MODEL)
        path = folder / f"{VOICE.name}.onnx"
        self._model = load_session(path, threads=self._intra_op_threads)
        try:
            config = json.loads((folder / f"{VOICE.name}.onnx.json").read_text())
            self._ids = config["phoneme_id_map"]
            self._render(self._phonemes("Hello there, hello."), 1.0)
        except Exception as error:  # a file that is no voice, an espeak that does not load
            raise StartError(f"The speech model {path} cannot be used: {error}") from error

    async def close(self) -> None:
        """End the thread and free the model."""
        await self._worker.close()
        self._model = None

    async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        """Voice a clause: one chunk, or several when it is longer than 200 phonemes."""
        if request.voice != VOICE.name:
            raise NotFound(f"There is no voice named {request.voice!r}.")
        if request.language and request.language.lower().split("-")[0] != "en":
            raise NotFound(f"No voice here speaks {request.language!r}.")
        phonemes = await self._worker.run(self._phonemes, request.text)
        speed = min(max(request.speed, SLOWEST), FASTEST)
        for number, piece in enumerate(g2p.pieces(phonemes, LONGEST_PHONEMES)):
            if stop.is_set:
                return
            audio = await self._worker.run(self._render, piece, speed)
            yield np.concatenate((_pause(speed), audio)) if number else audio

    def _phonemes(self, text: str) -> str:
        if self._phonemize is None:
            raise TtsFailed("The speech model is not loaded.")
        words = readable(text)
        if not any(map(str.isalnum, words)):  # espeak would name the marks
            raise Unspeakable("There is nothing in this text to say.")
        try:
            with _espeak:
                phonemes = self._phonemize(words)
        except Exception as error:  # espeak's bridge raises RuntimeError, ValueError and others
            raise TtsFailed("This text could not be turned into sounds.") from error
        if not any(map(str.isalpha, phonemes)):
            raise Unspeakable("There is nothing in this text to say.")
        return phonemes

    def _render(self, piece: str, speed: float) -> Float32:
        """One run of the model: phonemes -> samples, shape (n,)."""
        if self._model is None:
            raise TtsFailed("The speech model is not loaded.")
        tokens = _tokens(piece, self._ids)
        feed = {
            "input": np.array([tokens], np.int64),
            "input_lengths": np.array([len(tokens)], np.int64),
            "scales": np.array([NOISE, 1 / speed, NOISE_OF_LENGTHS], np.float32),
        }
        try:
            audio = np.asarray(self._model.run(["output"], feed)[0], np.float32).ravel()
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise TtsFailed("The speech model failed on this text.") from error
        return _finished(audio)


def readable(text: str) -> str:
    """The text as espeak reads it best: no markup or emoji, a comma where a person would pause, no
    full stop that is not one ("Dr. Smith", "J. R. Jones", "the U.S. Army")."""
    text = _PAUSES.sub(", ", g2p.speakable(text))
    return _DOTTED.sub(_without_dot, text).lstrip(" ,").rstrip()


def _without_dot(match: re.Match[str]) -> str:
    inside = verdict_on(match[1], opens_line=False) is Verdict.INSIDE
    return match[1] if inside else match[0]


def _phonemizer() -> Phonemizer:
    """Raises `StartError` with the mend when piper-tts is not here."""
    try:
        from piper.phonemize_espeak import EspeakPhonemizer
    except ImportError as error:
        raise StartError(
            f"ANTIPHON_TTS_ENGINE=piper needs the package piper-tts ({error}): "
            "run `make setup EXTRAS=piper`"
        ) from None
    with _espeak:
        espeak = EspeakPhonemizer()

    def phonemize(text: str) -> str:
        sentences = espeak.phonemize(VOICE.language, text)
        return " ".join("".join(signs) for signs in sentences if signs)

    return phonemize


def _tokens(phonemes: str, ids: dict[str, list[int]]) -> list[int]:
    """As the model was trained: start, every sign (unknown ones left out) with a pad, end."""
    tokens = [*ids[_START], *ids[_PAD]]
    for sign in phonemes:
        if sign in ids:
            tokens += (*ids[sign], *ids[_PAD])
    return [*tokens, *ids[_END]]


def _pause(speed: float) -> Float32:
    """Between two pieces, which were cut at the end of a sentence if there was one."""
    return np.zeros(round(SENTENCE_PAUSE_S * RATE_HZ / speed), np.float32)


def _finished(audio: Float32) -> Float32:
    """Raw model output, shape (n,) -> what may be played. Raises `TtsFailed` for no sound."""
    if not np.isfinite(audio).all() or not audio.any():
        raise TtsFailed("The speech model gave no sound.")
    shaper = ClauseShaper(RATE_HZ)
    return np.concatenate((shaper.feed(audio), shaper.finish()))
