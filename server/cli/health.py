"""`antiphon health`: is the server of this machine well? For a container's health check.

One that is full, overloaded or draining is busy, not ill, and one that replaces an engine is about
to be well: to be started anew would not help it.
"""

from __future__ import annotations

import argparse
import sys

import httpx

from pipeline.errors import StartError
from pipeline.instances import REPLACING
from server import settings

BUSY = frozenset({"full", "overloaded", "draining"})
WITHIN_S = 3.0


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`health` looks where `serve` would listen, unless it is told otherwise."""
    parser = commands.add_parser("health", help="exit with 0 if the server is well, else with 1")
    parser.add_argument("--url", help="its address (http://127.0.0.1 and ANTIPHON_PORT)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print how it is; 0 when it is well, or busy."""
    try:
        url = args.url or f"http://127.0.0.1:{settings.load().port}"
        # Not through a proxy that the environment may name.
        answer = httpx.get(f"{url}/readyz", timeout=WITHIN_S, trust_env=False)
        status = str(answer.json()["status"])
    except (StartError, httpx.HTTPError, ValueError, KeyError, TypeError) as error:
        print(f"antiphon: no answer: {error}", file=sys.stderr)
        return 1
    print(status)
    return 0 if answer.is_success or status in BUSY or status.endswith(REPLACING) else 1
