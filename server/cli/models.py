"""`antiphon models list` and `antiphon models pull`: the model manifest and fetching from it."""

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as RichProgress

from pipeline.errors import AntiphonError
from pipeline.models import (
    DEFAULT_MODELS,
    MODELS,
    Clients,
    default_models_dir,
    find,
    is_complete,
    pull,
)

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

INTERRUPTED = 130
"""The exit status of a program ended by Ctrl-C, as shells have it."""


def add_parser(subparsers: Subparsers) -> None:
    """Mount `models` on the command's own parser."""
    models = subparsers.add_parser("models", help="list the models and fetch them")
    actions = models.add_subparsers(dest="action", required=True, metavar="ACTION")
    lister = actions.add_parser("list", help="what there is, and what of it is on this machine")
    puller = actions.add_parser("pull", help="fetch models; what is here already costs nothing")
    puller.add_argument("names", nargs="*", metavar="NAME", help="default: all default models")
    puller.add_argument(
        "--verify", action="store_true", help="hash what is here too, and fetch wrong files anew"
    )
    for parser in (lister, puller):
        parser.add_argument(
            "--models-dir",
            type=Path,
            metavar="DIR",
            help="default: $ANTIPHON_MODELS_DIR, else the user's cache",
        )
        parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Carry out `list` or `pull`; returns the exit status."""
    models_dir = _models_dir(args.models_dir)
    if args.action == "list":
        return _list(models_dir)
    return _pull(args.names, models_dir, verify=args.verify)


def _models_dir(named: Path | None) -> Path:
    from_environment = os.environ.get("ANTIPHON_MODELS_DIR")
    if named is None and from_environment:
        named = Path(from_environment)
    return (named or default_models_dir()).expanduser().absolute()


def _list(models_dir: Path) -> int:
    name_width = max(len(model.name) for model in MODELS)
    licence_width = max(len(model.licence) for model in MODELS)
    for model in MODELS:
        here = "here" if is_complete(models_dir, model) else "-"
        extra = "" if model.default else " (on request)"
        print(
            f"{model.name:{name_width}}  {here:4}  {model.size_bytes / 1e6:6.1f} MB  "
            f"{model.licence:{licence_width}}  {model.purpose}{extra}"
        )
    print(f"\nin {models_dir}; fetch with `antiphon models pull [NAME...]`")
    return 0


def _pull(names: list[str], models_dir: Path, *, verify: bool) -> int:
    # HF_ENDPOINT is how the hub's own clients are pointed at a mirror.
    mirror = os.environ.get("HF_ENDPOINT")
    clients = Clients(hub_url=mirror) if mirror else Clients()
    started = time.monotonic()
    try:
        models = tuple(find(name) for name in dict.fromkeys(names)) or DEFAULT_MODELS
        if sys.stdout.isatty():
            with Bars() as bars:
                pull(models, models_dir, progress=bars, clients=clients, verify=verify)
        else:
            pull(models, models_dir, progress=Lines(), clients=clients, verify=verify)
    except AntiphonError as error:
        print(f"antiphon: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("antiphon: interrupted; what is fetched is kept for the next pull", file=sys.stderr)
        return INTERRUPTED
    took_s = time.monotonic() - started
    took = f", {took_s:.0f} s" if took_s >= 1 else ""
    print(f"models ready in {models_dir} ({len(models)} of {len(models)}{took})")
    return 0


class Lines:
    """Progress for a log: one line a transfer, none while it runs."""

    def begin(self, label: str) -> None:
        print(f"fetching {label}", flush=True)

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        pass

    def end(self) -> None:
        pass

    def say(self, line: str) -> None:
        print(line, flush=True)


class Bars:
    """Progress for a person: a bar for the running transfer, a line for each finished model."""

    def __init__(self, console: Console | None = None) -> None:
        self._rich = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        )
        self._task: TaskID | None = None

    def __enter__(self) -> Bars:
        self._rich.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._rich.stop()

    def begin(self, label: str) -> None:
        self._task = self._rich.add_task(label, total=None)

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        if self._task is not None:
            self._rich.update(self._task, completed=done_bytes, total=total_bytes)

    def end(self) -> None:
        if self._task is not None:
            self._rich.remove_task(self._task)
        self._task = None

    def say(self, line: str) -> None:
        self._rich.console.print(line, highlight=False, markup=False)
