"""What the contract suites share: the spoken clips."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.engines.ports import SPEECH_HZ, Float32

SPEECH = Path(__file__).parents[1] / "speech"


@pytest.fixture(scope="session")
def clip() -> Callable[[str], Float32]:
    """A spoken clip by its name, as 16 kHz samples."""

    def read(name: str) -> Float32:
        with wave.open(str(SPEECH / f"{name}.wav")) as file:
            assert (file.getframerate(), file.getnchannels()) == (SPEECH_HZ, 1)
            pcm = np.frombuffer(file.readframes(file.getnframes()), np.int16)
        return (pcm / 32_768).astype(np.float32)

    return read
