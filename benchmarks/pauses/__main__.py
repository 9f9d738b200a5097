"""`python -m benchmarks.pauses [--half tune] [--json FILE] [--svg FILE]`; needs no server."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from benchmarks.pauses.report import main


def _run() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.pauses", description=__doc__)
    parser.add_argument(
        "--half", choices=("tune", "report"), default="report", help="(default: %(default)s)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the curve here")
    args = parser.parse_args()
    numbers = main(args.half, args.svg)
    if args.json:
        args.json.write_text(json.dumps(numbers, indent=2) + "\n")


if __name__ == "__main__":
    _run()
