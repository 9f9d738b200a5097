"""What the edge's settings become for the pipeline: plain, frozen, already validated."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Which engines to build, and how. `pipeline.engines.build.build(config)` reads it."""

    models_dir: Path
    stt_engine: Literal["auto", "faster-whisper", "realtimestt", "scripted"] = "auto"
    stt_model: str = "auto"
    stt_gpu_memory: float = 0
    """GiB of the device's memory that the recogniser may take, all instances and both models
    together; 0: all of it."""
    stt_batch: int = 0
    """Windows in one batch at most; 0: as the device has it (none on a CPU)."""
    stt_other_model: str = "base"
    """For languages that `stt_model` does not know; loaded when first needed, if it is there."""
    stt_unload_s: float = 0
    """That one is freed when it has not been needed for so long; 0: never."""
    stt_slots: int = 1
    """Windows that one instance of the recogniser takes at once."""
    stt_instances: int = 1
    """The most there may be."""
    stt_threads: int = 2
    """CPU threads a window of an instance that is alone; one of several gets its share of the
    cores."""
    tts_engine: Literal["auto", "kokoro-onnx", "kokoro", "piper", "scripted"] = "auto"
    tts_slots: int = 1
    """The most instances of the synthesizer; each voices one clause at a time."""
    tts_slots_least: int = 1
    """Those that are there from the start."""
    tts_threads: int = 2
    """CPU threads of an instance that is alone; one of several gets its share of the cores."""
    tts_gpu_memory: float = 0
    """GiB of the device's memory that the synthesizers may take together; 0: all of it."""
    tts_unload_s: float = 0
    """Voices that were not needed for so long are freed, but for Piper's first; 0: never."""
    llm_engine: Literal["auto", "openai", "llama-cpp", "scripted"] = "auto"
    llm_base_url: str = ""
    """One or several, comma-separated."""
    llm_model: str = ""
    llm_api_key: str = ""
    llm_slots: int = 8
    llm_threads: int = 2
    llm_first_token_s: float = 10.0
    """Of a backend elsewhere; all tries together."""
    llm_gap_s: float = 5.0
    vad_engine: Literal["silero", "scripted"] = "silero"
    ray: RayConfig | None = None
    """Where the speech engines run, if not in this process."""
    script: ScriptConfig = field(default_factory=lambda: ScriptConfig())

    @property
    def llm_base_urls(self) -> tuple[str, ...]:
        """Each of the backends, once."""
        urls = (url.strip() for url in self.llm_base_url.split(","))
        return tuple(dict.fromkeys(url for url in urls if url))


@dataclass(frozen=True, slots=True)
class RayConfig:
    """The speech engines on Ray Serve. With an address only what a gateway needs counts; how many
    replicas there are, and of what, is the cluster's."""

    address: str = ""
    """Of a cluster; empty: one is started on this machine."""
    stt_replicas: int = 1
    """The most there may be; `least` are there from the start. So for the others."""
    stt_least: int = 1
    stt_gpus: float = 0.0
    """Of each replica; without one it runs on the CPU."""
    stt_cpus: float = 0.0
    """For placing it; 0: anywhere."""
    tts_replicas: int = 1
    tts_least: int = 1
    tts_gpus: float = 0.0
    tts_cpus: float = 0.0
    eot_replicas: int = 1
    eot_least: int = 1
    eot_gpus: float = 0.0
    eot_cpus: float = 0.0
    hang_s: float = 30.0
    """A call without a sign of life for so long has failed."""
    wait_s: float = 20.0
    """The longest wait for the first result."""
    check_s: float = 5.0
    """So often a replica's health is asked for; three failures in a row, and it is killed."""
    failover_s: float = 2.0
    """What a lost replica's call must have gone on by."""


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
    tts_chunk_s: float = 0.1
    """Audio seconds of a chunk. Kokoro and Piper give a clause in one."""
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
