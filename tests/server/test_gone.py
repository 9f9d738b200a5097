"""Whoever has gone is gone at once, not when Python's collector comes by."""

from __future__ import annotations

import asyncio
import gc
import json
import weakref
from collections.abc import Awaitable, Callable, Iterator

import httpx
import pytest
from structlog.testing import capture_logs

from pipeline.engines.ports import Transcript
from pipeline.engines.scripted import (
    ScriptedEndOfTurn,
    ScriptedLanguageModel,
    ScriptedSynthesizer,
    ScriptedTranscriber,
)
from pipeline.errors import SttFailed
from pipeline.pool import Slot
from pipeline.speaking import Speaking
from pipeline.thinking import Thinking
from pipeline.user import User
from server.exchange import Exchange
from server.house import House
from server.peer import HttpPeer, PeerProtocol
from session.inbox import Inbox
from tests.realtime.client import connected
from tests.support import Caller, call, live_server, murmur, silence


@pytest.fixture(autouse=True)
def no_collector() -> Iterator[None]:
    gc.collect()
    gc.freeze()  # nor what earlier tests left: a parameter that was raised keeps its traceback
    gc.disable()
    yield
    gc.enable()
    gc.unfreeze()


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


@pytest.mark.parametrize(
    "engine",
    [ScriptedTranscriber, ScriptedEndOfTurn, ScriptedLanguageModel, ScriptedSynthesizer],
)
async def test_nothing_does_of_one_whose_engines_fail(
    engine: type[object], monkeypatch: pytest.MonkeyPatch
) -> None:
    for call_of_it in ("transcribe", "probability", "generate", "synthesize"):
        if hasattr(engine, call_of_it):
            monkeypatch.setattr(engine, call_of_it, lambda *_, **__: 1 // 0)
    async with live_server() as server:
        async with call(server.ws_url, {}) as caller:
            gone = ears(server.house)
            await caller.speak(murmur(1.0) + silence(1.5))
            await asyncio.sleep(0.5)
            caller.socket.transport.abort()
        await let_go(gone)
        async with asyncio.timeout(5):
            while there(Thinking, Speaking, Slot):
                await asyncio.sleep(0.05)


@pytest.mark.parametrize("busy", [False, True], ids=["at once", "out of the inbox"])
async def test_nothing_does_of_one_that_a_fault_of_ours_ends(
    busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(User, "hear", lambda *_, **__: 1 // 0)
    if busy:
        monkeypatch.setattr(Inbox, "awaited", False)
    async with live_server() as server:
        with capture_logs():  # a traceback that is shown with its locals keeps them
            async with call(server.ws_url, {}) as caller:
                gone = ears(server.house)
                await caller.speak(silence(0.5))
                await caller.closed()
        await let_go(gone)


class OwnEar:
    """A session's own recogniser, which knows the session, and hears nothing."""

    def __init__(self, ask: object) -> None:
        self._ask = ask

    def feed(self, frame: object, end: int) -> None:
        pass

    async def words(self, *_: object, **__: object) -> Transcript:
        raise SttFailed("nothing")

    async def close(self) -> None:
        pass


@pytest.mark.parametrize("opens", [True, False, None], ids=["opens", "fails", "takes its time"])
async def test_nothing_does_of_one_with_a_recogniser_of_its_own(
    opens: bool | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Ears:
        async def recogniser(self, ask: object) -> OwnEar:
            if opens is None:
                await asyncio.Event().wait()
            return OwnEar(ask) if opens else OwnEar(1 // 0)

    monkeypatch.setattr(House, "ears", Ears())
    async with live_server() as server:
        async with call(server.ws_url, {}) as caller:
            gone = ears(server.house) if opens is not False else []
            await caller.speak(murmur(0.5) + silence(0.5))
        await let_go(gone)


async def test_nothing_of_a_connection_does_over_http_or_a_socket() -> None:
    async with live_server() as server:
        async with httpx.AsyncClient(base_url=server.url) as http:
            (await http.get("/status")).raise_for_status()
            spoken = await http.post("/v1/audio/speech", json={"model": "tts-1", "input": "Hello."})
            spoken.raise_for_status()
            assert there(HttpPeer, PeerProtocol, Exchange)
        async with call(server.ws_url, {}):
            assert there(HttpPeer, PeerProtocol, Exchange)
        async with call(server.ws_url):
            pass  # gone before its hello
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        body = json.dumps({"model": "tts-1", "input": "Hello you. " * 300}).encode()
        head = f"POST /v1/audio/speech HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}"
        writer.write(f"{head}\r\ncontent-type: application/json\r\n\r\n".encode() + body)
        await reader.read(100)
        writer.transport.abort()  # in the middle of its answer
        async with asyncio.timeout(5):
            while there(HttpPeer, PeerProtocol, Exchange):
                await asyncio.sleep(0.05)


def there(*kinds: type[object]) -> list[object]:
    return [one for one in gc.get_objects() if issubclass(type(one), kinds)]
