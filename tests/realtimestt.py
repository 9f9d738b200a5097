"""RealtimeSTT is an optional extra: what its tests need, or why they are skipped."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from pipeline.engines.faster_whisper import FasterWhisperTranscriber
from pipeline.engines.realtimestt import RealtimeSttTranscriber


def realtimestt(models_dir: Path, slots: int = 1, threads: int = 1) -> RealtimeSttTranscriber:
    """The engine, not started; skips the test when the extra is not here."""
    if find_spec("RealtimeSTT") is None:
        pytest.skip("the extra realtimestt is not installed: make setup EXTRAS=realtimestt")
    whisper = FasterWhisperTranscriber(models_dir, "tiny.en", slots, threads)
    return RealtimeSttTranscriber(models_dir, whisper)
