"""A Ray cluster of two nodes on this machine, one of which is killed while people are answered."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from pipeline.engines.ray_cluster import DIRECT
from tests.cluster_ray.processes import below, voices_below
from tests.support import ROOT, SCRIPTED, call, server_process
from tests.valkey import free_port

PEOPLE = 4
GAP_S = 2.0 * (5 if os.environ.get("CI") else 1)
"""The longest pause in a reply that goes on; where CI is set the machine is anybody's, and busy."""
HEAD = "127.0.0.2"
"""Each node has a loopback address of its own, as machines have; Ray takes 127.0.0.1 for none."""
ALIVE = {
    # A node that is not heard of is given up after 2 s, not 15, so that the test need not wait.
    "RAY_health_check_initial_delay_ms": "1000",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "2",
}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@dataclass
class Nodes:
    """A cluster's nodes, each a process with all that runs on it below."""

    folder: str
    port: int = field(default_factory=free_port)
    running: list[subprocess.Popen[bytes]] = field(default_factory=list)
    environ: dict[str, str] = field(
        default_factory=lambda: {
            "RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32),
            "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "1", "RAY_USAGE_STATS_ENABLED": "0",
            **ALIVE, **DIRECT,
        }
    )  # fmt: skip

    @property
    def address(self) -> str:
        return f"{HEAD}:{self.port}"

    def add(self, cpus: int) -> subprocess.Popen[bytes]:
        """One more, with a GPU that is only counted; the first one leads."""
        first = [
            "--head", f"--port={self.port}", f"--temp-dir={self.folder}",
            "--include-dashboard=false",
        ]  # fmt: skip
        place = [f"--address={self.address}"] if self.running else first
        process = subprocess.Popen(
            [
                Path(sys.executable).parent / "ray", "start", *place, "--block",
                f"--node-ip-address=127.0.0.{2 + len(self.running)}", f"--num-cpus={cpus}",
                "--num-gpus=1", "--disable-usage-stats",
                "--object-store-memory=100000000",
            ],
            env={**os.environ, **self.environ, "PYTHONUNBUFFERED": "1"}, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdout is not None
        said = b""
        while b"runtime started" not in said:
            line = process.stdout.readline()
            assert line, said.decode()
            said += line
        self.running.append(process)
        return process

    def kill(self, node: subprocess.Popen[bytes]) -> None:
        """kill -9 of all that it runs, as when a machine loses its power."""
        for pid in (node.pid, *below(node.pid)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        node.communicate()
        self.running.remove(node)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Nodes]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: make setup EXTRAS=ray")
    there = Nodes(tempfile.mkdtemp(prefix="antiphon-ray-"))
    try:
        there.add(cpus=2)
        there.add(cpus=0)
        _deploy(there)
        yield there
    finally:
        for node in reversed(there.running.copy()):
            there.kill(node)
        shutil.rmtree(there.folder, ignore_errors=True)


def _deploy(nodes: Nodes) -> None:
    ran = subprocess.run(
        [sys.executable, "-m", "tests.cluster_ray.slow_voices", nodes.address],
        cwd=ROOT, env={**os.environ, **nodes.environ}, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2_000:]


async def test_a_node_killed_in_mid_reply_costs_its_listeners_a_gap_and_nobody_else_anything(
    nodes: Nodes,
) -> None:
    second = nodes.running[1]
    environ = {
        **nodes.environ, **SCRIPTED, "ANTIPHON_CLUSTER": "ray",
        "ANTIPHON_RAY_ADDRESS": nodes.address, "ANTIPHON_TTS_SLOTS": "8",
    }  # fmt: skip
    with server_process(**environ) as server:
        answering, killed = asyncio.Semaphore(0), asyncio.Event()

        async def person(number: int) -> tuple[str, float, int]:
            """How the reply ended, its longest gap after the kill, and how much of it came."""
            async with call(server.ws_url, {}) as caller:
                await caller.say("text", text=f"hello {number}", id="1")
                await caller.until("reply_started")
                while not caller.audio:
                    await caller.next()
                answering.release()
                await killed.wait()
                gap_s, since = 0.0, time.monotonic()
                while True:
                    message = await asyncio.wait_for(caller.next(), 60)
                    if isinstance(message, bytes):
                        gap_s, since = max(gap_s, time.monotonic() - since), time.monotonic()
                    elif message["type"] == "reply_audio_end":
                        await caller.say(
                            "playback", reply=1, played_ms=message["audio_ms"], done=True
                        )
                    elif message["type"] == "reply_done":
                        codes = [error["code"] for error in caller.of("error")]
                        assert codes == ([] if message["status"] == "completed" else ["TTS_FAILED"])
                        return message["status"], gap_s, len(caller.audio[1])

        async def kill() -> None:
            for _ in range(PEOPLE):
                await answering.acquire()
            await asyncio.to_thread(nodes.kill, second)
            killed.set()

        *ends, _ = await asyncio.gather(*(person(number) for number in range(PEOPLE)), kill())
        print("after the kill:", [end and (end[0], round(end[1], 2)) for end in ends])
        assert max(end[1] for end in ends if end and end[0] == "completed") <= GAP_S
        whole = {end[2] for end in ends if end and end[0] == "completed"}
        assert len(whole) == 1, "a reply that was completed is as long as the others"
        async with httpx.AsyncClient(base_url=server.url) as http:
            async with asyncio.timeout(30):
                while (await http.get("/readyz")).status_code != 200:
                    await asyncio.sleep(0.1)
            pool = (await http.get("/status")).json()["pool"]["tts"]
            assert pool["claimed"] == pool["busy"] == pool["stopping"] == 0
        # Another machine takes its place, and the voice is made again there.
        third = await asyncio.to_thread(nodes.add, 0)
        async with asyncio.timeout(90):
            while not await asyncio.to_thread(voices_below, third.pid):
                await asyncio.sleep(0.2)
