"""Kokoro on PyTorch is an optional extra: what its tests need, or why they are skipped.

Its weights cannot be had everywhere, so the tests make small random ones and have the engine load
them as it would the real ones: what it says is noise, but all of its code runs.
"""

from __future__ import annotations

import functools
import tempfile
from importlib.util import find_spec
from pathlib import Path

import pytest

from benchmarks.kokoro_weights import write_model, write_voices
from pipeline.engines.kokoro import MODEL, KokoroSynthesizer
from pipeline.engines.kokoro_sound import VOICES
from pipeline.models.voices import VOICE_SHA256


def need_kokoro() -> None:
    """Skips the test when the extra is not here."""
    if find_spec("torch") is None or find_spec("kokoro") is None:
        pytest.skip("the extra gpu is not installed: make setup EXTRAS=gpu")


@functools.cache
def random_weights() -> tempfile.TemporaryDirectory[str]:
    """A folder of models with random ones, gone with the process."""
    folder = tempfile.TemporaryDirectory()
    write_model(Path(folder.name) / MODEL, small=True)
    write_voices(Path(folder.name) / VOICES, *VOICE_SHA256)
    return folder


def kokoro_torch(slots: int = 2, threads: int = 2) -> KokoroSynthesizer:
    """The engine, not started, with random weights."""
    need_kokoro()
    return KokoroSynthesizer(Path(random_weights().name), slots, threads)
