"""`antiphon cluster up|status|down`: the speech engines on a Ray cluster, from a config file."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from pipeline.errors import StartError


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """`cluster` has commands of its own."""
    parser = commands.add_parser("cluster", help="the speech engines on a Ray cluster")
    steps = parser.add_subparsers(required=True, metavar="up|status|down", dest="step")
    up = steps.add_parser("up", help="deploy what a config file names, and wait until it runs")
    up.add_argument("file", type=Path, help="of Ray Serve's form: see deploy/cluster/ray")
    status = steps.add_parser("status", help="what runs; 0 if all does, else 1")
    down = steps.add_parser("down", help="take it away; the cluster stays")
    for step in (up, status, down):
        step.add_argument("--address", help="the cluster (ANTIPHON_RAY_ADDRESS, or auto)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """One step; 0 when it is done."""
    from pipeline.engines import ray_app
    from pipeline.engines.ray_cluster import Cluster

    address = args.address or os.environ.get("ANTIPHON_RAY_ADDRESS") or "auto"
    cluster = Cluster(address)
    try:
        plan = ray_app.read(args.file.read_text()) if args.step == "up" else None
        cluster.join()
        try:
            if plan is not None:
                cluster.deploy(ray_app.parts_of(plan))
            elif args.step == "down":
                cluster.remove()
                return 0
            state = cluster.status()
        finally:
            cluster.leave()
    except (StartError, OSError) as error:
        print(f"antiphon: {error}", file=sys.stderr)
        return 1
    print(" ".join(filter(None, (state.state, state.message))))
    for name, part in state.deployments.items():
        replicas = ", ".join(f"{count} {what.lower()}" for what, count in part.replicas.items())
        print(f"  {name}: {part.state.lower()} ({replicas}) {part.message}".rstrip())
    return 0 if state.state == "running" else 1
