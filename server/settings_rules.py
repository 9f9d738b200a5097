"""What a setting's type and range do not say: forms, and values that do not go together."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from pipeline.errors import SettingsError

if TYPE_CHECKING:
    from server.settings import Settings

SECRET_BYTES = 32
"""As many as the hash of HS256 has (RFC 7518, 3.2): a shorter one can be guessed from a token."""
PLACEHOLDER = "change-me"
"""What stands in an example file where a secret is to stand."""
FORM_MB = 3
"""What an upload may have besides its file."""
_ORIGIN = re.compile(r"https?://[^/?#\s]+")
_HOST = re.compile(r"[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]|\*")
_LOCAL = ("localhost", "127.0.0.1", "::1")


def check(settings: Settings) -> None:
    """Raises `SettingsError` with one line that names what is wrong, and shows no secret."""
    for name in ("auth_secret", "admin_token", "llm_api_key"):
        if getattr(settings, name).lower() == PLACEHOLDER:
            raise _wrong(name, f"put a secret of your own in the place of {PLACEHOLDER!r}")
    secret_bytes = len(settings.auth_secret.encode())
    if 0 < secret_bytes < SECRET_BYTES:
        raise _wrong(
            "auth_secret",
            f"it has {secret_bytes} bytes, and HS256 wants {SECRET_BYTES} or more "
            "(`openssl rand -base64 32` makes one)",
        )
    if settings.auth_secret and settings.auth_secret == settings.admin_token:
        raise _wrong("admin_token", "it is ANTIPHON_AUTH_SECRET: whoever signs tokens is no admin")
    _check_key_url(settings.auth_jwks_url)
    for origin in settings.allowed_origins:
        if origin != "*" and not _ORIGIN.fullmatch(origin):
            raise _wrong(
                "allowed_origins", f"{origin!r} is no origin, such as https://voice.example"
            )
    for host in settings.allowed_hosts:
        if not _HOST.fullmatch(host):
            raise _wrong("allowed_hosts", f"{host!r} is no name without a port, such as a.example")
    if settings.redis_url:
        _check_redis_url(settings.redis_url)
    _check_retention(settings)
    if settings.tts_slots_least > settings.tts_slots:
        raise _wrong(
            "tts_slots_least",
            f"{settings.tts_slots_least} is more than ANTIPHON_TTS_SLOTS={settings.tts_slots}",
        )
    if settings.unload_s and (settings.stt_gpu_memory or settings.tts_gpu_memory):
        raise _wrong(
            "unload_s",
            "a share of a GPU's memory is measured at the start, when nothing else is at work: it"
            " does not go with ANTIPHON_STT_GPU_MEMORY or ANTIPHON_TTS_GPU_MEMORY",
        )
    if settings.scratch_mb < settings.transcription_mb + FORM_MB:
        raise _wrong(
            "scratch_mb",
            f"{settings.scratch_mb:g} is less than one upload takes: "
            f"ANTIPHON_TRANSCRIPTION_MB={settings.transcription_mb:g} and {FORM_MB} for its form",
        )

    if settings.ray_address.startswith("ray://"):
        raise _wrong(
            "ray_address",
            "a gateway joins the cluster as a node of its own (`ray start --address=host:6379"
            " --num-cpus=0`, then auto); Ray's client protocol would add a hop",
        )


def _check_retention(settings: Settings) -> None:
    """Whoever asks for retention must not believe in what is not kept."""
    if not settings.retention_s:
        return
    keeps = f"{settings.retention_s:g} s keeps nothing"
    if not settings.resume_s:
        raise _wrong("retention_s", f"{keeps} with ANTIPHON_RESUME_S=0, by which nothing is stored")
    if not settings.authenticates:
        raise _wrong(
            "retention_s",
            f"{keeps} without ANTIPHON_AUTH_SECRET or ANTIPHON_AUTH_JWKS_URL: it is for users who"
            " are known",
        )


def _check_key_url(url: str) -> None:
    if not url:
        return
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError:
        parts, host = urlsplit(""), None
    # Whoever can change an answer on its way could name a key of their own.
    safe = parts.scheme == "https" or (parts.scheme == "http" and host in _LOCAL)
    if not (host and safe) or parts.username or parts.password:
        raise _wrong(
            "auth_jwks_url", "an https address (http on this machine alone), without a key"
        )


def _check_redis_url(url: str) -> None:
    try:
        from session.redis_url import read
    except ImportError:
        raise _wrong("redis_url", "it needs the client of Redis: make setup EXTRAS=redis") from None
    read(url)


def _wrong(name: str, why: str) -> SettingsError:
    return SettingsError(f"ANTIPHON_{name.upper()}: {why}")
