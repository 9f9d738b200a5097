"""A Ray cluster of two nodes on this machine: a replica of one, and then all of that node, is
killed while people are answered."""

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
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from benchmarks.client import Caller, Reply, calling
from pipeline.engines.ray_cluster import DIRECT
from pipeline.engines.ray_serve import SILENT_S
from tests.cluster_ray.marking import spoken_for
from tests.cluster_ray.processes import below, voices_below
from tests.support import ROOT, SCRIPTED, ServerProcess, server_process
from tests.valkey import free_port

SPEEDS = (0.85, 0.95, 1.05, 1.15)
"""Of four people: each chooses another, which tells them apart."""
_BUSY = 5 if os.environ.get("CI") else 1
"""Where CI is set the machine is anybody's."""
GAP_S = 2.0 * _BUSY
"""The longest pause in a reply that goes on elsewhere."""
UNMOVED_S = 0.25 * _BUSY
"""And in anybody else's: as a bystander's (`tests/faults/bystander.py`)."""
SILENCE_S = (SILENT_S + 3.0) * _BUSY
"""The same after a node that says nothing any more: it must be noticed first."""
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
    marks: str
    """A folder for those of `slow_voices`."""
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
def nodes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nodes]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: make setup EXTRAS=ray")
    marks = tmp_path_factory.mktemp("marks")
    there = Nodes(tempfile.mkdtemp(prefix="antiphon-ray-"), str(marks))
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
        [sys.executable, "-m", "tests.cluster_ray.slow_voices", nodes.address, nodes.marks],
        cwd=ROOT, env={**os.environ, **nodes.environ}, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr[-2_000:]


@pytest.fixture(scope="module")
def server(nodes: Nodes) -> Iterator[ServerProcess]:
    """A gateway of the cluster."""
    environ = {
        **nodes.environ, **SCRIPTED, "ANTIPHON_CLUSTER": "ray",
        "ANTIPHON_RAY_ADDRESS": nodes.address, "ANTIPHON_TTS_SLOTS": "8",
    }  # fmt: skip
    with server_process(**environ) as process:
        yield process


@dataclass
class Person:
    """Someone who asks and listens, again and again, at a loudspeaker in real time."""

    caller: Caller
    speed: float

    @property
    def replies(self) -> list[Reply]:
        return list(self.caller.replies.values())

    @property
    def hears(self) -> bool:
        """In the middle of a reply."""
        return bool(self.replies) and self.replies[-1].playback.started_at is not None

    @property
    def pause_s(self) -> float:
        """The longest in a reply that was heard to its end."""
        whole = (reply for reply in self.replies if reply.status == "completed")
        return max((stall for reply in whole for stall in reply.playback.stalls_s), default=0.0)

    async def converse(self, enough: asyncio.Event) -> None:
        """Until it is, and once more."""
        last = False
        while not last:
            last, number = enough.is_set(), len(self.replies)
            await self.caller.ask("hello")
            async with asyncio.timeout(60):
                while len(self.replies) == number or not self.replies[-1].status:
                    await asyncio.sleep(0.01)

    def check(self, lost_at: float, within_s: float) -> None:
        """Each reply is whole, or failed as it is promised, in time."""
        for reply in self.replies[:-1]:
            if reply.status == "completed":
                assert reply.playback.audio.tolist() == self.replies[-1].playback.audio.tolist()
        assert self.replies[-1].status == "completed"
        errors = [note for note in self.caller.notes if note.message["type"] == "error"]
        assert len(errors) == sum(reply.status != "completed" for reply in self.replies)
        for error in errors:
            assert error.message["code"] == "TTS_FAILED"
            assert error.at - lost_at <= within_s


