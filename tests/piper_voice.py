"""Piper is an optional extra: what its tests need, or why they are skipped."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import pytest

from pipeline.engines.piper import MODEL, PiperSynthesizer
from pipeline.errors import ModelMissing
from pipeline.models import locate


def piper(models_dir: Path, threads: int = 2) -> PiperSynthesizer:
    """The engine, not started; skips the test when the extra or its voice is not here."""
    if find_spec("piper") is None:
        pytest.skip("the extra piper is not installed: make setup EXTRAS=piper")
    try:
        locate(models_dir, MODEL)
    except ModelMissing as missing:
        pytest.skip(str(missing))
    return PiperSynthesizer(models_dir, threads)
