"""Kokoro as `benchmarks.gpu` times it: the engine itself, loaded as the server loads it, where its
packages are; where PyTorch is all there is, a network of its shape."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import torch

from benchmarks.gpu_models import FRAME_S, FRAMES_A_TOKEN, STYLE, KokoroShape

NEEDS = ("kokoro", "kokoro_onnx", "phonemizer", "espeakng_loader")
"""What the engine imports besides PyTorch."""
THREADS = 2
"""Of the engine, on a CPU."""
TEXT = "Hello there, it is good to hear you, and it has been a while since we spoke. "
CHARACTERS_S = 15.0
"""Of speech: some 15 signs a second, as Kokoro speaks."""


class TimedVoice(Protocol):
    """What is timed."""

    @property
    def what(self) -> str:
        """Which network, with which weights."""
        ...

    def say(self, clauses: int, audio_s: float) -> float:
        """A batch of so many equal clauses of about that length; returns the length of each."""
        ...


class Shape:
    """A network of Kokoro's shape, without masks: its batches are never ragged."""

    what = "a network of Kokoro's shape, random weights"

    def __init__(self, device: torch.device, *, small: bool) -> None:
        self._device = device
        self._model = KokoroShape(small=small).to(device).eval()

    def say(self, clauses: int, audio_s: float) -> float:
        """Frames as many as a person speaks at."""
        count = max(1, round(audio_s / FRAME_S / FRAMES_A_TOKEN))
        tokens = torch.randint(1, 178, (clauses, count), device=self._device)
        self._model(tokens, torch.randn(clauses, STYLE, device=self._device))
        return count * FRAMES_A_TOKEN * FRAME_S


class Engine:
    """The `kokoro` engine: masked norms, packed LSTMs, one transform a clause."""

    def __init__(self, models_dir: Path, slots: int, weights: str) -> None:
        """Loads it, as its start does. Raises `ModelMissing`, `StartError`."""
        from pipeline.engines.kokoro import KokoroSynthesizer

        self._engine = KokoroSynthesizer(models_dir, slots, THREADS)
        self._engine._load()
        self.what = f"the engine kokoro, {weights} weights"

    def say(self, clauses: int, audio_s: float) -> float:
        """Words, cut to the length."""
        from pipeline.engines.kokoro import _clause
        from pipeline.engines.kokoro_sound import LONGEST_PHONEMES, blend_of, phonemes_of, style_of

        engine = self._engine
        text = (TEXT * 20)[: max(2, round(audio_s * CHARACTERS_S))]
        piece = phonemes_of(text, "en-us")[:LONGEST_PHONEMES]
        styles = engine._styles
        style = style_of(blend_of(next(iter(styles)), styles), styles, len(piece))
        assert engine._model is not None
        made = engine._model.render([_clause(piece, style, 1.0)] * clauses)
        return len(made[0].audio) / engine.rate_hz


def voice(models_dir: Path | None, slots: int, *, small: bool) -> TimedVoice:
    """The most real one that can be had here: the engine with the weights of this models' folder
    (None: the server's own), the engine with random ones, a network of its shape."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if any(find_spec(name) is None for name in NEEDS):
        return Shape(device, small=small)
    from benchmarks.kokoro_weights import write_model, write_voices
    from pipeline.engines.kokoro import FILES, MODEL
    from pipeline.engines.kokoro_sound import VOICES
    from pipeline.models import default_models_dir

    models_dir = models_dir or default_models_dir()
    if not small and all((models_dir / MODEL / name).is_file() for name in FILES):
        return Engine(models_dir, slots, "Kokoro's own")
    from pipeline.models.voices import VOICE_SHA256

    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder) / MODEL, small=small)
        write_voices(Path(folder) / VOICES, *VOICE_SHA256)
        engine = Engine(Path(folder), slots, "random")
        engine.say(1, 1.0)  # a voice is read from its file when it first speaks, and kept
        return engine
