"""Whoever has gone is gone at once, not when Python's collector comes by."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import Awaitable, Callable, Iterator

import httpx
import pytest

from server.house import House
from server.peer import HttpPeer, PeerProtocol
from tests.realtime.client import connected
from tests.support import Caller, call, live_server, murmur, silence


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.disable()
    yield
    gc.enable()


async def is_polite(caller: Caller) -> None:
    await caller.say("text", text="Hello.")
    await caller.play()
    await caller.say("bye")
    await caller.closed()


async def hangs_up_in_a_reply(caller: Caller) -> None:
    await caller.speak(murmur(1.0) + silence(1.5))
    await caller.until("reply_started")
    caller.socket.transport.abort()


async def cuts_in(caller: Caller) -> None:
    await caller.say("text", text="Hello.")
    await caller.until("reply_started")
    await caller.speak(murmur(1.0) + silence(1.5))
    await caller.until("interrupted")
    await caller.play()


async def says_nothing(caller: Caller) -> None:
    pass


async def makes_mistakes(caller: Caller) -> None:
    for _ in range(3):
        await caller.say("nonsense")
    await caller.closed()


def ears(house: House) -> list[weakref.ref[object]]:
    """What a session is seen by: itself, and the largest thing that it holds."""
    (session,) = house.sessions
    return [weakref.ref(session), weakref.ref(session._pipeline.listening._ring)]


async def let_go(gone: list[weakref.ref[object]]) -> None:
    async with asyncio.timeout(5):
        while any(one() is not None for one in gone):
            await asyncio.sleep(0.01)


@pytest.mark.parametrize(
    "client", [is_polite, hangs_up_in_a_reply, cuts_in, says_nothing, makes_mistakes]
)
async def test_nothing_of_a_session_outlasts_it(
    client: Callable[[Caller], Awaitable[None]],
) -> None:
    async with live_server() as server:
        async with call(server.ws_url, {}) as caller:
            gone = ears(server.house)
            await client(caller)
        await let_go(gone)
        async with call(server.ws_url, {"resume": caller.of("welcome")[0]["resume"]}) as back:
            gone = ears(server.house)
            await back.say("text", text="Hello again.")
            await back.play()
        await let_go(gone)


async def test_nothing_of_a_realtime_session_does() -> None:
    async with live_server() as server:
        async with connected(f"ws://127.0.0.1:{server.port}") as client:
            gone = ears(server.house)
            await client.type("Hello.")
            await client.say("response.create")
            await client.done()
        await let_go(gone)


async def test_nothing_of_a_connection_does_over_http_or_a_socket() -> None:
    async with live_server() as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            (await http.get("/status")).raise_for_status()
            spoken = await http.post("/v1/audio/speech", json={"model": "tts-1", "input": "Hello."})
            spoken.raise_for_status()
            assert protocols()
        async with call(server.ws_url, {}):
            assert protocols()
        async with asyncio.timeout(5):
            while protocols():
                await asyncio.sleep(0.05)


def protocols() -> list[object]:
    kinds = (HttpPeer, PeerProtocol)
    return [one for one in gc.get_objects() if issubclass(type(one), kinds)]
