"""Voice activity by Silero on onnxruntime: one frame of each of many sessions in one call."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime

from pipeline.engines.onnx import load_session
from pipeline.engines.ports import EngineInfo, Float32
from pipeline.engines.silero_graph import batched
from pipeline.engines.threads import EngineThreads
from pipeline.models import locate

MODEL = "silero-vad"
FRAME_SAMPLES = 512
CONTEXT_SAMPLES = 64
"""The end of the frame before, which the model wants in front of each."""
LAYERS, UNITS = 2, 128
"""Of its recurrent state."""


class SileroVoiceActivity:
    """A session's state is one row of 320 floats: its context, then its recurrent state."""

    def __init__(self, models_dir: Path) -> None:
        self._models_dir = models_dir
        self._session: onnxruntime.InferenceSession | None = None

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(name="silero", model=MODEL)

    @property
    def frame_samples(self) -> int:
        return FRAME_SAMPLES

    async def start(self) -> None:
        """Load and run once. One thread: more cost more than they save on so small a model."""
        file = locate(self._models_dir, MODEL) / "silero_vad.onnx"
        loader = EngineThreads("silero-load", 1)
        try:
            self._session = await loader.run(lambda: load_session(batched(file), threads=1))
        finally:
            loader.end()
        self.score(np.zeros((1, FRAME_SAMPLES), np.float32), self.initial_state()[np.newaxis])

    async def close(self) -> None:
        self._session = None

    def initial_state(self) -> Float32:
        return np.zeros(CONTEXT_SAMPLES + LAYERS * UNITS, np.float32)

    def score(self, frames: Float32, states: Float32) -> tuple[Float32, Float32]:
        """From (n, 512) and (n, 320) to probabilities (n,) and new states (n, 320); blocks."""
        if self._session is None:
            raise RuntimeError("score before start")
        probabilities, after = self._session.run(
            ["probabilities", "after"], {"frames": frames, "states": states}
        )
        return probabilities, after
