"""Piper on onnxruntime: clauses to speech at 22,050 Hz, at a fifth of Kokoro's cost or less.

Text becomes phonemes through piper-tts (GPL-3.0), an optional extra that is imported in a process
of its own (`espeak.py`); the model is run by us. Phonemes may stand in the text themselves, in
doubled brackets: `[[həlˈoʊ]]`.
"""

from __future__ import annotations

import re
import sys
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import structlog

from pipeline.engines import g2p
from pipeline.engines.espeak import Espeak, EspeakFailed
from pipeline.engines.idle import Idle
from pipeline.engines.piper_voices import LoadedVoice, VoiceFile, find_voices
from pipeline.engines.ports import EngineInfo, Float32, SpeechRequest, Stop, Voice
from pipeline.engines.threads import EngineThreads
from pipeline.errors import NotFound, StartError, TtsFailed, Unspeakable
from pipeline.models import locate
from pipeline.resampling import Resampler
from pipeline.seams import SENTENCE_PAUSE_S, ClauseShaper

log = structlog.get_logger(__name__)

MODEL = "piper-en-us-joe"
VOICE = Voice("en_US-joe-medium", "en-us")
"""The one that can be fetched, and comes first where it is there."""

RATE_HZ = 22_050
"""Of all that is given; voices of another rate are resampled."""
LONGEST_PHONEMES = 200
"""Of one run of the model, which was trained on single sentences: about 14 s of speech."""
MOST_LOADED = 4
"""Voices in memory at once; the one that was used longest ago makes room for another."""

SLOWEST, FASTEST = 0.5, 2.0
"""A request past them gets the nearest. Of 207 words Whisper base got 5% wrong at speed 1, 6% at
1.5, 11% at 2 and 17% at 2.5."""

_espeak = Espeak("piper", lambda: sys.path)
"""piper-tts brings an espeak-ng of its own, apart from that of `g2p`."""

# What espeak reads without a pause, and a person with one.
_PAUSES = re.compile(r"\s*(?:\.{2,}|…|—|\s[-–]{1,2}(?=\s))\s*")
_LOCKED = re.compile(r"\[\[(.*?)\]\]")


