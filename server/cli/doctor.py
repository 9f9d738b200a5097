"""`antiphon doctor`: what is installed, found, reachable and missing, and the mend for each."""

from __future__ import annotations

import argparse
import asyncio
import importlib.metadata
import importlib.util
import os
import platform
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass, replace

from rich.console import Console
from rich.table import Table

from pipeline import cores
from pipeline.config import EngineConfig
from pipeline.engines.build import build
from pipeline.engines.ports import EngineInfo
from pipeline.errors import ModelMissing, SettingsError, StartError
from pipeline.models import DEFAULT_MODELS, locate
from server import settings
from server.configs import engine_config

PACKAGES = (
    "starlette",
    "uvicorn",
    "websockets",
    "faster-whisper",
    "onnxruntime",
    "kokoro-onnx",
    "xllamacpp",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at. `mend` is empty when all is well."""

    what: str
    state: str
    mend: str = ""
    fatal: bool = True


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`doctor` takes no arguments: it looks at what `serve` would use."""
    parser = commands.add_parser("doctor", help="look at what is installed, found and missing")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the findings; 1 when something that `serve` needs is missing."""
    table = Table(box=None, pad_edge=False)
    for column in ("", "what", "found", "mend"):
        table.add_column(column, overflow="fold")
    ill = False
    for finding in examine():
        bad = bool(finding.mend) and finding.fatal
        ill = ill or bad
        mark = "[red]✗" if bad else ("[yellow]!" if finding.mend else "[green]✓")
        table.add_row(mark, finding.what, finding.state, finding.mend)
    Console().print(table)
    return 1 if ill else 0


def examine() -> Iterator[Finding]:
    """Look at everything, in the order in which a start would need it."""
    yield Finding("python", platform.python_version())
    yield Finding("machine", f"{cores.usable()} cores, {_memory_gb():.0f} GB of memory")
    for name in PACKAGES:
        yield _package(name)
    try:
        chosen = settings.load()
    except SettingsError as error:
        yield Finding("settings", "wrong", str(error))
        return
    yield Finding("settings", "understood")
    yield from _models(chosen)
    yield from _language_models(chosen)
    yield _port(chosen)
    yield _browser()


def _package(name: str) -> Finding:
    try:
        return Finding(name, importlib.metadata.version(name))
    except importlib.metadata.PackageNotFoundError:
        return Finding(name, "not installed", "make setup")


def _models(chosen: settings.Settings) -> Iterator[Finding]:
    for name in (model.name for model in DEFAULT_MODELS):
        try:
            locate(chosen.models_dir, name)
        except ModelMissing:
            yield Finding(f"model {name}", "missing", f"antiphon models pull {name}")
        else:
            yield Finding(f"model {name}", "complete")


def _language_models(chosen: settings.Settings) -> Iterator[Finding]:
    """Ask each as `serve` would. One that answers is enough for a start."""
    config = engine_config(chosen)
    if chosen.llm_engine in ("llama-cpp", "scripted") or not config.llm_base_urls:
        yield Finding("language model", "in-process; ANTIPHON_LLM_BASE_URL names another")
        return
    found = [_language_model(replace(config, llm_base_url=url)) for url in config.llm_base_urls]
    enough = any(not finding.mend for finding in found)
    for finding in found:
        yield replace(finding, fatal=not enough)


def _language_model(config: EngineConfig) -> Finding:
    async def ask() -> EngineInfo:
        model = build(config).language_model
        try:
            await model.start()
        finally:
            await model.close()
        return model.info

    try:
        info = asyncio.run(ask())
    except StartError as error:
        return Finding("language model", "does not answer", str(error))
    return Finding("language model", f"{info.model} at {info.device}")


def _port(chosen: settings.Settings) -> Finding:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((chosen.host, chosen.port))
        except OSError as error:
            mend = "stop what listens there, or choose another with --port"
            return Finding(f"port {chosen.port}", error.strerror or "taken", mend, fatal=False)
    return Finding(f"port {chosen.port}", "free")


def _browser() -> Finding:
    found = shutil.which("chromium") or shutil.which("google-chrome")
    if found:
        return Finding("browser", found)
    return Finding("browser", "none", "any modern one, here or elsewhere", fatal=False)


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
