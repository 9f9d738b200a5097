"""Models that nobody needs leave the memory where the operator wants it so, and come back."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from pipeline.errors import SettingsError
from server.settings import load
from tests.support import SCRIPTED, LiveServer, call, live_server, murmur, silence

KINDS = ("stt", "eot", "tts", "llm")


async def instances(http: httpx.AsyncClient) -> list[int]:
    pool = (await http.get("/status")).json()["pool"]
    return [pool[kind]["instances"] for kind in KINDS]


async def until(http: httpx.AsyncClient, count: list[int]) -> None:
    async with asyncio.timeout(20):
        while await instances(http) != count:
            await asyncio.sleep(0.01)


async def ready(server: LiveServer, http: httpx.AsyncClient) -> None:
    assert server.house.why_not_ready() is None
    assert (await http.get("/v1/audio/voices")).json()


async def test_who_comes_after_a_long_time_is_answered_as_anybody() -> None:
    async with (
        live_server(ANTIPHON_UNLOAD_S="0.5") as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        await until(http, [0, 0, 0, 0])
        await ready(server, http)
        async with call(server.ws_url, {}) as caller:
            await until(http, [1, 1, 1, 1])  # as the session begins
            await until(http, [0, 0, 0, 0])
            await caller.speak(murmur(1.0) + silence(2.0))
            assert (await caller.until("transcript", final=True))["text"]
            assert (await caller.play())["status"] == "completed"
        await until(http, [0, 0, 0, 0])
        spoken = await http.post("/v1/audio/speech", json={"input": "Are you still there?"})
        assert spoken.status_code == 200
        await ready(server, http)


def test_a_share_of_a_gpus_memory_is_measured_at_the_start_alone() -> None:
    share = {"ANTIPHON_UNLOAD_S": "600", "ANTIPHON_TTS_GPU_MEMORY": "4"}
    with pytest.raises(SettingsError, match="ANTIPHON_UNLOAD_S"):
        load({**SCRIPTED, **share}, env_file=None)
