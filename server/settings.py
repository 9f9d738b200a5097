"""Settings: every ANTIPHON_* variable, its type, its range, its default and what it is for.

Read once at start from the environment and a `.env` file; a wrong value stops the start with one
line that names the variable and what it takes. `antiphon serve --help` prints this same table, see
`settings_help.py`; how variables are read stands in `settings_source.py`, which values do not go
together in `settings_rules.py`, what each part of the server makes of them in `configs.py`.
"""

from __future__ import annotations

import ipaddress
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from pipeline import cores
from pipeline.models import default_models_dir
from server.settings_rules import check
from server.settings_source import read, told

# Short, and without a word of what not to do: a small model speaks of what it reads.
DEFAULT_PROMPT = (
    "You are Antiphon, a friendly voice assistant. Answer in one or two short, plain sentences."
)
DEFAULT_APOLOGY = "Sorry, I cannot answer just now. Please try again."
CORES = cores.usable()


def default_data_dir() -> Path:
    """Where a user's programs keep what they must not lose (XDG Base Directory Specification)."""
    base = os.environ.get("XDG_DATA_HOME") or "~/.local/share"
    return Path(base).expanduser() / "antiphon"


class Settings(BaseModel):
    """What an operator may set. Frozen; made by `load`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    # --- server
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65_535, description="port to listen on; 0: any free one")
    allowed_origins: tuple[str, ...] = Field(
        (), description="origins (comma-separated, or *) whose pages may connect, besides our own"
    )
    allowed_hosts: tuple[str, ...] = Field(
        (),
        description="names (comma-separated, without a port) by which this server is addressed,"
        " besides localhost; none: any, but on loopback a page of another name is not our own",
    )
    page: bool = Field(
        True, description="the voice chat page at /; the admin page is there without it too"
    )
    realtime: bool = Field(True, description="the OpenAI Realtime API at /v1/realtime")
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="how much to log; what people say is never logged above debug"
    )
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="auto: console on a terminal, else json"
    )
    models_dir: Path = Field(
        default_factory=default_models_dir, description="where models are kept, for all checkouts"
    )

    data_dir: Path = Field(
        default_factory=default_data_dir,
        description="where sessions and the audit are kept; servers on one machine may share it",
    )

    # --- sessions
    max_sessions: int = Field(32, ge=1, le=10_000, description="sessions at once")
    waiting_room: int = Field(
        16,
        ge=0,
        le=10_000,
        description="newcomers who may wait for a place; 0: a full house refuses them",
    )
    turns_per_minute: float = Field(
        60, ge=1, le=10_000,
        description="turns of one user; a minute's worth may come at once. Without authentication"
        " each session is a user of its own, and each request over HTTP",
    )  # fmt: skip
    characters_per_minute: float = Field(
        100_000, ge=100, le=100_000_000,
        description="characters of its typed turns, instructions and texts to be spoken, likewise",
    )  # fmt: skip
    audio_s_per_minute: float = Field(
        480, ge=1, le=100_000, description="seconds of audio of its microphones and files, likewise"
    )
    sessions_per_user: int = Field(
        8, ge=1, le=10_000,
        description="sessions of one user at once, those that wait too; without authentication"
        " nobody is counted",
    )  # fmt: skip
    max_requests: int = Field(
        256,
        ge=1,
        le=10_000,
        description="requests for speech over HTTP at once, those that wait too; half of them may"
        " be one known user's",
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
    speculation: bool = Field(
        True, description="begin replies before their turn is surely over: answers come sooner"
    )
    send_ahead_ms: int = Field(
        1_000, ge=100, le=10_000, description="how far audio is sent ahead of its playback"
    )
    idle_s: float = Field(
        600, ge=5, le=86_400, description="a session in which nothing happens ends after so long"
    )
    resume_s: float = Field(
        600, ge=0, le=2_592_000,
        description="a session whose connection was lost can be resumed for so long; 0: never, and"
        " none is kept",
    )  # fmt: skip
    retention_s: float = Field(
        0, ge=0, le=315_360_000,
        description="a known user's session is kept for so long after it can be resumed no more,"
        " for the user's own export; 0: not at all",
    )  # fmt: skip
    store_mb: float = Field(
        256, ge=1, le=1_000_000,
        description="the file that sessions are kept in; past it those go first whose connection"
        " was lost first",
    )  # fmt: skip
    redis_url: str = Field(
        "", repr=False,
        description="for several gateways: the Redis that sessions and users' limits are shared in,"
        " with the extra redis: redis://HOST, redis+sentinel://HOST,HOST/SERVICE or"
        " redis+cluster://HOST,HOST; empty: this server is alone",
    )  # fmt: skip
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
        " them, as words; a session that is resumed goes on in `SESSION-2.jsonl`; empty: none are"
        " kept",
    )
    pool_wait_s: float = Field(
        20, gt=0, le=600, description="the longest wait for an engine; past it: TIMEOUT"
    )

    # --- engines
    stt_engine: Literal["auto", "faster-whisper", "realtimestt", "scripted"] = Field(
        "auto", description="speech to text"
    )
    stt_model: str = Field(
        "auto", description="the recogniser's Whisper; auto: large-v3-turbo where it is there and a"
        " CUDA device is, else tiny.en",
    )  # fmt: skip
    stt_gpu_memory: float = Field(
        0, ge=0, le=10_000,
        description="GiB of a GPU's memory that the recogniser may take; 0: all of it",
    )  # fmt: skip
    stt_batch: int = Field(
        0, ge=0, le=128,
        description="windows of several users in one batch; 0: 16 on CUDA, none on a CPU",
    )  # fmt: skip
    stt_other_model: str = Field(
        "base", description="the Whisper for languages that the first does not know, if it is there"
        " (`antiphon models pull whisper-base`); loaded when first needed. Empty: none",
    )  # fmt: skip
    stt_unload_s: float = Field(
        0, ge=0, le=86_400,
        description="that one is unloaded when nobody has needed it for so long; 0: never",
    )  # fmt: skip
    stt_slots: int = Field(
        1, ge=1, le=64, description="windows that a recogniser transcribes at once"
    )
    stt_instances: int = Field(
        1, ge=1, le=64,
        description="the most recognisers, each with a copy of its model and so many windows; all"
        " but the first are made while requests wait, as is an end-of-turn model for each",
    )  # fmt: skip
    stt_threads: int = Field(
        max(1, min(2, CORES // 2)), ge=1, le=64, description="CPU threads of each"
    )
    tts_engine: Literal["auto", "kokoro-onnx", "kokoro", "piper", "scripted"] = Field(
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
    scratch_mb: float = Field(
        1_000, gt=0, le=1_000_000,
        description="what the files of all requests at work may take: uploads, and speech that is"
        " sent whole. Past 1 MB each lies on the disk; who finds no room gets AT_CAPACITY",
    )  # fmt: skip
    tts_threads: int = Field(min(2, CORES), ge=1, le=64, description="CPU threads of each")
    tts_gpu_memory: float = Field(
        0, ge=0, le=10_000,
        description="GiB of a GPU's memory that the voice may take; 0: all of it",
    )  # fmt: skip
    unload_s: float = Field(
        0, ge=0, le=86_400,
        description="the models in this process leave the memory when nobody has needed them for so"
        " long, and are loaded again as a session begins, or a request comes; 0: they stay",
    )  # fmt: skip
    tts_unload_s: float = Field(
        0, ge=0, le=86_400,
        description="voices (Piper: all but the first; Kokoro: what tells one from another) are"
        " unloaded when nobody has needed them for so long; 0: never",
    )  # fmt: skip
    llm_engine: Literal["auto", "openai", "llama-cpp", "scripted"] = Field(
        "auto", description="language model; auto: openai if a URL is set, else llama-cpp"
    )
    llm_base_url: str = Field(
        "", repr=False,
        description="OpenAI-compatible URLs, one or several (comma-separated): http://host/v1",
    )  # fmt: skip
    llm_model: str = Field("", description="the model to ask for; empty: the first one there is")
    llm_api_key: str = Field("", description="sent as a bearer token", repr=False)
    llm_slots: int = Field(
        8, ge=1, le=1_024,
        description="replies generated at once; the model in this process generates 2 on one "
        "thread, and remembers so many conversations",
    )  # fmt: skip
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
        description="without a sign of life for so long a call has failed, and its instance in this"
        " process is replaced, once; see /readyz",
    )  # fmt: skip

    # --- past one machine
    cluster: Literal["local", "ray"] = Field(
        "local",
        description="where the speech engines run; ray: in replicas on Ray Serve, with the extra"
        " ray; the slots are then this gateway's quota",
    )
    ray_address: str = Field(
        "", description="a Ray cluster with our engines on it (`antiphon cluster up`): host:port,"
        " or auto; empty: one is started on this machine, and ends with the server",
    )  # fmt: skip
    ray_stt_replicas: int = Field(
        1, ge=1, le=64, description="recognisers of a cluster that is started here"
    )
    ray_stt_gpus: float = Field(
        0, ge=0, le=8, description="GPUs of each of them, whole or in part; 0: none"
    )
    ray_tts_replicas: int = Field(
        1, ge=1, le=64,
        description="its synthesizers; with two, a reply goes on when one is lost",
    )  # fmt: skip
    ray_tts_gpus: float = Field(0, ge=0, le=8, description="likewise")
    ray_eot_gpus: float = Field(0, ge=0, le=8, description="of its end-of-turn model, likewise")

    # --- what is seen
    otel_endpoint: str = Field(
        "", description="where traces of turns go, by OTLP over HTTP: http://host:4318, with the"
        " extra otel; empty: there are none",
    )  # fmt: skip
    dashboards_url: str = Field(
        "", description="where your dashboards are: the admin page links there"
    )

    # --- security
    auth_secret: str = Field(
        "", repr=False,
        description="shared secret, 32 bytes or more, of those who sign tokens (JWT, HS256); with"
        " it, or with a JWKS URL, every session and request wants a token",
    )  # fmt: skip
    auth_jwks_url: str = Field(
        "", description="where the public keys are of those who sign tokens (RS256, ES256)"
    )
    auth_audience: str = Field(
        "antiphon", min_length=1, max_length=200, description="whom a token must be for: its `aud`"
    )
    auth_skew_s: float = Field(
        30, ge=0, le=300, description="how far the clock of whoever signs may differ from ours"
    )
    session_token_s: float = Field(
        60, ge=5, le=3_600, description="how long a token of POST /v1/sessions waits to be used"
    )
    admin_token: str = Field(
        "", description="bearer token of the admin routes; empty: loopback only", repr=False
    )
    audit_mb: float = Field(
        10, ge=0, le=10_000,
        description="size at which the audit begins a new file; ten older ones stay. 0: no audit",
    )  # fmt: skip

    @property
    def authenticates(self) -> bool:
        """Whether a token is wanted."""
        return bool(self.auth_secret or self.auth_jwks_url)

    @property
    def on_loopback(self) -> bool:
        """Whether this machine alone reaches the server."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"


def load(
    environ: Mapping[str, str] | None = None,
    *,
    env_file: Path | None = Path(".env"),
    **overrides: object,
) -> Settings:
    """Read the settings. `overrides` (from the command line) win; None leaves a setting alone.

    Raises `SettingsError` with one line that names the variable and what it takes.
    """
    fields = Settings.model_fields
    values = read(os.environ if environ is None else environ, env_file, fields)
    values.update({name: value for name, value in overrides.items() if value is not None})
    try:
        settings = Settings(**values)
    except ValidationError as error:
        raise told(error, values, fields) from None
    check(settings)
    return settings
