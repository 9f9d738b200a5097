"""A full house, over the socket: waiting, moving up, leaving, being refused."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from server import lobby
from tests.support import Caller, LiveServer, call, live_server, silence

ONE_PLACE = {"ANTIPHON_MAX_SESSIONS": "1", "ANTIPHON_WAITING_ROOM": "2"}


@asynccontextmanager
async def waiting(server: LiveServer, position: int) -> AsyncIterator[Caller]:
    """A caller who said hello and was told that it waits."""
    async with call(server.ws_url) as caller:
        await caller.say("hello")
        await caller.until("waiting", position=position)
        yield caller


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


async def leave(caller: Caller) -> None:
    await caller.say("bye")
    assert await caller.closed() == 1000


async def test_whoever_finds_the_house_full_waits_and_is_let_in_in_turn() -> None:
    async with (
        live_server(**ONE_PLACE) as server,
        call(server.ws_url, {}) as inside,
        waiting(server, 1) as first,
        waiting(server, 2) as second,
    ):
        assert first.messages == [{"type": "waiting", "position": 1, "eta_s": None}]
        await leave(inside)
        await first.until("welcome")
        await second.until("waiting", position=1)
        await leave(first)
        await second.until("welcome")
        await second.say("text", text="at last")
        assert (await second.play())["status"] == "completed"


async def test_the_eta_is_told_once_it_is_known_and_again_while_one_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lobby, "REPEAT_S", 0.05)
    async with live_server(**ONE_PLACE) as server:
        for _ in range(2):
            async with call(server.ws_url, {}) as guest:
                await leave(guest)
            await until(lambda: not server.house.sessions.admission.full)
        async with call(server.ws_url, {}), waiting(server, 1) as caller:
            for _ in range(3):
                assert (await caller.until("waiting", position=1))["eta_s"] >= 1


async def test_past_the_waiting_room_a_client_is_refused_with_when_to_come_back() -> None:
    async with (
        live_server(**ONE_PLACE) as server,
        call(server.ws_url, {}),
        waiting(server, 1),
        waiting(server, 2),
        call(server.ws_url) as refused,
    ):
        error = await refused.until("error")
        assert (error["code"], error["retry_after_ms"]) == ("AT_CAPACITY", 10_000)
        assert await refused.closed() == 1013


async def test_without_a_waiting_room_a_full_house_refuses_at_once() -> None:
    async with (
        live_server(ANTIPHON_MAX_SESSIONS="1", ANTIPHON_WAITING_ROOM="0") as server,
        call(server.ws_url, {}) as first,
    ):
        async with call(server.ws_url) as second:
            assert (await second.until("error"))["code"] == "AT_CAPACITY"
            assert await second.closed() == 1013
        await leave(first)
        await until(lambda: not server.house.sessions.admission.full)
        async with call(server.ws_url, {}):
            pass


@pytest.mark.parametrize("how", ["bye", "close", "reset"])
async def test_whoever_leaves_the_waiting_room_is_forgotten_at_once(how: str) -> None:
    async with (
        live_server(**ONE_PLACE) as server,
        call(server.ws_url, {}) as inside,
        waiting(server, 1) as leaving,
        waiting(server, 2) as staying,
    ):
        if how == "bye":
            await leave(leaving)
        elif how == "close":
            await leaving.socket.close()
        else:
            leaving.socket.transport.abort()
        await staying.until("waiting", position=1)
        assert server.house.sessions.admission.waiting == 1
        await leave(inside)
        await staying.until("welcome")


async def test_what_one_that_waits_sends_is_refused_by_name_or_dropped_and_never_kept() -> None:
    async with (
        live_server(**ONE_PLACE) as server,
        call(server.ws_url, {}) as inside,
        waiting(server, 1) as caller,
    ):
        await caller.say("text", text="hello?", id="t1")
        error = await caller.until("error")
        assert (error["code"], error["ref"]) == ("AT_CAPACITY", "t1")
        await caller.speak(silence(20.0), frame_bytes=32_000)  # no credit is spent by it
        await caller.say("hello", id="h2")
        error = await caller.until("error")
        assert (error["code"], error["ref"]) == ("BAD_MESSAGE", "h2")
        await leave(inside)
        assert (await caller.until("welcome"))["next_turn"] == 1
        await caller.say("text", text="hello?", id="t1")
        assert (await caller.until("transcript"))["ref"] == "t1"
        (session,) = server.house.sessions
        assert session.figures.bytes_in < 1_000


async def test_audio_instead_of_a_hello_gets_a_place_in_line_and_is_not_heard() -> None:
    async with (
        live_server(**ONE_PLACE) as server,
        call(server.ws_url, {}) as inside,
        call(server.ws_url) as caller,
    ):
        await caller.until("waiting")
        await caller.speak(silence(0.5))
        await caller.say("unmute", id="after the audio")
        await caller.until("error", ref="after the audio")
        await leave(inside)
        await caller.until("welcome")
        (session,) = server.house.sessions
        assert session._pipeline.listening.received_to == 0


@pytest.mark.parametrize(
    ("frame", "code"),
    [('{"type":"unmute"}', 1008), (b"\x00\x00", 1008), (bytes(70_000), 1009)],
)
async def test_a_flood_closes_in_the_waiting_room_too(frame: str | bytes, code: int) -> None:
    async with (
        live_server(**ONE_PLACE) as server,
        call(server.ws_url, {}),
        waiting(server, 1) as caller,
    ):
        await caller.socket.send(frame)
        for _ in range(10_500 if code == 1008 and isinstance(frame, bytes) else 250):
            try:
                await caller.socket.send(frame)
            except Exception:
                break
        assert await caller.closed() == code
        await until(lambda: server.house.sessions.admission.waiting == 0)


async def test_one_that_waits_and_says_nothing_does_not_keep_its_place_in_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lobby, "HELLO_S", 0.1)
    async with (
        live_server(**ONE_PLACE) as server,
        call(server.ws_url, {}),
        call(server.ws_url) as silent,
    ):
        await silent.until("waiting")
        assert await silent.closed() == 1000
        await until(lambda: server.house.sessions.admission.waiting == 0)


async def test_a_server_that_stops_sends_those_who_wait_away() -> None:
    async with (
        live_server(**ONE_PLACE, ANTIPHON_DRAIN_S="20") as server,
        call(server.ws_url, {}) as inside,
        waiting(server, 1) as caller,
    ):
        await inside.say("text", text="a reply that goes on for a while")
        await inside.until("reply_text")
        os.kill(os.getpid(), signal.SIGTERM)
        await caller.until("going_away")
        assert await caller.closed() == 1012
        assert (await inside.play())["status"] == "completed"  # nobody else was let in meanwhile
        assert await inside.closed() == 1012


async def test_a_server_that_stops_does_not_wait_for_a_first_word() -> None:
    async with live_server() as server, call(server.ws_url) as silent:
        await until(lambda: len(server.house.sessions._tickets) == 1)
        os.kill(os.getpid(), signal.SIGTERM)
        await silent.until("going_away")
        assert await silent.closed() == 1012


async def test_an_operator_sees_how_many_wait() -> None:
    async with (
        live_server(**ONE_PLACE) as server,
        httpx.AsyncClient(base_url=server.url) as http,
        call(server.ws_url, {}),
        waiting(server, 1),
    ):
        seen: dict[str, Any] = (await http.get("/status")).json()["sessions"]
        assert seen == {"active": 1, "parked": 0, "waiting": 1, "max": 1}
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "full")
        assert int(ready.headers["retry-after"]) > 0


async def test_an_operator_sees_who_waits_and_can_end_the_wait() -> None:
    async with (
        live_server(**ONE_PLACE) as server,
        httpx.AsyncClient(base_url=server.url) as http,
        call(server.ws_url, {}),
        waiting(server, 1) as caller,
    ):
        inside, outside = (await http.get("/admin/sessions")).json()
        assert (inside["state"], outside["state"]) == ("listening", "waiting")
        assert inside.keys() == outside.keys()
        assert (await http.delete(f"/admin/sessions/{outside['id']}")).status_code == 204
        assert await caller.closed() == 1000
        assert len((await http.get("/admin/sessions")).json()) == 1
