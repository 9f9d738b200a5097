"""From the configuration to engines: the one place that names the concrete ones.

An engine's runtime is imported only in the branch that chose it, so that a scripted server needs
none of them.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field

from pipeline.config import EngineConfig
from pipeline.engines.ports import (
    EndOfTurnModel,
    LanguageModel,
    Synthesizer,
    Transcriber,
    VoiceActivityModel,
)
from pipeline.errors import SettingsError


@dataclass(frozen=True, slots=True)
class Makers:
    """One more of a kind, not started: beside others that wait too long, or for one that failed.

    None: there is never another.
    """

    transcriber: Callable[[], Transcriber] | None = None
    end_of_turn: Callable[[], EndOfTurnModel] | None = None
    synthesizer: Callable[[int], Synthesizer] | None = None
    """It is told how many it will stand beside, and takes its share of the cores."""
    language_model: Callable[[], LanguageModel] | None = None
    """None where it runs elsewhere: what fails there is a backend, and it answers for itself."""


@dataclass(frozen=True, slots=True)
class Engines:
    """What a server listens, thinks and speaks with. Nothing is loaded until each is started."""

    transcriber: Transcriber
    end_of_turn: EndOfTurnModel
    voice_activity: VoiceActivityModel
    synthesizers: tuple[Synthesizer, ...]
    """Those that are there from the start."""
    language_model: LanguageModel
    makers: Makers = field(default_factory=Makers)


def build(config: EngineConfig) -> Engines:
    """Construct the chosen engines; cheap. Raises `SettingsError` for a choice that cannot be."""
    return Engines(
        transcriber=_transcriber(config),
        end_of_turn=_end_of_turn(config),
        voice_activity=_voice_activity(config),
        synthesizers=tuple(_synthesizer(config, number) for number in range(_at_start(config))),
        language_model=_language_model(config),
        makers=Makers(
            transcriber=lambda: _transcriber(config),
            end_of_turn=lambda: _end_of_turn(config),
            synthesizer=lambda others: _synthesizer(config, others),
            language_model=None if _is_elsewhere(config) else lambda: _language_model(config),
        ),
    )


def _at_start(config: EngineConfig) -> int:
    """How many synthesizers begin. Scripted ones cost nothing, so a load test has all of them."""
    if config.tts_engine == "scripted":
        return config.tts_slots
    return min(config.tts_slots_least, config.tts_slots)


def _threads(config: EngineConfig, others: int) -> int:
    """Threads of one synthesizer beside so many others.

    The first one has all that a lone caller can use. Each further one has its share of the cores:
    on two cores a second one with one thread brings as much as two with one each (5.2 audio-seconds
    a second, the first alone 4.8; docs/decisions/0007-who-goes-next.md).
    """
    if not others:
        return config.tts_threads
    share = (os.cpu_count() or 2) // max(config.tts_slots, others + 1)
    return max(1, min(config.tts_threads, share))


def _transcriber(config: EngineConfig) -> Transcriber:
    match config.stt_engine:
        case "scripted":
            from pipeline.engines.scripted import ScriptedTranscriber

            return ScriptedTranscriber(config.script)
        case "auto" | "faster-whisper":
            from pipeline.engines.faster_whisper import FasterWhisperTranscriber

            return FasterWhisperTranscriber(
                config.models_dir, config.stt_model, config.stt_slots, config.stt_threads
            )


def _end_of_turn(config: EngineConfig) -> EndOfTurnModel:
    match config.vad_engine:
        case "scripted":
            from pipeline.engines.scripted import ScriptedEndOfTurn

            return ScriptedEndOfTurn(config.script)
        case "silero":
            from pipeline.engines.smart_turn import SmartTurnModel

            return SmartTurnModel(config.models_dir)


def _voice_activity(config: EngineConfig) -> VoiceActivityModel:
    match config.vad_engine:
        case "scripted":
            from pipeline.engines.scripted import ScriptedVoiceActivity

            return ScriptedVoiceActivity(config.script)
        case "silero":
            from pipeline.engines.silero import SileroVoiceActivity

            return SileroVoiceActivity(config.models_dir)


def _synthesizer(config: EngineConfig, others: int) -> Synthesizer:
    match config.tts_engine:
        case "scripted":
            from pipeline.engines.scripted import ScriptedSynthesizer

            return ScriptedSynthesizer(config.script)
        case "auto" | "kokoro-onnx":
            from pipeline.engines.kokoro_onnx import KokoroOnnxSynthesizer

            return KokoroOnnxSynthesizer(config.models_dir, _threads(config, others))
        case "piper":
            from pipeline.engines.piper import PiperSynthesizer

            return PiperSynthesizer(config.models_dir, _threads(config, others))


def _is_elsewhere(config: EngineConfig) -> bool:
    """Whether replies come from backends behind URLs."""
    by_url = config.llm_engine == "auto" and bool(config.llm_base_urls)
    return by_url or config.llm_engine == "openai"


def _language_model(config: EngineConfig) -> LanguageModel:
    match config.llm_engine:
        case "scripted":
            from pipeline.engines.scripted import ScriptedLanguageModel

            return ScriptedLanguageModel(config.script)
        case "auto" | "openai" if _is_elsewhere(config):
            return _openai(config)
        case _:
            from pipeline.engines.llama_cpp import LlamaCppLanguageModel

            return LlamaCppLanguageModel(config.models_dir, config.llm_slots, config.llm_threads)


def _openai(config: EngineConfig) -> LanguageModel:
    urls = config.llm_base_urls
    if not urls:
        raise SettingsError(
            "ANTIPHON_LLM_ENGINE=openai needs ANTIPHON_LLM_BASE_URL, such as http://localhost:8080/v1"
        )
    from pipeline.engines.llm_fleet import LanguageModelFleet
    from pipeline.engines.openai_llm import OpenAILanguageModel

    backends = [
        OpenAILanguageModel(url, config.llm_model, config.llm_api_key, gap_s=config.llm_gap_s)
        for url in urls
    ]
    return LanguageModelFleet(backends, config.llm_slots, first_token_s=config.llm_first_token_s)
