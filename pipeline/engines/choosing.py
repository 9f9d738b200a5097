"""What `auto` means on this machine, and why: `/status` and the log say both."""

from __future__ import annotations

import importlib
from importlib.util import find_spec
from pathlib import Path
from typing import Literal

ON_CUDA, ON_CPU = "large-v3-turbo", "tiny.en"
"""Whisper's models."""

Voice = Literal["kokoro-onnx", "kokoro", "piper", "scripted"]


def choose_ear(wanted: str, models_dir: Path) -> tuple[str, str]:
    """The recogniser's model, and the reason in words."""
    if wanted != "auto":
        return wanted, "set by ANTIPHON_STT_MODEL"
    from pipeline.engines.whisper_folder import is_here

    if not is_here(models_dir, ON_CUDA):
        return ON_CPU, f"auto: there is no {ON_CUDA} in the models' folder whisper-{ON_CUDA}"
    if not importlib.import_module("ctranslate2").get_cuda_device_count():
        return ON_CPU, "auto: there is no CUDA device"
    return ON_CUDA, f"auto: there are a CUDA device and {ON_CUDA}"


def choose_voice(wanted: Literal["auto"] | Voice, models_dir: Path) -> tuple[Voice, str]:
    """The engine, and the reason in words.

    Kokoro on PyTorch where there is a CUDA device, the packages and the weights; PyTorch is
    imported (some seconds) only to ask for the device, when the rest is there.
    """
    if wanted != "auto":
        return wanted, "set by ANTIPHON_TTS_ENGINE"
    if find_spec("torch") is None or find_spec("kokoro") is None:
        return "kokoro-onnx", "auto: PyTorch and kokoro are not installed"
    from pipeline.engines.kokoro import FILES, MODEL

    if not all((models_dir / MODEL / name).is_file() for name in FILES):
        return "kokoro-onnx", f"auto: there are no weights in the models' folder {MODEL}"
    if not importlib.import_module("torch").cuda.is_available():
        return "kokoro-onnx", "auto: there is no CUDA device"
    return "kokoro", "auto: there are a CUDA device, PyTorch, kokoro and its weights"
