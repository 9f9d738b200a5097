"""Which of onnxruntime's providers run a model, and what is said of it. There is no GPU here."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnxruntime
import pytest
from structlog.testing import capture_logs

from pipeline.engines import kokoro_onnx
from pipeline.engines.kokoro_onnx import KokoroOnnxSynthesizer
from pipeline.engines.onnx import CPU, CUDA, choose_providers, device_of


def test_without_onnxruntime_gpu_a_model_runs_on_the_cpu() -> None:
    assert choose_providers(["AzureExecutionProvider", CPU]) == (CPU,)


def test_with_it_cuda_comes_first_and_keeps_to_its_share() -> None:
    first, second = choose_providers([CUDA, CPU], memory_gib=2)
    assert first[0] == CUDA
    assert isinstance(first[1], dict)
    assert first[1]["gpu_mem_limit"] == 2 * 2**30
    assert second == CPU


@pytest.mark.parametrize(
    ("available", "running", "device"),
    [
        ([CPU], [CPU], "cpu"),
        ([CUDA, CPU], [CUDA, CPU], "cuda"),
        ([CUDA, CPU], [CPU], "cpu (no CUDA)"),
    ],
)
def test_it_says_where_a_model_runs_and_why(
    available: list[str], running: list[str], device: str
) -> None:
    named, why = device_of(available, running)
    assert named == device
    assert "onnxruntime" in why


@pytest.mark.models
async def test_kokoro_on_a_cuda_build_without_a_device_says_so_and_speaks_on_the_cpu(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As onnxruntime-gpu does where the driver is missing: CUDA is asked for, the CPU runs it."""
    asked: list[Any] = []
    load = kokoro_onnx.load_session

    def loading(model: bytes, *, threads: int, providers: Any) -> object:
        asked.append(providers)
        return load(model, threads=threads)

    monkeypatch.setattr(kokoro_onnx, "load_session", loading)
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [CUDA, CPU])
    engine = KokoroOnnxSynthesizer(models_dir, 2)
    with capture_logs() as lines:
        await engine.start()
    assert asked[0][0][0] == CUDA
    assert engine.info.device == "cpu (no CUDA)"
    assert any(line["event"] == "voice_device" and "does not load" in line["why"] for line in lines)
    await engine.close()
