"""From the configuration to engines: the one place that names the concrete ones.

An engine's runtime is imported only in the branch that chose it, so that a scripted server needs
none of them.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pipeline import cores
from pipeline.config import EngineConfig
from pipeline.engines import g2p_east
from pipeline.engines.choosing import choose_ear, choose_voice
from pipeline.engines.engine_set import Engines, Makers
from pipeline.engines.ports import (
    Choice,
    EndOfTurnModel,
    LanguageModel,
    Synthesizer,
    Transcriber,
    VoiceActivityModel,
)
from pipeline.errors import SettingsError

if TYPE_CHECKING:
    from pipeline.engines.ray_plan import Part


def build(config: EngineConfig) -> Engines:
    """Construct the chosen engines; cheap. Raises `SettingsError` for a choice that cannot be."""
    if config.ray is not None:
        return _on_ray(config)
    chosen_voice = _voice_choice(config)
    config = replace(config, tts_engine=choose_voice(config.tts_engine, config.models_dir)[0])
    return Engines(
        chosen_voice=chosen_voice,
        chosen_ear=_ear_choice(config),
        transcriber=_transcriber(config),
        end_of_turn=_end_of_turn(config),
        voice_activity=_voice_activity(config),
        synthesizers=tuple(_synthesizer(config, number) for number in range(_at_start(config))),
        language_model=_language_model(config),
        makers=Makers(
            transcriber=lambda others: _transcriber(config, others),
            end_of_turn=lambda: _end_of_turn(config),
            synthesizer=lambda others: _synthesizer(config, others),
            language_model=None if _is_elsewhere(config) else lambda: _language_model(config),
            voice_activity=lambda: _voice_activity(config),
        ),
    )


def _on_ray(config: EngineConfig) -> Engines:
    """The speech engines in replicas. There is never another of one: Serve has the replicas."""
    from pipeline.engines.ray_serve import on_ray

    ear, end_of_turn, synthesizer = on_ray(config, ray_parts(config))
    transcriber: Transcriber = ear
    if config.stt_engine == "realtimestt":
        from pipeline.engines.realtimestt import RealtimeSttElsewhere

        transcriber = RealtimeSttElsewhere(config.models_dir, ear, config.stt_slots)
    return Engines(
        transcriber=transcriber,
        end_of_turn=end_of_turn,
        voice_activity=_voice_activity(config),
        synthesizers=(synthesizer,),
        language_model=_language_model(config),
        makers=Makers(
            language_model=None if _is_elsewhere(config) else lambda: _language_model(config),
            voice_activity=lambda: _voice_activity(config),
        ),
    )


def ray_parts(config: EngineConfig) -> tuple[Part, ...]:
    """What a cluster of our own runs; a replica is told no secret that it does not need.

    One engine is in each replica, and has what is set of memory for itself. Recorders belong to
    sessions, which are in the gateway: the model that they share is what a replica has.
    """
    from pipeline.engines.ray_plan import Part

    assert config.ray is not None
    ray = config.ray
    inner = replace(
        config, ray=None, llm_api_key="", stt_instances=1,
        stt_engine="faster-whisper" if config.stt_engine == "realtimestt" else config.stt_engine,
    )  # fmt: skip
    common: dict[str, Any] = {
        "config": inner, "hang_s": ray.hang_s, "wait_s": ray.wait_s, "check_s": ray.check_s,
    }  # fmt: skip
    return (
        Part(
            "stt", _transcriber, choice=_ear_choice, seats=config.stt_slots, least=ray.stt_least,
            most=ray.stt_replicas, gpus=ray.stt_gpus, cpus=ray.stt_cpus, **common,
        ),
        Part(
            "eot", _end_of_turn, least=ray.eot_least, most=ray.eot_replicas, gpus=ray.eot_gpus,
            cpus=ray.eot_cpus, **common,
        ),
        Part(
            "tts", _lone_synthesizer, choice=_voice_choice, least=ray.tts_least,
            most=ray.tts_replicas, gpus=ray.tts_gpus, cpus=ray.tts_cpus, **common,
        ),
    )  # fmt: skip


def _lone_synthesizer(config: EngineConfig) -> Synthesizer:
    """The one of a replica: what `auto` means is found out where it runs."""
    voice, _ = choose_voice(config.tts_engine, config.models_dir)
    slots = config.tts_slots if voice == "kokoro" else 1
    return _synthesizer(replace(config, tts_engine=voice, tts_slots=slots), 0, same=True)


def _at_start(config: EngineConfig) -> int:
    """How many synthesizers begin. Scripted ones cost nothing, so a load test has all of them."""
    if config.tts_engine == "scripted":
        return config.tts_slots
    if config.tts_engine == "kokoro":  # one instance batches them all
        return 1
    return min(config.tts_slots_least, config.tts_slots)


def _threads(config: EngineConfig, others: int) -> int:
    """Threads of one synthesizer beside so many others.

    The first one has all that a lone caller can use. Each further one has its share of the cores:
    on two cores a second one with one thread brings as much as two with one each (5.2 audio-seconds
    a second, the first alone 4.8; docs/decisions/0007-who-goes-next.md).
    """
    if not others:
        return config.tts_threads
    return _share(config.tts_threads, max(config.tts_slots, others + 1))


def _share(threads: int, of: int) -> int:
    """Threads of one of so many calls that may be at work at once."""
    return max(1, min(threads, cores.usable() // of))


def _transcriber(config: EngineConfig, others: int = 0) -> Transcriber:
    threads = config.stt_threads
    if others:
        threads = _share(threads, config.stt_slots * max(config.stt_instances, others + 1))
    match config.stt_engine:
        case "scripted":
            from pipeline.engines.scripted import ScriptedTranscriber

            return ScriptedTranscriber(config.script)
        case "auto" | "faster-whisper":
            return _whisper(config, threads)
        case "realtimestt":
            from pipeline.engines.realtimestt import RealtimeSttTranscriber

            return RealtimeSttTranscriber(config.models_dir, _whisper(config, threads))


def _whisper(config: EngineConfig, threads: int) -> Transcriber:
    """One model, and a second one for other languages if the first has only its own."""
    from pipeline.engines.faster_whisper import FasterWhisperTranscriber
    from pipeline.engines.whisper_folder import is_here, languages_in, whisper_folder

    model, _ = choose_ear(config.stt_model, config.models_dir)
    other = config.stt_other_model
    two = model.endswith(".en") and other and is_here(config.models_dir, other)
    memory_gib = config.stt_gpu_memory / (config.stt_instances * (2 if two else 1))

    def whisper(model: str) -> FasterWhisperTranscriber:
        return FasterWhisperTranscriber(
            config.models_dir, model, config.stt_slots, threads, config.stt_batch, memory_gib
        )

    if not two:
        return whisper(model)
    from pipeline.engines.polyglot import PolyglotTranscriber

    others = languages_in(whisper_folder(config.models_dir, other))
    return PolyglotTranscriber(whisper(model), lambda: whisper(other), others, config.stt_unload_s)


def _ear_choice(config: EngineConfig) -> Choice:
    if config.stt_engine == "scripted":
        return Choice("set by ANTIPHON_STT_ENGINE")
    from pipeline.engines.whisper_folder import is_here

    model, why = choose_ear(config.stt_model, config.models_dir)
    other = config.stt_other_model or "base"
    if not model.endswith(".en") or (config.stt_other_model and is_here(config.models_dir, other)):
        return Choice(why)
    return Choice(
        why, f"it takes ANTIPHON_STT_OTHER_MODEL={other} and `antiphon models pull whisper-{other}`"
    )


def _voice_choice(config: EngineConfig) -> Choice:
    voice, why = choose_voice(config.tts_engine, config.models_dir)
    if voice not in ("kokoro", "kokoro-onnx"):
        return Choice(why)
    lacking = [language for language in g2p_east.PACKAGES if not g2p_east.is_here(language)]
    extra = f"for {' and '.join(lacking)}: `make setup EXTRAS=languages`" if lacking else ""
    return Choice(why, extra)


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


def _synthesizer(config: EngineConfig, others: int, *, same: bool = False) -> Synthesizer:
    """`same`: a clause that another one began may be voiced again, and goes on from there."""
    match config.tts_engine:
        case "scripted":
            from pipeline.engines.scripted import ScriptedSynthesizer

            return ScriptedSynthesizer(config.script)
        case "auto" | "kokoro-onnx":
            from pipeline.engines.kokoro_onnx import KokoroOnnxSynthesizer

            return KokoroOnnxSynthesizer(
                config.models_dir, _threads(config, others),
                config.tts_gpu_memory / max(config.tts_slots, others + 1), config.tts_unload_s,
            )  # fmt: skip
        case "kokoro":
            from pipeline.engines.kokoro import KokoroSynthesizer

            return KokoroSynthesizer(
                config.models_dir, config.tts_slots, config.tts_threads, config.tts_gpu_memory,
                config.tts_unload_s,
            )  # fmt: skip
        case "piper":
            from pipeline.engines.piper import PiperSynthesizer

            return PiperSynthesizer(
                config.models_dir, _threads(config, others), same=same, unload_s=config.tts_unload_s
            )


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
