"""Our Serve application from a config file: what `antiphon cluster up` and KubeRay deploy.

The file is of Serve's own form, so that one file serves `antiphon cluster`, `serve deploy` and a
RayService; what is ours in it are the application's `args`, a `Plan`.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import msgspec

from pipeline.config import EngineConfig, RayConfig
from pipeline.engines.build import ray_parts
from pipeline.engines.ray_cluster import application
from pipeline.engines.ray_plan import APP, Part
from pipeline.errors import SettingsError
from pipeline.models import default_models_dir

IMPORT_PATH = "pipeline.engines.ray_app:build"


class Replicas(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How many replicas of an engine, and what each takes."""

    least: int = 1
    most: int = 1
    gpus: float = 0.0
    """Of each, whole or in part: where it is placed, not how much memory it takes."""
    cpus: float = 1.0
    """Of each, for placing it."""
    threads: int = 1


class Stt(Replicas, frozen=True, forbid_unknown_fields=True):
    """The recognisers."""

    engine: Literal["auto", "faster-whisper", "scripted"] = "auto"
    model: str = "auto"
    """`auto`: by what each replica's node has."""
    slots: int = 1
    """Windows that one replica transcribes at once, where it makes no batches."""
    batch: int = 0
    """Windows in one batch at most; 0: as the device has it (none on a CPU)."""
    unload_s: float = 0.0
    """The model for other languages is freed when it was not needed for so long; 0: never."""
    gpu_memory: float = 0.0
    """GiB of its device's memory that one replica may take; 0: all of it."""


class Tts(Replicas, frozen=True, forbid_unknown_fields=True):
    """The synthesizers."""

    engine: Literal["auto", "kokoro", "kokoro-onnx", "piper", "scripted"] = "auto"
    """`auto`: by what each replica's node has."""
    slots: int = 8
    """Clauses in one batch of `kokoro` at most; the others voice one at a time."""
    unload_s: float = 0.0
    """Voices that were not needed for so long are freed, but for Piper's first; 0: never."""
    gpu_memory: float = 0.0
    """GiB of its device's memory that one replica may take; 0: all of it."""


class Eot(Replicas, frozen=True, forbid_unknown_fields=True):
    """The end-of-turn models."""

    engine: Literal["smart-turn", "scripted"] = "smart-turn"


class Plan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What runs on the cluster."""

    models_dir: str = ""
    """On each node; empty: where `antiphon models pull` puts them."""
    stt: Stt = Stt()
    tts: Tts = Tts()
    eot: Eot = Eot()
    hang_s: float = 30.0
    wait_s: float = 20.0
    check_s: float = 5.0


def build(args: Mapping[str, Any]) -> Any:
    """What Serve imports: the application of these `args`. Raises `SettingsError`."""
    return application(parts_of(plan_of(args)))


def plan_of(args: Mapping[str, Any]) -> Plan:
    """Raises `SettingsError` with one line that names what is wrong."""
    try:
        plan = msgspec.convert(dict(args), Plan)
    except msgspec.ValidationError as error:
        raise SettingsError(f"the cluster's args: {error}") from None
    for name in ("stt", "tts", "eot"):
        part: Replicas = getattr(plan, name)
        if not 0 < part.least <= part.most or part.gpus < 0 or part.cpus < 0:
            raise SettingsError(
                f"the cluster's args: {name}: least 1, most no less, nothing below 0"
            )
    if min(plan.stt.slots, plan.tts.slots) < 1 or plan.stt.batch < 0:
        raise SettingsError("the cluster's args: slots: 1 or more; batch: 0 or more")
    if min(plan.stt.gpu_memory, plan.tts.gpu_memory) < 0:
        raise SettingsError("the cluster's args: gpu_memory: 0 or more")
    if min(plan.stt.unload_s, plan.tts.unload_s) < 0:
        raise SettingsError("the cluster's args: unload_s: 0 or more")
    return plan


def parts_of(plan: Plan) -> tuple[Part, ...]:
    """The parts that a plan names."""
    folder = Path(plan.models_dir).expanduser() if plan.models_dir else default_models_dir()
    counts: dict[str, Any] = {}
    for name in ("stt", "tts", "eot"):
        part: Replicas = getattr(plan, name)
        counts |= {
            f"{name}_least": part.least, f"{name}_replicas": part.most,
            f"{name}_gpus": part.gpus, f"{name}_cpus": part.cpus,
        }  # fmt: skip
    config = EngineConfig(
        models_dir=folder, stt_engine=plan.stt.engine, stt_model=plan.stt.model,
        stt_slots=plan.stt.slots, stt_batch=plan.stt.batch, stt_threads=plan.stt.threads,
        stt_gpu_memory=plan.stt.gpu_memory, stt_unload_s=plan.stt.unload_s,
        tts_engine=plan.tts.engine, tts_slots=plan.tts.slots, tts_threads=plan.tts.threads,
        tts_gpu_memory=plan.tts.gpu_memory, tts_unload_s=plan.tts.unload_s,
        vad_engine="scripted" if plan.eot.engine == "scripted" else "silero",
        ray=RayConfig(hang_s=plan.hang_s, wait_s=plan.wait_s, check_s=plan.check_s, **counts),
    )  # fmt: skip
    return ray_parts(config)


def read(text: str) -> Plan:
    """The plan in a config file of Serve's form. Raises `SettingsError`."""
    import yaml

    try:
        config = yaml.safe_load(text)
        (ours,) = [app for app in config["applications"] if app["import_path"] == IMPORT_PATH]
        name, args = ours["name"], ours.get("args") or {}
    except (yaml.YAMLError, KeyError, TypeError, ValueError):
        raise SettingsError(
            f"the file must be of Ray Serve's form, with one application of {IMPORT_PATH}"
        ) from None
    if name != APP or ours.get("deployments"):
        raise SettingsError(
            f"the application's name must be {APP}, and what its deployments take stand in args"
        )
    return plan_of(args)
