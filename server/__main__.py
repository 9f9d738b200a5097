"""The `antiphon` command: serve, talk, models, doctor, replay."""

from __future__ import annotations

import argparse
import sys

from server import serve
from server.cli import doctor, models, replay, talk


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run one command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="antiphon", description="A real-time, multi-user voice chat server."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (serve, talk, models, doctor, replay):
        command.add_parser(commands)
    args = parser.parse_args(argv)
    status: int = args.run(args)
    return status


if __name__ == "__main__":
    sys.exit(main())