class PiperSynthesizer:
    """One instance: one clause at a time, in any of the voices that are there."""

    def __init__(
        self, models_dir: Path, threads: int, *, same: bool = False, unload_s: float = 0
    ) -> None:
        """`same`: each render of a text is the same, so that another instance can go on with it;
        a little flatter, for nothing in it is drawn. `unload_s`: a voice that was not used for so
        long leaves the memory, but for the first one; 0: never."""
        self._models_dir = models_dir
        self._same = same
        self._intra_op_threads = threads
        self._worker = EngineThreads("piper", 1)
        self._files: dict[str, VoiceFile] = {}
        self._loaded: OrderedDict[str, LoadedVoice] = OrderedDict()
        """Only the worker's thread touches it: none is loaded twice."""
        self._unload_s = unload_s
        self._idle = Idle(unload_s, lambda: self._worker.submit(self._drop_unused))

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("piper", MODEL)

    @property
    def rate_hz(self) -> int:
        return RATE_HZ

    @property
    def voices(self) -> tuple[Voice, ...]:
        """What lies in the models' folder; the known one until started."""
        return tuple(file.voice for file in self._files.values()) or (VOICE,)

    async def start(self) -> None:
        """Find the voices, load the first, and speak once so that the first clause is fast.

        Raises `ModelMissing`, or `StartError` when the package is not installed or a file is there
        but cannot be used.
        """
        await self._worker.run(self._load)
        log.warning(
            "engine_is_gpl", engine="piper", package="piper-tts", licence="GPL-3.0-or-later",
            means="who passes this installation on as a whole passes on a work under the GPL",
        )  # fmt: skip

    def _load(self) -> None:
        if not _reads():
            raise StartError(
                "ANTIPHON_TTS_ENGINE=piper needs the package piper-tts: "
                "run `make setup EXTRAS=piper`"
            )
        files = find_voices(self._models_dir)
        if not files:
            locate(self._models_dir, MODEL)  # which says what is missing, and the mend
        first = VOICE.name if VOICE.name in files else next(iter(files))
        self._files = {first: files.pop(first), **files}
        try:
            self._render(first, self._phonemes("Hello there, hello.", first), 1.0)
        except Exception as error:  # a file that is no voice, an espeak that does not load
            path, why = self._files[first].path, error.__cause__ or error
            raise StartError(f"The speech model {path} cannot be used: {why}") from error

    async def close(self) -> None:
        """End the thread and free the models."""
        self._idle.stop()
        await self._worker.close()
        self._loaded.clear()
        self._files.clear()

    async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        """Voice a clause: one chunk, or several when it is longer than 200 phonemes."""
        voice = self._voice(request)
        phonemes = await self._worker.run(self._phonemes, request.text, voice)
        speed = min(max(request.speed, SLOWEST), FASTEST)
        for number, piece in enumerate(g2p.pieces(phonemes, LONGEST_PHONEMES)):
            if stop.is_set:
                return
            audio = await self._worker.run(self._render, voice, piece, speed)
            self._idle.used()
            yield np.concatenate((_pause(speed), audio)) if number else audio

    def _voice(self, request: SpeechRequest) -> str:
        voice = next((one for one in self.voices if one.name == request.voice), None)
        if voice is None:
            raise NotFound(f"There is no voice named {request.voice!r}.")
        wanted, own = request.language or voice.language, voice.language
        if wanted.lower().split("-")[0] != own.split("-")[0]:
            raise NotFound(f"The voice {voice.name} does not speak {wanted!r}.")
        return voice.name

    # --- on the worker's thread ------------------------------------------------------------------

    def _phonemes(self, text: str, voice: str = VOICE.name) -> str:
        """A text's phonemes, with those that stand in it as they are."""
        if voice not in self._files:
            raise TtsFailed("The speech model is not loaded.")
        parts = _LOCKED.split(text)  # text, phonemes, text, ...
        said = [
            part.strip() if number % 2 else self._read(part, voice)
            for number, part in enumerate(parts)
        ]
        phonemes = " ".join(part for part in said if part)
        if not any(map(str.isalpha, phonemes)):
            raise Unspeakable("There is nothing in this text to say.")
        return phonemes

    def _read(self, text: str, voice: str) -> str:
        language = self._files[voice].espeak
        words = readable(text, language)
        if not any(map(str.isalnum, words)):
            return ""  # espeak would name the marks
        try:
            return _espeak.read(language, [words])[0]
        except EspeakFailed as error:
            raise TtsFailed("This text could not be turned into sounds.") from error

    def _render(self, voice: str, piece: str, speed: float) -> Float32:
        """One run of the model: phonemes -> samples, shape (n,)."""
        loaded = self._in_memory(voice)
        audio = loaded.render(piece, speed)
        if loaded.file.rate_hz != RATE_HZ:
            resampler = Resampler(loaded.file.rate_hz, RATE_HZ)
            audio = np.concatenate((resampler.feed(audio), resampler.flush()))
        return _finished(audio)

    def _in_memory(self, voice: str) -> LoadedVoice:
        if voice not in self._loaded:
            while len(self._loaded) >= MOST_LOADED:
                self._loaded.popitem(last=False)
            file = self._files[voice]
            if self._same:
                file = replace(file, noise=0.0, noise_of_lengths=0.0)
            try:
                self._loaded[voice] = LoadedVoice(file, self._intra_op_threads)
            except StartError as error:
                raise TtsFailed(str(error)) from error
        self._loaded.move_to_end(voice)
        loaded = self._loaded[voice]
        loaded.used_at = time.monotonic()
        if self._unload_s:
            self._drop_unused()
        return loaded

    def _drop_unused(self) -> None:
        since, first = time.monotonic() - self._unload_s, next(iter(self._files))
        for voice in [name for name, one in self._loaded.items() if one.used_at <= since]:
            if voice != first:
                del self._loaded[voice]
                log.info("voice_unloaded", engine="piper", voice=voice)


def readable(text: str, language: str) -> str:
    """The text as espeak reads it best: no markup or emoji, a comma where a person would pause."""
    return _PAUSES.sub(", ", g2p.speakable(text, language)).lstrip(" ,").rstrip()


def _reads() -> bool:
    """Whether piper-tts is here, without importing it."""
    piper = find_spec("piper")
    inside = piper.submodule_search_locations if piper is not None else None
    return inside is not None and PathFinder.find_spec("piper.phonemize_espeak", inside) is not None


def _pause(speed: float) -> Float32:
    """Between two pieces, which were cut at the end of a sentence if there was one."""
    return np.zeros(round(SENTENCE_PAUSE_S * RATE_HZ / speed), np.float32)


def _finished(audio: Float32) -> Float32:
    """Raw model output, shape (n,) -> what may be played. Raises `TtsFailed` for no sound."""
    if not np.isfinite(audio).all() or not audio.any():
        raise TtsFailed("The speech model gave no sound.")
    shaper = ClauseShaper(RATE_HZ)
    return np.concatenate((shaper.feed(audio), shaper.finish()))
