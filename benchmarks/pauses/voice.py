"""Kokoro with the lengths of its sounds, so that a sentence can be cut exactly between two words.

The model decides how many frames each sound takes, and keeps it to itself. Here that tensor is made
an output; the file on disk stays as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import helper

from pipeline.engines import g2p
from pipeline.engines.kokoro_onnx import MODEL
from pipeline.engines.kokoro_sound import LANGUAGES, RATE_HZ, VOICES, load_style
from pipeline.engines.onnx import load_session
from pipeline.engines.ports import Float32
from pipeline.models import locate

LENGTHS = "/encoder/Clip_output_0"
"""The tensor with the frames of each sound."""
FRAME = RATE_HZ // 40
"""Samples of a frame: 25 ms."""
_MARKS = ";:,.!?—… "


@dataclass(frozen=True, slots=True)
class Voiced:
    """A sentence of several parts as the model says it."""

    audio: Float32
    joins: tuple[tuple[int, int], ...]
    """Between each two parts: the samples of the marks and the space there."""


class TimedKokoro:
    """The project's own model and voices, on `threads` threads; blocks."""

    def __init__(self, models_dir: Path, threads: int = 2) -> None:
        file = locate(models_dir, MODEL) / "kokoro-v1.0.int8.onnx"
        self._model = load_session(_with_lengths(file), threads=threads)
        self._voices = locate(models_dir, VOICES)

    def say(self, parts: tuple[str, ...], voice: str, speed: float) -> Voiced:
        """One run of the model over all parts; their last words are said in full."""
        sounds = [g2p.phonemes(part, LANGUAGES[voice[0]]) for part in parts]
        tokens = [g2p.TOKENS[sign] for sign in " ".join(sounds)]
        audio, frames = self._model.run(
            ["audio", LENGTHS],
            {
                "tokens": np.array([[0, *tokens, 0]], np.int64),
                "style": load_style(self._voices / f"{voice}.bin")[len(tokens) - 1],
                "speed": np.array([speed], np.float32),
            },
        )
        edges = np.concatenate(([0], np.cumsum(frames.ravel()))).astype(int) * FRAME
        return Voiced(np.asarray(audio, np.float32).ravel(), tuple(_joins(sounds, edges)))


def _joins(sounds: list[str], edges: NDArray[np.int_]) -> list[tuple[int, int]]:
    joins = []
    at = 1  # the model's own pad stands in front
    for sound in sounds[:-1]:
        marks = len(sound) - len(sound.rstrip(_MARKS))
        at += len(sound)
        joins.append((int(edges[at - marks]), int(edges[at + 1])))
        at += 1
    return joins


def _with_lengths(file: Path) -> bytes:
    """The model, whose lengths are an output as well."""
    model = onnx.load(str(file))
    model.graph.output.append(helper.make_empty_tensor_value_info(LENGTHS))
    return bytes(model.SerializeToString())
