"""`antiphon replay RECORDING`: a recorded session through the turn machine, event by event."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from pipeline.recording import BadRecording, Moment, replay
from pipeline.signals import Heard


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`replay` and its help."""
    parser = commands.add_parser(
        "replay",
        help="put a recorded session through the turn machine",
        description="Put a recorded session through the turn machine and print each event with what"
        " follows from it. ANTIPHON_RECORD_DIR makes the server record.",
    )
    parser.add_argument("recording", type=Path, metavar="RECORDING", help="a .jsonl file")
    parser.add_argument(
        "--all", action="store_true", help="also the frames from which nothing follows"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the replay; 1 when the file is no recording."""
    began: float | None = None
    try:
        with args.recording.open(encoding="utf-8") as lines:
            for moment in replay(lines):
                began = moment.at if began is None else began
                if moment.effects or args.all or not isinstance(moment.told, Heard | None):
                    _show(moment, began)
    except (OSError, UnicodeDecodeError, BadRecording) as error:
        print(f"antiphon: {args.recording}: {error}", file=sys.stderr)
        return 1
    return 0


def _show(moment: Moment, began: float) -> None:
    print(f"{moment.at - began:9.3f}  {moment.told if moment.told is not None else 'Wake'}")
    for effect in moment.effects:
        print(f"{'':11}-> {effect}")
