"""A full house: who waits is let in later, who cannot wait is told so."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import pytest
import websockets

from tests.realtime.client import Client, connected
from tests.realtime.test_orders import speech
from tests.support import LiveServer, live_server

EVENTS = 150
"""That may come at once, but not twice."""


def url_of(server: LiveServer) -> str:
    return server.url.replace("http", "ws")


async def read(waiting: Client) -> None:
    """Until all that it sent was read: what is no event is answered at once."""
    await waiting.socket.send(b"")
    assert (await waiting.error())["code"] == "invalid_value"


async def test_what_was_sent_while_waiting_is_done_after_the_session_is_there() -> None:
    async with live_server(ANTIPHON_MAX_SESSIONS="1", ANTIPHON_WAITING_ROOM="1") as server:
        address = f"{url_of(server)}/v1/realtime?model=m"
        async with connected(url_of(server)) as first, websockets.connect(address) as socket:
            waiting = Client(socket)
            await waiting.say("session.update", session={"instructions": "Wait."})
            await first.socket.close()
            await waiting.until("session.created")
            updated = await waiting.until("session.updated")
            assert updated["session"]["instructions"] == "Wait."


async def test_where_nobody_more_can_wait_one_is_told_and_closed() -> None:
    async with live_server(ANTIPHON_MAX_SESSIONS="1", ANTIPHON_WAITING_ROOM="0") as server:
        address = f"{url_of(server)}/v1/realtime?model=m"
        async with connected(url_of(server)), websockets.connect(address) as socket:
            refused = Client(socket)
            assert (await refused.error())["code"] == "server_overloaded"
            assert await refused.closed() == 1013


async def test_nobody_waits_long_without_a_word(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.lobby.SILENT_S", 0.3)
    async with live_server(ANTIPHON_MAX_SESSIONS="1", ANTIPHON_WAITING_ROOM="1") as server:
        address = f"{url_of(server)}/v1/realtime?model=m"
        async with connected(url_of(server)), websockets.connect(address) as socket:
            waiting = Client(socket)
            assert (await waiting.error())["code"] == "server_overloaded"
            assert await waiting.closed() == 1013
            assert not server.house.sessions.admission.waiting


async def test_who_waits_at_a_server_that_stops_is_told_and_closed() -> None:
    async with live_server(ANTIPHON_MAX_SESSIONS="1", ANTIPHON_WAITING_ROOM="1") as server:
        address = f"{url_of(server)}/v1/realtime?model=m"
        async with connected(url_of(server)), websockets.connect(address) as socket:
            async with asyncio.timeout(20):
                while not server.house.sessions.admission.waiting:
                    await asyncio.sleep(0.005)
            os.kill(os.getpid(), signal.SIGTERM)
            waiting = Client(socket)
            assert (await waiting.error())["code"] == "session_expired"
            assert await waiting.closed() == 1012


async def test_who_sends_too_much_while_waiting_is_closed() -> None:
    event = json.dumps({"type": "conversation.item.delete", "item_id": "none"})
    for events in ([event] * 300, ["x" * 400_000] * 3):
        async with live_server(ANTIPHON_MAX_SESSIONS="1", ANTIPHON_WAITING_ROOM="1") as server:
            address = f"{url_of(server)}/v1/realtime?model=m"
            async with connected(url_of(server)), websockets.connect(address) as socket:
                waiting = Client(socket)
                for text in events:
                    await socket.send(text)
                assert (await waiting.error())["code"] == "rate_limit_exceeded"
                assert await waiting.closed() == 1008
                assert waiting.kinds == ["error"]


async def test_whoever_waits_with_an_open_microphone_is_let_in_and_what_it_heard_is_not() -> None:
    async with live_server(ANTIPHON_MAX_SESSIONS="1", ANTIPHON_WAITING_ROOM="1") as server:
        address = f"{url_of(server)}/v1/realtime?model=m"
        async with connected(url_of(server)) as first, websockets.connect(address) as socket:
            waiting = Client(socket)
            await waiting.append(speech(20.0), piece=960)  # of 20 ms: a thousand events
            await waiting.append(speech(20.0))  # and more bytes than are kept of what is
            await waiting.say("session.update", session={"instructions": "Wait."})
            await read(waiting)
            await first.socket.close()
            assert (await waiting.until("session.updated"))["session"]["instructions"] == "Wait."
            await waiting.say("input_audio_buffer.commit")
            assert (await waiting.error())["code"] == "input_audio_buffer_commit_empty"


async def test_what_was_sent_while_waiting_is_no_flood_when_the_session_begins() -> None:
    async with live_server(ANTIPHON_MAX_SESSIONS="1", ANTIPHON_WAITING_ROOM="1") as server:
        address = f"{url_of(server)}/v1/realtime?model=m"
        async with connected(url_of(server)) as first, websockets.connect(address) as socket:
            waiting = Client(socket)
            for at in range(EVENTS):
                await waiting.say("conversation.item.retrieve", item_id="none", event_id=f"{at}")
            await waiting.say("session.update", session={"instructions": "Wait."})
            await read(waiting)
            await first.socket.close()
            assert (await waiting.until("session.updated"))["session"]["instructions"] == "Wait."
            asked = [error["error"]["event_id"] for error in waiting.of("error")[1:]]
            assert asked == [str(at) for at in range(EVENTS)]


async def test_a_flood_of_events_is_told_and_closes() -> None:
    async with live_server() as server, connected(url_of(server)) as client:
        for _ in range(300):
            await client.socket.send(json.dumps({"type": "input_audio_buffer.clear"}))
        error = await client.error()
        assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
        assert await client.closed() == 1008
        assert client.kinds[-1] == "error"


async def test_an_ended_session_leaves_nothing_behind() -> None:
    async with live_server() as server:
        async with connected(url_of(server)) as client:
            await client.type("Hello.")
            await client.say("response.create")
            await client.until("response.output_audio.delta")
            (session,) = list(server.house.sessions)
            assert session.identity.protocol == "realtime"
        await server.house.sessions._empty.wait()
        pool = server.house.pool
        assert not len(server.house.sessions)
        assert set(pool.claims(session.identity.session).values()) <= {0}
