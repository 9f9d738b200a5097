"""Client secrets: who gets one, what it brings, and when it is over."""

from __future__ import annotations

import httpx
import pytest
import websockets
from openai import AsyncOpenAI

from tests.realtime.client import Client, connected
from tests.support import live_server


async def test_a_secret_brings_the_session_that_it_was_given_for() -> None:
    async with live_server() as server:
        async with AsyncOpenAI(api_key="any", base_url=f"{server.url}/v1") as client:
            secret = await client.realtime.client_secrets.create(
                expires_after={"anchor": "created_at", "seconds": 60},
                session={"type": "realtime", "instructions": "Be a pirate.", "model": "mine"},
            )
        assert secret.value.startswith("ek_")
        assert secret.session.instructions == "Be a pirate."
        protocols = ["realtime", f"openai-insecure-api-key.{secret.value}"]
        url = f"{server.url.replace('http', 'ws')}/v1/realtime"
        async with websockets.connect(url, subprotocols=protocols) as socket:
            assert socket.subprotocol == "realtime"
            created = await Client(socket).until("session.created")
            assert created["session"]["instructions"] == "Be a pirate."
            assert created["session"]["model"] == "mine"


async def test_a_session_that_is_nested_too_deep_is_a_mistake() -> None:
    async with live_server() as server, httpx.AsyncClient(base_url=server.url) as http:
        for name in ("model", "tracing"):
            for depth in (101, 900, 980, 990, 2_000):
                deep = f'{{"session":{{"{name}":{"[" * depth + "]" * depth}}}}}'
                refused = await http.post("/v1/realtime/client_secrets", content=deep)
                assert refused.status_code == 400
                assert refused.json()["error"]["code"] == "BAD_MESSAGE"


async def test_any_other_key_is_taken() -> None:
    async with live_server() as server:
        headers = {"Authorization": "Bearer sk-whatever"}
        url = server.url.replace("http", "ws")
        async with connected(url, additional_headers=headers) as client:
            assert client.socket.subprotocol is None


async def test_a_secret_that_is_none_is_refused_before_the_socket_opens() -> None:
    async with live_server() as server:
        url = f"{server.url.replace('http', 'ws')}/v1/realtime"
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(url, additional_headers={"Authorization": "Bearer ek_no"})
        assert refused.value.response.status_code == 401


async def test_a_secret_serves_once() -> None:
    async with live_server() as server:
        async with AsyncOpenAI(api_key="any", base_url=f"{server.url}/v1") as client:
            secret = await client.realtime.client_secrets.create()
        headers = {"Authorization": f"Bearer {secret.value}"}
        url = server.url.replace("http", "ws")
        async with connected(url, additional_headers=headers):
            pass
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(f"{url}/v1/realtime", additional_headers=headers)
        assert refused.value.response.status_code == 401
