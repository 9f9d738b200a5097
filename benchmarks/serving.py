"""A server of one's own for a benchmark: a subprocess on a free port, its log kept at hand."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

START_S = 120.0
POLL_S = 0.1
DRAIN_S = 45.0
ROOT = Path(__file__).parent.parent


class ServerFailed(Exception):
    """The server did not come up; the message has the end of its log."""


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass(frozen=True, slots=True)
class Running:
    """A server that is ready."""

    port: int
    pid: int

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(**settings: str) -> Iterator[str]:
    """`running`, of which only the ws:// address is wanted."""
    with running(**settings) as server:
        yield server.ws_url


@contextmanager
def running(**settings: str) -> Iterator[Running]:
    """`antiphon serve` with these ANTIPHON_* settings added, as soon as it is ready. It makes all
    speech anew, whatever the environment says.

    Raises `ServerFailed` when it ends or is not ready within 120 s.
    """
    port = free_port()
    command = [sys.executable, "-m", "server", "serve", "--host", "127.0.0.1", "--port", str(port)]
    settings = {"speech_cache_mb": "0", **settings}
    named = {f"ANTIPHON_{name.upper()}": value for name, value in settings.items()}
    with process(command, f"http://127.0.0.1:{port}/readyz", named) as pid:
        yield Running(port, pid)


@contextmanager
def process(
    command: Sequence[str], ready_url: str, environ: Mapping[str, str], name: str = "the server"
) -> Iterator[int]:
    """A program that answers `ready_url` with 200 when it is ready; ended with the block. Gives its
    process id. Raises `ServerFailed` as `running` does."""
    with tempfile.TemporaryDirectory(prefix="antiphon-bench-") as folder:
        log_file = Path(folder) / "server.log"
        with log_file.open("wb") as log:
            server = subprocess.Popen(
                command, cwd=ROOT, env={**os.environ, **environ}, stdout=log, stderr=log
            )
        try:
            _wait_until_ready(server, ready_url, log_file, name)
            yield server.pid
        finally:
            _end(server)


def _wait_until_ready(server: subprocess.Popen[bytes], url: str, log_file: Path, name: str) -> None:
    deadline = time.monotonic() + START_S
    # Another process tells of its readiness by HTTP only, so it is asked until it says yes.
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(POLL_S)
    tail = "\n".join(log_file.read_text(errors="replace").splitlines()[-15:])
    state = "is not ready" if server.poll() is None else f"ended with {server.returncode}"
    raise ServerFailed(f"{name} {state}:\n{tail}")


def _end(server: subprocess.Popen[bytes]) -> None:
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(DRAIN_S)
    except subprocess.TimeoutExpired:
        server.kill()
        server.wait()
