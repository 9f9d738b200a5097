"""The server with its speech engines on a Ray that it starts itself, and that ends with it."""

from __future__ import annotations

import asyncio
import importlib.util
import os
import signal
import subprocess
from collections.abc import Iterator

import httpx
import pytest

from pipeline.engines.ray_cluster import DIRECT
from tests.cluster_ray.processes import voices_below
from tests.support import SCRIPTED, ServerProcess, call, server_process

ON_RAY = {
    **SCRIPTED,
    **DIRECT,
    "ANTIPHON_CLUSTER": "ray",
    "ANTIPHON_RAY_TTS_REPLICAS": "2",
    "ANTIPHON_TTS_SLOTS": "8",
}


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("Ray is not installed: make setup EXTRAS=ray")
    with server_process(**ON_RAY) as process:
        yield process
    assert not _of_group(process.pid), "something of its Ray is left"


def _of_group(pid: int) -> list[str]:
    """Processes that name a session of this server's Ray."""
    ps = subprocess.run(["ps", "-eo", "pid,args"], capture_output=True, text=True, check=True)
    lines = ps.stdout.splitlines()
    return [line for line in lines if "antiphon-ray-" in line and f"_{pid}/" in line]


async def two_voices(pid: int) -> list[int]:
    async with asyncio.timeout(60):
        while len(found := await asyncio.to_thread(voices_below, pid)) != 2:
            await asyncio.sleep(0.2)
    return found


async def test_a_turn_is_heard_and_answered_as_ever(server: ServerProcess) -> None:
    async with call(server.ws_url, {}) as caller:
        await caller.say("text", text="hello", id="1")
        done = await caller.play()
        assert done["status"] == "completed"
        assert len(caller.audio[1])


async def test_the_status_names_the_engines_and_where_they_run(server: ServerProcess) -> None:
    async with httpx.AsyncClient(base_url=server.url) as client:
        status = (await client.get("/status")).json()
    for kind in ("tts", "stt", "eot"):
        assert status["engines"][kind]["name"] == "scripted"
        assert status["engines"][kind]["device"] == "ray/cpu"
    assert status["pool"]["tts"]["slots"] == 8


async def test_a_replica_killed_in_mid_reply_is_not_heard_and_comes_back(
    server: ServerProcess,
) -> None:
    """kill -9 of one of two synthesizers while three people are answered."""
    before = await two_voices(server.pid)

    async def answered(number: int) -> dict[str, object]:
        async with call(server.ws_url, {}) as caller:
            await caller.say("text", text=f"hello {number}", id="1")
            await caller.until("reply_started")
            while not caller.audio:
                await caller.next()
            started.release()
            await killed.wait()
            return await caller.play()

    started, killed = asyncio.Semaphore(0), asyncio.Event()

    async def kill() -> None:
        for _ in range(3):
            await started.acquire()
        os.kill(before[0], signal.SIGKILL)
        killed.set()

    *dones, _ = await asyncio.gather(*[answered(number) for number in range(3)], kill())
    assert [done["status"] for done in dones if done] == ["completed"] * 3
    after = await two_voices(server.pid)
    assert before[0] not in after
    async with httpx.AsyncClient(base_url=server.url) as client:
        pool = (await client.get("/status")).json()["pool"]
    assert pool["tts"]["claimed"] == pool["tts"]["busy"] == pool["tts"]["stopping"] == 0


async def test_a_server_whose_replicas_are_all_gone_is_not_ready_until_one_answers(
    server: ServerProcess,
) -> None:
    async def until(code: int) -> str:
        async with asyncio.timeout(60), httpx.AsyncClient(base_url=server.url) as client:
            while (answer := await client.get("/readyz")).status_code != code:
                await asyncio.sleep(0.1)
            why: str = answer.json()["status"]
            pool = (await client.get("/status")).json()["pool"]["tts"]
            assert pool["breaker"] == ("closed" if code == 200 else "open")
            return why

    stopped = await two_voices(server.pid)
    try:
        for pid in stopped:
            os.kill(pid, signal.SIGSTOP)
        assert "speech synthesis is away" in await until(503)
        async with call(server.ws_url, {}) as caller:
            await caller.say("text", text="hello", id="1")
            assert (await caller.until("error"))["code"] == "TTS_FAILED"
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
    assert await until(200) == "ready"
