"""A full house: who waits is let in later, who cannot wait is told so."""

from __future__ import annotations

import asyncio
import json
import os
import signal

import websockets

from tests.realtime.client import Client, connected
from tests.support import LiveServer, live_server


def url_of(server: LiveServer) -> str:
    return server.url.replace("http", "ws")


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
    async with live_server(ANTIPHON_MAX_SESSIONS="1", ANTIPHON_WAITING_ROOM="1") as server:
        address = f"{url_of(server)}/v1/realtime?model=m"
        async with connected(url_of(server)), websockets.connect(address) as socket:
            waiting = Client(socket)
            for _ in range(300):
                await socket.send(json.dumps({"type": "input_audio_buffer.clear"}))
            assert (await waiting.error())["code"] == "rate_limit_exceeded"
            assert await waiting.closed() == 1008


async def test_a_flood_of_events_closes() -> None:
    async with live_server() as server, connected(url_of(server)) as client:
        for _ in range(300):
            await client.socket.send(json.dumps({"type": "input_audio_buffer.clear"}))
        assert await client.closed() == 1008


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
