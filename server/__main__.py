"""The `antiphon` command: serve, talk, models, doctor, health, replay, cluster."""

from __future__ import annotations

import argparse
import sys

import server.native_threads  # noqa: F401 - before numpy and the engines are loaded
from server import serve
from server.cli import cluster, doctor, health, models, replay, talk


def main(argv: list[str] | None = None) -> int:
    """Parse the command line and run one command; its exit status."""
    parser = argparse.ArgumentParser(
        prog="antiphon", description="A real-time, multi-user voice chat server."
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (serve, talk, models, doctor, health, replay, cluster):
        command.add_parser(commands)
    args = parser.parse_args(argv)
    status: int = args.run(args)
    return status


if __name__ == "__main__":
    sys.exit(main())
