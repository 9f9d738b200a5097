"""The peer's two processes, its bot and the language model: started, measured, ended."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from benchmarks.peers.pipecat.options import BotOptions
from benchmarks.serving import ROOT, ServerFailed

START_S = 120.0
END_S = 20.0
LOG_LINES = 15


@dataclass(frozen=True, slots=True)
class Process:
    """A running server, and what it said of itself when it was ready."""

    pid: int
    ready: dict[str, Any]

    @property
    def url(self) -> str:
        return str(self.ready["url"])

    @property
    def rss_mb(self) -> float:
        """Resident memory now."""
        return self._memory_mb("VmRSS")

    @property
    def peak_rss_mb(self) -> float:
        """The most it has ever been."""
        return self._memory_mb("VmHWM")

    def _memory_mb(self, name: str) -> float:
        status = Path(f"/proc/{self.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith(f"{name}:"))
        return round(int(line.split()[1]) / 1024, 1)


@contextmanager
def bot(python: Path, options: BotOptions) -> Iterator[Process]:
    """The Pipecat bot, run by the interpreter of its own environment.

    Raises `ServerFailed` when it does not come up.
    """
    quiet = {
        "LOGURU_LEVEL": "WARNING",
        "HF_HUB_OFFLINE": "1",
        # CTranslate2 takes four threads unless it is told how many cores there are.
        "OMP_NUM_THREADS": str(len(os.sched_getaffinity(0))),
    }
    command = [str(python), "-m", "benchmarks.peers.pipecat.bot", options.to_json()]
    with running(command, **quiet) as process:
        yield process


@contextmanager
def language_model(models_dir: Path, *, slots: int, threads: int) -> Iterator[Process]:
    """Our embedded language model behind an OpenAI-compatible URL. Raises `ServerFailed`."""
    module = "benchmarks.peers.pipecat.llm"
    command = [sys.executable, "-m", module, str(models_dir), str(slots), str(threads)]
    with running(command) as process:
        yield process


@contextmanager
def running(command: Sequence[str], **environ: str) -> Iterator[Process]:
    """A program that prints one line of JSON when it is ready; ended with the block.

    Raises `ServerFailed` with the end of its log when it ends first, or takes over 120 s.
    """
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command,
            cwd=ROOT,
            env={**os.environ, **environ},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        with process:
            try:
                yield Process(process.pid, _ready(process, command, log))
            finally:
                _end(process)


def _ready(
    process: subprocess.Popen[bytes], command: Sequence[str], log: IO[bytes]
) -> dict[str, Any]:
    assert process.stdout is not None, "piped"
    readable, _, _ = select.select([process.stdout], [], [], START_S)
    line = process.stdout.readline() if readable else b""
    if line:
        ready: dict[str, Any] = json.loads(line)
        return ready
    log.seek(0)
    tail = b"\n".join(log.read().splitlines()[-LOG_LINES:]).decode(errors="replace")
    raise ServerFailed(f"{' '.join(command[:3])} is not ready:\n{tail}")


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_S)
    except subprocess.TimeoutExpired:
        process.kill()
