"""What the edge's settings become for the pipeline: plain, frozen, already validated."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Which engines to build, and how. `pipeline.engines.build.build(config)` reads it."""

    models_dir: Path
    stt_engine: Literal["auto", "faster-whisper", "scripted"] = "auto"
    stt_model: str = "tiny.en"
    stt_slots: int = 1
    stt_threads: int = 2
    tts_engine: Literal["auto", "kokoro-onnx", "piper", "scripted"] = "auto"
    tts_slots: int = 1
    """The most instances of the synthesizer; each voices one clause at a time."""
    tts_slots_least: int = 1
    """Those that are there from the start."""
    tts_threads: int = 2
    """CPU threads of an instance that is alone; one of several gets its share of the cores."""
    llm_engine: Literal["auto", "openai", "llama-cpp", "scripted"] = "auto"
    llm_base_url: str = ""
    llm_model: str = ""
    llm_api_key: str = ""
    llm_slots: int = 8
    llm_threads: int = 2
    vad_engine: Literal["silero", "scripted"] = "silero"
    script: ScriptConfig = field(default_factory=lambda: ScriptConfig())


@dataclass(frozen=True, slots=True)
class ScriptConfig:
    """How the scripted engines behave: for tests and load runs only."""

    stt_text: str = "this is a scripted transcript"
    stt_s: float = 0.02
    llm_text: str = "This is a scripted reply. It has two sentences."
    llm_first_token_s: float = 0.02
    llm_tokens_per_s: float = 200.0
    tts_first_s: float = 0.02
    """Time to a clause's first chunk."""
    tts_rtf: float = 0.05
    """Seconds of work per second of audio after the first chunk."""
    tts_s_per_char: float = 0.06
    """Audio seconds per character: about a person's speaking rate."""


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """Bounds of the pool."""

    max_waiting: int = 256
    """Requests that may wait for one kind of slot; one more is refused with `AtCapacity`."""
    max_waiting_per_owner: int = 16
    """Of these, requests of one session's; one more is refused with `RateLimited`."""
    max_wait_s: float = 20.0
    """The longest wait for a slot; past it the request fails with `PoolTimeout`."""
