"""What the peers' command lines share: the environment of a peer, and the file for its numbers."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from benchmarks.serving import ROOT


def parser(peer: str, description: str | None) -> argparse.ArgumentParser:
    """`python -m benchmarks.peers.PEER` with `--json` and `--python`; `parse` reads it."""
    made = argparse.ArgumentParser(
        prog=f"python -m benchmarks.peers.{peer}", description=description
    )
    made.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    made.add_argument(
        "--python",
        type=Path,
        default=Path(
            os.environ.get(f"{peer.upper()}_PYTHON") or ROOT / f".venv-{peer}" / "bin" / "python"
        ),
        help="the peer's environment (default: %(default)s; `make bench-peers` makes it)",
    )
    return made


def parse(of: argparse.ArgumentParser, words: list[str] | None = None) -> argparse.Namespace:
    """Read the command line; where there is no such environment, say how to mend that and end."""
    args = of.parse_args(words)
    if not args.python.exists():
        of.error(f"there is no {args.python}: `make bench-peers` makes it, --python names it")
    return args


def write(file: Path | None, document: dict[str, object]) -> None:
    """Write the numbers, if a file was named."""
    if file is not None:
        file.write_text(json.dumps(document, indent=2) + "\n")
