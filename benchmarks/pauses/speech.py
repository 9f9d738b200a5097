"""Speaks the set with the project's own Kokoro, and keeps it on disk.

A sentence is spoken as it is written, in one go, so its melody is one that goes on; it is cut where
the person pauses, and room noise of the length that was drawn is put in.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.pauses.sentences import Kind, Take
from benchmarks.pauses.voice import TimedKokoro, Voiced
from pipeline.audio import fade
from pipeline.engines.kokoro_onnx import MODEL
from pipeline.engines.kokoro_sound import RATE_HZ
from pipeline.engines.ports import SPEECH_HZ, Float32
from pipeline.resampling import Resampler

RECIPE = 1
"""Raise it when the audio of the same take changes: what is on disk is then made anew."""
QUIET_DB = -40.0
"""Under the loudest frame: not voice."""
NOISE_DBFS = -60.0
BEFORE_S, AFTER_S = 0.4, 2.6
_FRAME = RATE_HZ // 100
_MARGIN = RATE_HZ // 50
"""Of what lies around a part's voice, kept and faded."""


@dataclass(frozen=True, slots=True)
class Pause:
    """A pause that was put in: from the last voice before it to the first after it, in samples."""

    start: int
    end: int
    kind: Kind


@dataclass(frozen=True, slots=True)
class Spoken:
    """A take as it is heard: 16 kHz, a little room noise all along and 2.6 s of it at the end."""

    name: str
    take: Take
    audio: Float32
    pauses: tuple[Pause, ...]
    voice_end: int


class Speaker:
    """Speaks takes. The model is loaded when the first one is not on disk yet."""

    def __init__(self, models_dir: Path, directory: Path) -> None:
        self._models_dir = models_dir
        self._directory = directory
        self._kokoro: TimedKokoro | None = None

    def speak(self, take: Take) -> Spoken:
        """The take's audio; blocks for a second when it was not spoken before."""
        name = hashlib.sha256(f"{RECIPE} {MODEL} {take}".encode()).hexdigest()[:16]
        file = self._directory / f"{name}.npz"
        if not file.exists():
            self._kokoro = self._kokoro or TimedKokoro(self._models_dir)
            voiced = self._kokoro.say(take.sentence.parts, take.voice, take.speed)
            audio, edges = with_pauses(parted(voiced), take.pauses_ms, seed=int(name, 16))
            self._directory.mkdir(parents=True, exist_ok=True)
            pcm = np.round(np.clip(audio, -1, 1) * 32_767).astype(np.int16)
            np.savez(file, audio=pcm, edges=np.array(edges))
        with np.load(file) as kept:
            audio = kept["audio"].astype(np.float32) / 32_768
            *inner, end = (int(edge) for edge in kept["edges"])
        spans = zip(inner[::2], inner[1::2], take.sentence.kinds, strict=True)
        return Spoken(name, take, audio, tuple(Pause(*span) for span in spans), end)


def parted(voiced: Voiced) -> list[Float32]:
    """The parts, each cut at the quietest place between it and the next, and trimmed."""
    audio = voiced.audio / max(1.0, float(np.abs(voiced.audio).max()))
    levels = _levels(audio)
    cuts = [0]
    for start, end in voiced.joins:
        first, last = start // _FRAME, max(start // _FRAME + 1, end // _FRAME)
        cuts.append((first + int(levels[first:last].argmin())) * _FRAME + _FRAME // 2)
    threshold = float(levels.max()) * 10 ** (QUIET_DB / 20)
    return [_trimmed(audio[a:b], threshold) for a, b in pairwise([*cuts, len(audio)])]


def _levels(audio: Float32) -> NDArray[np.float32]:
    """RMS of each 10 ms, shape (n,)."""
    frames = audio[: len(audio) // _FRAME * _FRAME].reshape(-1, _FRAME)
    return np.asarray(np.sqrt((frames**2).mean(axis=1)), np.float32)


def _trimmed(part: Float32, threshold: float) -> Float32:
    """A part from its first voice to its last, with a margin at both ends (zeros at a cut)."""
    voiced = np.flatnonzero(_levels(part) > threshold)
    padded = np.pad(part, _MARGIN)
    return padded[voiced[0] * _FRAME : (voiced[-1] + 1) * _FRAME + 2 * _MARGIN]


def with_pauses(
    parts: list[Float32], pauses_ms: tuple[int, ...], seed: int
) -> tuple[Float32, list[int]]:
    """Parts at 24 kHz -> audio at 16 kHz, and where voice ends, begins again ... and ends.

    The parts' margins count to the pauses.
    """
    pieces = [np.zeros(round(BEFORE_S * RATE_HZ), np.float32)]
    edges: list[int] = []
    at = len(pieces[0])
    for part, pause_ms in zip(parts, [*pauses_ms, AFTER_S * 1000], strict=True):
        margin_ms = 1000 * _MARGIN / RATE_HZ
        quiet = np.zeros(round(pause_ms * RATE_HZ / 1000) - 2 * _MARGIN, np.float32)
        pieces += [fade(part, margin_ms, margin_ms, RATE_HZ), quiet]
        edges += [at + _MARGIN, at + len(part) - _MARGIN]
        at += len(part) + len(quiet)
    resampler = Resampler(RATE_HZ, SPEECH_HZ)
    speech = np.concatenate((resampler.feed(np.concatenate(pieces)), resampler.flush()))
    noise = np.random.default_rng(seed).standard_normal(len(speech)).astype(np.float32)
    audio = speech + noise * np.float32(10 ** (NOISE_DBFS / 20))
    return audio, [edge * SPEECH_HZ // RATE_HZ for edge in edges[1:]]
