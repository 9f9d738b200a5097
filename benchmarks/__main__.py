"""`python -m benchmarks [NAME...] [--turns N] [--json FILE] [--url ws://...]`: all, one by one."""

from __future__ import annotations

import argparse
import json
import platform
import sys
from collections.abc import Callable
from contextlib import nullcontext
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from benchmarks import (
    barge_in,
    edge,
    faces,
    hop,
    instances,
    interjections,
    latency,
    page,
    phonemes,
    pool,
    speech,
    throughput,
    transcription,
    users,
    wer,
    windows,
)
from benchmarks.pauses import report as pauses
from benchmarks.serving import ServerFailed, serving
from pipeline import cores

PACKAGES = ("antiphon", "faster-whisper", "ctranslate2", "onnxruntime", "kokoro-onnx", "xllamacpp")

WITH_SERVER: dict[str, Callable[..., dict[str, object]]] = {
    "latency": latency.main,
    "faces": faces.main,
    "wer": wer.main,
    "barge_in": barge_in.main,
    "page": page.main,
}
"""Each measures the server at an address."""
ALONE: dict[str, Callable[..., dict[str, object]]] = {
    "transcription": transcription.main,
    "windows": windows.main,
    "pauses": pauses.main,
    "interjections": interjections.main,
    "users": users.main,
    "pool": pool.main,
    "hop": hop.main,
    "edge": edge.main,
    "speech": speech.main,
    "throughput": throughput.main,
    "instances": instances.main,
    "phonemes": phonemes.main,
}
"""These need no server, or start their own."""


def machine() -> dict[str, object]:
    """What the numbers depend on: the processor, its cores that we may use, the versions."""
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        models = [line for line in info.read_text().splitlines() if line.startswith("model name")]
        cpu = models[0].partition(":")[2].strip() if models else cpu
    versions = {"python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {"cpu": cpu, "cores": cores.usable(), "versions": versions}


def main() -> int:
    """Run what is asked for; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"{', '.join([*WITH_SERVER, *ALONE])} (default: all)",
    )
    parser.add_argument(
        "--turns", type=int, help=f"default: {latency.TURNS}; of each of many users: {users.TURNS}"
    )
    parser.add_argument(
        "--users", type=int, nargs="+", metavar="N", help="only these levels of the users' curve"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the numbers here too")
    parser.add_argument("--url", help="a running server (default: start one for each benchmark)")
    args = parser.parse_args()
    names = [*WITH_SERVER, *ALONE]
    if unknown := set(args.names) - set(names):
        parser.error(f"no benchmark {', '.join(sorted(unknown))}; there is {', '.join(names)}")
    here = machine()
    results: dict[str, object] = {"machine": here}
    print(f"{here['cpu']}, {here['cores']} cores; {here['versions']}\n")
    for name in args.names or names:
        if name in ALONE:
            chosen = {"users": args.users, "turns": args.turns} if name == "users" else {}
            results[name] = ALONE[name](**chosen)
            print()
            continue
        try:
            with nullcontext(args.url) if args.url else serving() as url:
                turns = args.turns or latency.TURNS
                more = {"turns": turns} if name in ("latency", "faces") else {}
                results[name] = WITH_SERVER[name](url, **more)
        except ServerFailed as failure:
            print(failure, file=sys.stderr)
            return 1
        print()
    if args.json:
        args.json.write_text(json.dumps(results, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
