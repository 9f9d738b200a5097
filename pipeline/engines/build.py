"""From the configuration to engines: the one place that names the concrete ones.

An engine's runtime is imported only in the branch that chose it, so that a scripted server needs
none of them.
"""

from __future__ import annotations

from dataclasses import dataclass

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
class Engines:
    """What a server listens, thinks and speaks with. Nothing is loaded until each is started."""

    transcriber: Transcriber
    end_of_turn: EndOfTurnModel
    voice_activity: VoiceActivityModel
    synthesizers: tuple[Synthesizer, ...]
    """One a slot."""
    language_model: LanguageModel


def build(config: EngineConfig) -> Engines:
    """Construct the chosen engines; cheap. Raises `SettingsError` for a choice that cannot be."""
    return Engines(
        transcriber=_transcriber(config),
        end_of_turn=_end_of_turn(config),
        voice_activity=_voice_activity(config),
        synthesizers=tuple(_synthesizer(config) for _ in range(config.tts_slots)),
        language_model=_language_model(config),
    )


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


def _synthesizer(config: EngineConfig) -> Synthesizer:
    match config.tts_engine:
        case "scripted":
            from pipeline.engines.scripted import ScriptedSynthesizer

            return ScriptedSynthesizer(config.script)
        case "auto" | "kokoro-onnx":
            from pipeline.engines.kokoro_onnx import KokoroOnnxSynthesizer

            return KokoroOnnxSynthesizer(config.models_dir, config.tts_threads)
        case "piper":
            from pipeline.engines.piper import PiperSynthesizer

            return PiperSynthesizer(config.models_dir, config.tts_threads)


def _language_model(config: EngineConfig) -> LanguageModel:
    match config.llm_engine:
        case "scripted":
            from pipeline.engines.scripted import ScriptedLanguageModel

            return ScriptedLanguageModel(config.script)
        case "openai":
            return _openai(config)
        case "auto" if config.llm_base_urls:
            return _openai(config)
        case "auto" | "llama-cpp":
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
