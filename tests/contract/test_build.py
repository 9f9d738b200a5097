"""What the configuration asks for is what is built, and nothing else is even imported."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.config import EngineConfig
from pipeline.engines.build import build
from pipeline.errors import SettingsError

SCRIPTED = EngineConfig(
    models_dir=Path("nowhere"),
    stt_engine="scripted",
    tts_engine="scripted",
    llm_engine="scripted",
    vad_engine="scripted",
)


def test_a_scripted_server_is_scripted_throughout() -> None:
    engines = build(replace(SCRIPTED, tts_slots=3))
    listening = (engines.transcriber, engines.end_of_turn, engines.voice_activity)
    every = (*listening, *engines.synthesizers, engines.language_model)
    assert {engine.info.name for engine in every} == {"scripted"}
    assert len(set(map(id, engines.synthesizers))) == 3


def test_a_scripted_server_needs_no_model_runtime() -> None:
    program = f"""
import sys
from pathlib import Path, PosixPath
from pipeline.config import EngineConfig, ScriptConfig
from pipeline.engines.build import build
build({SCRIPTED!r})
heavy = {{"onnxruntime", "ctranslate2", "faster_whisper", "kokoro_onnx", "xllamacpp", "httpx"}}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_real_ears_come_without_a_model_being_loaded() -> None:
    engines = build(replace(SCRIPTED, stt_engine="auto", vad_engine="silero"))
    assert engines.transcriber.info.name == "faster-whisper"
    assert engines.voice_activity.info.name == "silero"
    assert engines.end_of_turn.info.name == "smart-turn"


def test_a_language_model_elsewhere_needs_an_address() -> None:
    with pytest.raises(SettingsError, match="ANTIPHON_LLM_BASE_URL"):
        build(replace(SCRIPTED, llm_engine="openai"))