async def talk_while(
    server: ServerProcess, marks: Path, voice: int, kill: Callable[[], None], *,
    gap_s: float = GAP_S, unmoved_s: float = UNMOVED_S,
) -> None:  # fmt: skip
    """Four people are answered; `kill` takes away that replica, and perhaps more, in the middle of
    what it says to someone. Asserts what each of them heard."""
    enough = asyncio.Event()
    async with AsyncExitStack() as lines, asyncio.TaskGroup() as talks:
        people = [
            Person(
                await lines.enter_async_context(calling(server.ws_url, voice="tone", speed=speed)),
                speed,
            )
            for speed in SPEEDS
        ]
        for person in people:
            talks.create_task(person.converse(enough))
        await _a_later_clause(people, marks, voice)
        lost_at = time.monotonic()
        await asyncio.to_thread(kill)
        enough.set()
    lost = spoken_for(marks, voice)
    pauses = {person.speed: round(person.pause_s, 3) for person in people}
    print(f"lost calls of {sorted(lost)}; longest pauses in s, by person: {pauses}")
    assert lost, "it was killed in the middle of what it said"
    assert len(lost) < len(people), "somebody was spoken to by another one"
    for person in people:
        person.check(lost_at, gap_s)
        assert person.pause_s <= (gap_s if person.speed in lost else unmoved_s)
    async with httpx.AsyncClient(base_url=server.url) as http:
        async with asyncio.timeout(30):
            while (await http.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.1)
        pool = (await http.get("/status")).json()["pool"]["tts"]
        assert pool["claimed"] == pool["busy"] == pool["stopping"] == 0


async def _a_later_clause(people: list[Person], marks: Path, voice: int) -> None:
    """Wait until this voice is in the middle of one, and all of them hear something."""
    before = spoken_for(marks, voice)
    async with asyncio.timeout(60):
        while True:
            now = spoken_for(marks, voice)
            begun = any(person.hears for person in people if person.speed in now - before)
            if begun and all(person.hears for person in people):
                break
            before = now
            await asyncio.sleep(0.005)
    await asyncio.sleep(0.15)  # of some 0.5: a few of its chunks


async def until_a_voice_is_below(node: subprocess.Popen[bytes], *, but: int = 0) -> int:
    """The replica there; not the one that was."""
    async with asyncio.timeout(90):
        while True:
            voices = await asyncio.to_thread(voices_below, node.pid)
            if found := [pid for pid in voices if pid != but]:
                return found[0]
            await asyncio.sleep(0.2)


async def test_a_replica_killed_in_mid_reply_costs_its_listeners_a_gap_and_nobody_else_anything(
    nodes: Nodes, server: ServerProcess
) -> None:
    second = nodes.running[1]
    voice = await until_a_voice_is_below(second)
    await talk_while(server, Path(nodes.marks), voice, lambda: os.kill(voice, signal.SIGKILL))
    await until_a_voice_is_below(second, but=voice)


async def test_a_node_killed_in_mid_reply_costs_its_listeners_a_gap_and_nobody_else_anything(
    nodes: Nodes, server: ServerProcess
) -> None:
    second = nodes.running[1]
    voice = await until_a_voice_is_below(second)
    await talk_while(server, Path(nodes.marks), voice, lambda: nodes.kill(second))
    # Another machine takes its place, and the voice is made again there.
    await until_a_voice_is_below(await asyncio.to_thread(nodes.add, 0))


async def test_a_node_that_falls_silent_in_mid_reply_costs_its_listeners_some_seconds(
    nodes: Nodes, server: ServerProcess
) -> None:
    """As a machine without power: no connection ends. Who is answered elsewhere may be sent there
    for a clause, before it is known."""
    third = nodes.running[1]
    voice = await until_a_voice_is_below(third)

    def stop() -> None:
        for pid in (third.pid, *below(third.pid)):
            os.kill(pid, signal.SIGSTOP)

    try:
        await talk_while(
            server, Path(nodes.marks), voice, stop, gap_s=SILENCE_S, unmoved_s=SILENCE_S
        )
    finally:
        nodes.kill(third)
