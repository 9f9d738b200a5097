"""What each part of the server needs to know of the settings."""

from __future__ import annotations

from pathlib import Path

from pipeline.config import EngineConfig, PoolConfig, RayConfig
from server.gate import Rules
from server.settings import Settings
from session.apologies import read_apologies
from session.buckets import Allowance
from session.records import SessionConfig


def audit_path(settings: Settings) -> Path:
    """The audit's file; two servers have two ports."""
    return settings.data_dir.expanduser() / f"audit-{settings.port}.jsonl"


def gate_rules(settings: Settings) -> Rules:
    """What the gate needs to know."""
    hosts = tuple(host.lower() for host in settings.allowed_hosts)
    return Rules(settings.allowed_origins, hosts, settings.on_loopback, settings.admin_token)


def engine_config(settings: Settings) -> EngineConfig:
    """What the engines need to know."""
    return EngineConfig(
        models_dir=settings.models_dir.expanduser(),
        ray=_ray_config(settings) if settings.cluster == "ray" else None,
        **{
            name: getattr(settings, name)
            for name in EngineConfig.__dataclass_fields__
            if name in Settings.model_fields and name != "models_dir"
        },
    )


def _ray_config(settings: Settings) -> RayConfig:
    return RayConfig(
        address=settings.ray_address,
        stt_replicas=settings.ray_stt_replicas,
        stt_least=settings.ray_stt_replicas,
        stt_gpus=settings.ray_stt_gpus,
        tts_replicas=settings.ray_tts_replicas,
        tts_least=settings.ray_tts_replicas,
        tts_gpus=settings.ray_tts_gpus,
        eot_gpus=settings.ray_eot_gpus,
        hang_s=settings.engine_hang_s,
        wait_s=settings.pool_wait_s,
    )


def pool_config(settings: Settings) -> PoolConfig:
    """What the pool needs to know."""
    return PoolConfig(max_wait_s=settings.pool_wait_s)


def allowance(settings: Settings) -> Allowance:
    """What one user may spend."""
    return Allowance(
        settings.turns_per_minute,
        settings.characters_per_minute,
        settings.audio_s_per_minute,
        settings.sessions_per_user,
    )


def _stuck_s(settings: Settings) -> float:
    """Longer than all that may come before the next sign of a reply: a wait for each of two
    engines, or for one that then takes as long as it may; and some."""
    slowest_s = max(settings.engine_hang_s, settings.llm_first_token_s, settings.llm_gap_s)
    return max(60.0, 2 * settings.pool_wait_s + 20, settings.pool_wait_s + slowest_s + 10)


def session_config(settings: Settings) -> SessionConfig:
    """What every session needs to know."""
    return SessionConfig(
        send_ahead_s=settings.send_ahead_ms / 1000,
        greeting=settings.greeting,
        apologies=read_apologies(settings.apology),
        idle_s=settings.idle_s,
        stuck_s=_stuck_s(settings),
        history_tokens=settings.history_tokens,
        reply_tokens=settings.reply_tokens,
        record_dir=settings.record_dir,
        speculates=settings.speculation,
    )
