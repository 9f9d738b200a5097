"""The server that a benchmark starts for itself."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pytest

from benchmarks import serving


def test_no_benchmark_is_answered_from_the_speech_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    environs: list[Mapping[str, str]] = []

    @contextmanager
    def process(_: Sequence[str], __: str, environ: Mapping[str, str]) -> Iterator[int]:
        environs.append({**os.environ, **environ})  # as a real one gets them
        yield 1

    monkeypatch.setenv("ANTIPHON_SPEECH_CACHE_MB", "100")
    monkeypatch.setattr(serving, "process", process)
    with serving.running(), serving.serving(tts_engine="piper"):
        pass
    assert [each["ANTIPHON_SPEECH_CACHE_MB"] for each in environs] == ["0", "0"]
    assert environs[1]["ANTIPHON_TTS_ENGINE"] == "piper"
