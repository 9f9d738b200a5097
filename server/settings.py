"""Settings: every ANTIPHON_* variable, its type, its range, its default and what it is for.

Read once at start from the environment and a `.env` file; a wrong value stops the start with one
line that names the variable and what it takes. `antiphon serve --help` prints this same table.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline.config import EngineConfig, PoolConfig
from pipeline.errors import SettingsError
from pipeline.models import default_models_dir
from session.apologies import read_apologies
from session.budgets import Allowance
from session.records import SessionConfig

PREFIX = "ANTIPHON_"
ALIASES = {"MAX_CONCURRENT_GENERATIONS": "ANTIPHON_TTS_SLOTS"}
"""Old names that are still read."""

LATER = frozenset(
    PREFIX + name
    for name in (
        "DATA_DIR", "RESUME_S", "AUTH_SECRET",
        "AUTH_JWKS_URL", "CLUSTER", "RAY_ADDRESS", "REDIS_URL",
    )
)  # fmt: skip
"""Names that are set aside for what is still to come. Taking one silently would be a lie: whoever
sets a secret must not run an open server.
"""

# Short, and without a word of what not to do: a small model speaks of what it reads.
DEFAULT_PROMPT = (
    "You are Antiphon, a friendly voice assistant. Answer in one or two short, plain sentences."
)
DEFAULT_APOLOGY = "Sorry, I cannot answer just now. Please try again."
CORES = os.cpu_count() or 2


class Settings(BaseModel):
    """What an operator may set. Frozen; made by `load`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # --- server
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65_535, description="port to listen on; 0: any free one")
    allowed_origins: tuple[str, ...] = Field(
        (), description="origins (comma-separated, or *) whose pages may connect, besides our own"
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="how much to log; what people say is never logged above debug"
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else json"
    )
    models_dir: Path = Field(
        default_factory=default_models_dir, description="where models are kept, for all checkouts"
    )

    # --- sessions
    max_sessions: int = Field(32, ge=1, le=10_000, description="sessions at once")
    waiting_room: int = Field(
        16, ge=0, le=10_000, description="those who may wait for a place; 0: a full house refuses"
    )
    turns_per_minute: float = Field(
        60, ge=1, le=10_000, description="turns of one session; a minute's worth may come at once"
    )
    characters_per_minute: float = Field(
        100_000, ge=100, le=100_000_000,
        description="characters of typed turns and instructions, likewise",
    )  # fmt: skip
    max_requests: int = Field(
        256,
        ge=1,
        le=10_000,
        description="requests for speech over HTTP at once, those that wait too",
    )
    system_prompt: str = Field(
        DEFAULT_PROMPT, max_length=20_000, description="instructions of a session that brings none"
    )
    greeting: str = Field("", max_length=1_000, description="spoken when a session starts")
    apology: str = Field(
        DEFAULT_APOLOGY, max_length=2_000,
        description="spoken when the language model gives no answer; empty: nothing is. Sentences"
        " for other languages may follow, as in `Sorry.; de=Verzeihung.`",
    )  # fmt: skip
    send_ahead_ms: int = Field(
        1_000, ge=100, le=10_000, description="how far audio is sent ahead of its playback"
    )
    idle_s: float = Field(
        600, ge=5, le=86_400, description="a session in which nothing happens ends after so long"
    )
    drain_s: float = Field(
        30, ge=0, le=600, description="on SIGTERM, replies may go on for so long"
    )
    history_tokens: int = Field(
        1_000, ge=100, le=1_000_000, description="history that the language model gets to see"
    )
    reply_tokens: int = Field(200, ge=1, le=4_096, description="the longest reply")
    record_dir: Path | None = Field(
        None,
        description="a folder for records of sessions, for `antiphon replay`: what is said is in"
        " them, as words; empty: none are kept",
    )
    pool_wait_s: float = Field(
        20, gt=0, le=600, description="the longest wait for an engine; past it: TIMEOUT"
    )

    # --- engines
    stt_engine: Literal["auto", "faster-whisper", "scripted"] = Field(
        "auto", description="speech to text"
    )
    stt_model: str = Field("tiny.en", description="the recogniser's model")
    stt_slots: int = Field(1, ge=1, le=64, description="windows transcribed at once")
    stt_threads: int = Field(
        max(1, min(2, CORES // 2)), ge=1, le=64, description="CPU threads of each"
    )
    tts_engine: Literal["auto", "kokoro-onnx", "piper", "scripted"] = Field(
        "auto", description="text to speech"
    )
    tts_voice: str = Field("", description="the default voice; empty: af_heart, or the first one")
    tts_slots: int = Field(
        1, ge=1, le=64,
        description="the most synthesizer instances (also read from MAX_CONCURRENT_GENERATIONS)",
    )  # fmt: skip
    tts_slots_least: int = Field(
        1, ge=1, le=64,
        description="instances there always are; more are made, up to the most, while requests wait"
    )  # fmt: skip
    speech_characters: int = Field(
        100_000, ge=1, le=10_000_000,
        description="the longest text of one request for speech over HTTP (OpenAI's limit: 4096)",
    )  # fmt: skip
    speech_cache_mb: int = Field(
        0, ge=0, le=100_000,
        description="memory for short texts that are asked for over HTTP again and again; 0: none",
    )  # fmt: skip
    transcription_mb: float = Field(
        25, gt=0, le=10_000, description="the largest file of one request for a transcription"
    )
    transcription_minutes: float = Field(
        240, gt=0, le=10_000, description="the longest recording of one, whatever its file's size"
    )
    tts_threads: int = Field(min(2, CORES), ge=1, le=64, description="CPU threads of each")
    llm_engine: Literal["auto", "openai", "llama-cpp", "scripted"] = Field(
        "auto", description="language model; auto: openai if a URL is set, else llama-cpp"
    )
    llm_base_url: str = Field(
        "", description="OpenAI-compatible URLs, one or several (comma-separated): http://host/v1"
    )
    llm_model: str = Field("", description="the model to ask for; empty: the first one there is")
    llm_api_key: str = Field("", description="sent as a bearer token", repr=False)
    llm_slots: int = Field(8, ge=1, le=1_024, description="replies generated at once")
    llm_first_token_s: float = Field(
        10, gt=0, le=300,
        description="the longest wait for a reply's first token from a URL, all tries together",
    )  # fmt: skip
    llm_gap_s: float = Field(
        5, gt=0, le=300, description="a reply in which no token comes for so long has failed"
    )
    llm_threads: int = Field(
        max(1, CORES // 2), ge=1, le=64,
        description="CPU threads of an in-process model; as many as cores would starve the speech",
    )  # fmt: skip
    vad_engine: Literal["silero", "scripted"] = Field("silero", description="voice activity")
    engine_hang_s: float = Field(
        30, gt=0, le=600,
        description="engines in this process: without a sign of life for so long a call has failed,"
        " and its instance is replaced, once; see /readyz",
    )  # fmt: skip

    # --- security
    admin_token: str = Field(
        "", description="bearer token of the admin routes; empty: loopback only", repr=False
    )

    def engine_config(self) -> EngineConfig:
        """What the engines need to know."""
        return EngineConfig(
            models_dir=self.models_dir.expanduser(),
            **{
                name: getattr(self, name)
                for name in EngineConfig.__dataclass_fields__
                if name in type(self).model_fields and name != "models_dir"
            },
        )

    def pool_config(self) -> PoolConfig:
        """What the pool needs to know."""
        return PoolConfig(max_wait_s=self.pool_wait_s)

    def allowance(self) -> Allowance:
        """What one user may spend."""
        return Allowance(self.turns_per_minute, self.characters_per_minute)

    def _stuck_s(self) -> float:
        """Longer than all that may come before the next sign of a reply: a wait for each of two
        engines, or for one that then takes as long as it may; and some."""
        slowest_s = max(self.engine_hang_s, self.llm_first_token_s, self.llm_gap_s)
        return max(60.0, 2 * self.pool_wait_s + 20, self.pool_wait_s + slowest_s + 10)

    def session_config(self) -> SessionConfig:
        """What every session needs to know."""
        return SessionConfig(
            send_ahead_s=self.send_ahead_ms / 1000,
            greeting=self.greeting,
            apologies=read_apologies(self.apology),
            idle_s=self.idle_s,
            stuck_s=self._stuck_s(),
            history_tokens=self.history_tokens,
            reply_tokens=self.reply_tokens,
            record_dir=self.record_dir,
        )


def load(
    environ: Mapping[str, str] | None = None,
    *,
    env_file: Path | None = Path(".env"),
    **overrides: object,
) -> Settings:
    """Read the settings. `overrides` (from the command line) win; None leaves a setting alone.

    Raises `SettingsError` with one line that names the variable and what it takes.
    """
    variables: dict[str, str] = {}
    if env_file is not None and env_file.is_file():
        variables.update((k, v) for k, v in dotenv_values(env_file).items() if v is not None)
    variables.update(os.environ if environ is None else environ)
    values: dict[str, Any] = {}
    for name, value in variables.items():
        name = ALIASES.get(name, name) if ALIASES.get(name) not in variables else name
        if name.startswith(PREFIX):
            field = name.removeprefix(PREFIX).lower()
            if name in LATER:
                raise SettingsError(f"{name} is for what this version cannot do yet; unset it")
            if field not in Settings.model_fields:
                raise SettingsError(f"{name} is not a setting; `antiphon serve --help` lists all")
            if value != "" or isinstance(Settings.model_fields[field].default, str):
                values[field] = _split(value) if field == "allowed_origins" else value
    values.update({name: value for name, value in overrides.items() if value is not None})
    try:
        return Settings(**values)
    except ValidationError as error:
        first = error.errors()[0]
        field = str(first["loc"][0])
        raise SettingsError(
            f"{PREFIX}{field.upper()}={values.get(field)!r}: {_sentence(first['msg'])} "
            f"({Settings.model_fields[field].description})"
        ) from None


def _split(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in value.split(",") if part.strip())


def _sentence(message: str) -> str:
    return message[0].lower() + message[1:]


def describe() -> Iterator[tuple[str, str, str]]:
    """Every setting: its variable, its default, and what it is for."""
    for name, field in Settings.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "none" if default in ("", ()) else str(default)
        yield PREFIX + name.upper(), shown, field.description or ""
