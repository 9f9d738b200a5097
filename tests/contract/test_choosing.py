"""What `auto` means depends on what is here, and it says why."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

from pipeline.config import EngineConfig
from pipeline.engines import choosing, g2p_east
from pipeline.engines.build import build
from pipeline.engines.choosing import choose_ear, choose_voice
from pipeline.engines.kokoro import FILES, MODEL
from pipeline.engines.whisper_folder import FILES as WHISPER_FILES


def packages(patch: pytest.MonkeyPatch, *, installed: bool, cuda: bool) -> None:
    torch = SimpleNamespace(cuda=SimpleNamespace(is_available=lambda: cuda))
    patch.setattr(choosing, "find_spec", lambda _: object() if installed else None)
    patch.setattr(choosing.importlib, "import_module", lambda _: torch)


def weights(folder: Path) -> Path:
    (folder / MODEL).mkdir()
    for name in FILES:
        (folder / MODEL / name).touch()
    return folder


def test_what_is_set_is_taken() -> None:
    assert choose_voice("piper", Path("nowhere")) == ("piper", "set by ANTIPHON_TTS_ENGINE")


@pytest.mark.parametrize(
    ("installed", "cuda", "engine", "why"),
    [
        (False, True, "kokoro-onnx", "not installed"),
        (True, False, "kokoro-onnx", "no CUDA device"),
        (True, True, "kokoro", "a CUDA device"),
    ],
)
def test_a_gpu_is_used_where_there_is_one(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    installed: bool,
    cuda: bool,
    engine: str,
    why: str,
) -> None:
    packages(monkeypatch, installed=installed, cuda=cuda)
    chosen, reason = choose_voice("auto", weights(tmp_path))
    assert chosen == engine
    assert why in reason


def test_without_weights_there_is_no_use_in_a_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packages(monkeypatch, installed=True, cuda=True)
    chosen, reason = choose_voice("auto", tmp_path)
    assert chosen == "kokoro-onnx"
    assert "no weights" in reason


def test_the_ear_is_the_one_that_is_set(tmp_path: Path) -> None:
    assert choose_ear("base", tmp_path) == ("base", "set by ANTIPHON_STT_MODEL")


@pytest.mark.parametrize(
    ("there", "devices", "model", "why"),
    [
        (False, 1, "tiny.en", "there is no large-v3-turbo"),
        (True, 0, "tiny.en", "there is no CUDA device"),
        (True, 1, "large-v3-turbo", "a CUDA device and large-v3-turbo"),
    ],
)
def test_the_large_ear_is_for_a_cuda_device(
    there: bool,
    devices: int,
    model: str,
    why: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "whisper-large-v3-turbo"
    folder.mkdir()
    for name in ("model.bin", "config.json", "tokenizer.json"):
        if there:
            (folder / name).touch()
    monkeypatch.setattr("ctranslate2.get_cuda_device_count", lambda: devices)
    chosen, reason = choose_ear("auto", tmp_path)
    assert chosen == model
    assert why in reason


def test_what_another_language_takes_is_known_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a client is told whose language is not understood, or not spoken."""
    monkeypatch.setattr(g2p_east, "is_here", lambda language: language != "ja")
    config = EngineConfig(
        tmp_path, stt_model="tiny.en", tts_engine="kokoro-onnx", llm_engine="scripted"
    )
    engines = build(config)
    assert "ANTIPHON_STT_OTHER_MODEL=base" in engines.ear.lacks
    assert "antiphon models pull whisper-base" in engines.ear.lacks
    assert engines.voice.lacks == "for ja: `make setup EXTRAS=languages`"
    monkeypatch.setattr(g2p_east, "is_here", lambda _: True)
    other = tmp_path / "whisper-other"
    other.mkdir()
    for name in WHISPER_FILES:
        (other / name).write_text("{}")
    engines = build(replace(config, stt_other_model="other"))
    assert engines.ear.lacks == engines.voice.lacks == ""
