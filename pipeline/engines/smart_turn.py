"""End of turn by Smart Turn v3.2 on onnxruntime: has the speaker finished, by the sound of it?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
from faster_whisper.feature_extractor import FeatureExtractor

from pipeline.engines.onnx import load_session
from pipeline.engines.ports import SPEECH_HZ, EngineInfo, Float32, Stop
from pipeline.engines.threads import EngineThreads
from pipeline.errors import EngineError
from pipeline.models import locate

MODEL = "smart-turn-v3.2"
WINDOW_S = 8
WINDOW_SAMPLES = WINDOW_S * SPEECH_HZ
NICE = 12
"""A little behind the others: the words and the reply's text are in more of a hurry. Far behind
(19) the vote came after the silence that it decides on: 0.34 s to the commit instead of 0.27 s."""
_VARIANCE_FLOOR = 1e-7
"""So that silence stays silence when it is normalised (Hugging Face's feature extractor)."""


class SmartTurnModel:
    """`slots` looks at once, `threads` CPU threads each (one look: about 28 ms on one)."""

    def __init__(self, models_dir: Path, slots: int = 1, threads: int = 1) -> None:
        self._models_dir = models_dir
        self._cpu_threads = threads
        self._threads = EngineThreads("smart-turn", slots, nice=NICE)
        self._features = FeatureExtractor(chunk_length=WINDOW_S)
        self._session: onnxruntime.InferenceSession | None = None

    @property
    def info(self) -> EngineInfo:
        return EngineInfo(name="smart-turn", model=MODEL)

    async def start(self) -> None:
        file = locate(self._models_dir, MODEL) / "smart-turn-v3.2-cpu.onnx"
        # Loaded on an engine thread, so that onnxruntime's workers inherit its niceness.
        self._session = await self._threads.run(load_session, file, threads=self._cpu_threads)
        await self.probability(np.zeros(WINDOW_SAMPLES, np.float32), Stop())

    async def close(self) -> None:
        await self._threads.close()
        self._session = None

    async def probability(self, audio: Float32, stop: Stop) -> float:
        """That the turn is complete at the end of `audio`, of which the last 8 s are heard.

        0.0 when stopped before the look. Raises `EngineError`.
        """
        return await self._threads.run(self._look, audio, stop)

    def _look(self, audio: Float32, stop: Stop) -> float:
        if self._session is None:
            raise EngineError("end-of-turn detection is not running")
        if stop.is_set:
            return 0.0
        try:
            features = self._features(normalised_window(audio), padding=0)
            (probability,) = self._session.run(None, {"input_features": features[np.newaxis]})
        except Exception as error:
            raise EngineError("the end of the turn could not be judged") from error
        return float(probability[0, 0])


def normalised_window(audio: Float32) -> Float32:
    """The last 8 s, silence in front when there is less, at zero mean and unit variance."""
    window = np.zeros(WINDOW_SAMPLES, np.float32)
    recent = audio[-WINDOW_SAMPLES:]
    window[WINDOW_SAMPLES - len(recent) :] = recent
    normalised: Float32 = (window - window.mean()) / np.sqrt(window.var() + _VARIANCE_FLOOR)
    return normalised
