"""Piper's voices on disk: which there are, and one of them loaded. Everything here blocks."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime

from pipeline.engines.onnx import load_session
from pipeline.engines.ports import Float32, Voice
from pipeline.errors import StartError, TtsFailed

NOISE, NOISE_OF_LENGTHS = 0.667, 0.8
"""How much the sound and the length of the phonemes vary, where a voice does not say: Piper's own
defaults."""

_START, _PAD, _END = "^", "_", "$"


@dataclass(frozen=True, slots=True)
class VoiceFile:
    """A voice's model, and what its configuration says."""

    path: Path
    language: str
    """BCP 47, in lower case."""
    espeak: str
    """The name of the language in espeak."""
    rate_hz: int
    noise: float
    noise_of_lengths: float
    speakers: int
    ids: Mapping[str, list[int]]

    @property
    def voice(self) -> Voice:
        return Voice(self.path.name.removesuffix(".onnx"), self.language)


def find_voices(models_dir: Path) -> dict[str, VoiceFile]:
    """By name: every `NAME.onnx` with a `NAME.onnx.json` beside it, in folders whose names begin
    with `piper`. Raises `StartError` for a configuration that is none."""
    found: dict[str, VoiceFile] = {}
    for path in sorted(models_dir.glob("piper*/*.onnx")):
        config = path.with_name(f"{path.name}.json")
        if config.is_file():
            found[path.name.removesuffix(".onnx")] = _read(path, config)
    return found


def _read(path: Path, config: Path) -> VoiceFile:
    try:
        said = json.loads(config.read_text())
        espeak = str(said["espeak"]["voice"])
        code = str(said.get("language", {}).get("code", espeak))
        inference = said.get("inference", {})
        return VoiceFile(
            path,
            code.lower().replace("_", "-"),
            espeak,
            int(said["audio"]["sample_rate"]),
            float(inference.get("noise_scale", NOISE)),
            float(inference.get("noise_w", NOISE_OF_LENGTHS)),
            int(said.get("num_speakers", 1)),
            said["phoneme_id_map"],
        )
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise StartError(f"{config} describes no Piper voice: {error!r}") from error


class LoadedVoice:
    """A voice in memory (63 MB on disk, of medium quality)."""

    def __init__(self, file: VoiceFile, threads: int) -> None:
        self.file = file
        self.used_at = 0.0
        """When it was asked for, last, in monotonic seconds."""
        self._model: onnxruntime.InferenceSession = load_session(file.path, threads=threads)

    def render(self, phonemes: str, speed: float) -> Float32:
        """One run of the model: phonemes -> samples at the voice's own rate, shape (n,)."""
        file = self.file
        tokens = _tokens(phonemes, file.ids)
        scales = [file.noise, 1 / speed, file.noise_of_lengths]
        feed = {
            "input": np.array([tokens], np.int64),
            "input_lengths": np.array([len(tokens)], np.int64),
            "scales": np.array(scales, np.float32),
        }
        if file.speakers > 1:
            feed["sid"] = np.zeros(1, np.int64)
        try:
            return np.asarray(self._model.run(["output"], feed)[0], np.float32).ravel()
        except Exception as error:  # onnxruntime's own exceptions share no public base
            raise TtsFailed("The speech model failed on this text.") from error


def _tokens(phonemes: str, ids: Mapping[str, list[int]]) -> list[int]:
    """As the model was trained: start, every sign (unknown ones left out) with a pad, end."""
    tokens = [*ids[_START], *ids[_PAD]]
    for sign in phonemes:
        if sign in ids:
            tokens += (*ids[sign], *ids[_PAD])
    return [*tokens, *ids[_END]]
