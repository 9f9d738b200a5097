"""One user who comes in by every door at once, and takes back what was asked for, gets no more than
one user may."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import websockets

from tests.contract.chat_backend import ChatBackend, chat_backend
from tests.server.speech_client import client
from tests.support import LiveServer, call, live_server
from tests.tokens import AUTH, bearer, token

TURNS = 4
REFILLED = 1
"""A turn that comes back while the test runs: one in 15 s."""
SECONDS = 15


@pytest.fixture
async def backend() -> AsyncIterator[ChatBackend]:
    async with chat_backend() as model:
        yield model


@pytest.fixture
async def server(backend: ChatBackend) -> AsyncIterator[LiveServer]:
    model = {"ANTIPHON_LLM_ENGINE": "openai", "ANTIPHON_LLM_BASE_URL": backend.url}
    async with live_server(**AUTH, **model) as running:
        yield running


async def typed(server: LiveServer, shown: str, taken_back: bool) -> int:
    """Turns that are asked for as fast as it goes; how many were refused."""
    async with call(server.ws_url, {"token": shown, "speed": 4.0}) as caller:
        for number in range(2 * TURNS):
            await caller.say("text", text=f"Number {number}.", id=f"t{number}")
            if taken_back:
                await caller.say("cancel")
        await caller.say("configure", pace="quick")
        await caller.until("configured")
        return sum(one["code"] == "RATE_LIMITED" for one in caller.of("error"))


async def asked(server: LiveServer, shown: str) -> int:
    """The same by Realtime, out of band too."""
    url = server.url.replace("http", "ws") + "/v1/realtime"
    async with websockets.connect(url, additional_headers=bearer(shown)) as socket:
        for number in range(2 * TURNS):
            more = {"conversation": "none", "output_modalities": ["text"]} if number % 2 else {}
            await socket.send(json.dumps({"type": "response.create", "response": more}))
            await socket.send(json.dumps({"type": "response.cancel"}))
        await socket.send(json.dumps({"type": "session.update", "session": {"type": "realtime"}}))
        refused = 0
        async with asyncio.timeout(SECONDS):
            while True:
                event = json.loads(await socket.recv())
                if event["type"] == "session.updated":
                    return refused
                limited = event.get("error", {}).get("code") == "rate_limit_exceeded"
                refused += event["type"] == "error" and limited


async def test_turns_by_all_doors_at_once_are_one_users(
    server: LiveServer, backend: ChatBackend
) -> None:
    shown = token("anna", limits={"turns_per_minute": TURNS})
    ways = [typed(server, shown, back) for back in (True, False, True)]
    ways += [asked(server, shown) for _ in range(2)]
    refused = sum(await asyncio.gather(*ways))
    assert refused >= len(ways) * 2 * TURNS - TURNS - REFILLED
    assert len(backend.requests) <= TURNS + REFILLED


async def test_what_is_read_by_all_doors_is_one_users(server: LiveServer) -> None:
    shown = token("anna", limits={"characters_per_minute": 100})
    url = server.url.replace("http", "ws") + "/v1/realtime"
    called = {"type": "function_call", "call_id": "c", "name": "n" * 64, "arguments": "{}"}
    async with (
        client(server.url) as http,
        websockets.connect(url, additional_headers=bearer(shown)) as socket,
    ):
        for _ in range(2):  # its name is read too
            await socket.send(json.dumps({"type": "conversation.item.create", "item": called}))
        told: dict[str, dict[str, Any]] = {}
        async with asyncio.timeout(SECONDS):
            while not {"conversation.item.added", "error"} <= told.keys():
                event = json.loads(await socket.recv())
                told[event["type"]] = event
        assert told["error"]["error"]["code"] == "rate_limit_exceeded"
        spoken = {"input": "This has more than the thirty-four characters that are left."}
        answer = await http.post("/v1/audio/speech", json=spoken, headers=bearer(shown))
        assert answer.status_code == 429
