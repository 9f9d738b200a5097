"""A server under load leaves work off, step by step, and says so."""

from __future__ import annotations

import asyncio
from itertools import count
from time import sleep as stand_still

import httpx

from pipeline.pool import TTS, Purpose, ResourcePool
from server.load import LoadMonitor
from session.shedding import ENTERED_AT, Level, Sample
from tests.support import call, live_server, murmur, silence

CALM = Sample(0.0, 0.0)
LATER = count(1_000_000, 1_000)
"""Times after all that the server's own looks have, which go on meanwhile."""


def press(load: LoadMonitor, level: Level) -> None:
    """Put a server under a load that stays, in no time."""
    began = next(LATER)
    for number in range(20):
        load.note(ENTERED_AT[level], began + number)
    assert load.level is level


def relax(load: LoadMonitor) -> None:
    began = next(LATER)
    for number in range(20):
        load.note(CALM, began + 10.0 * number)
    assert load.level is Level.NOTHING


async def test_a_server_at_ease_leaves_nothing_off() -> None:
    async with live_server() as server, httpx.AsyncClient(base_url=server.url) as http:
        status = (await http.get("/status")).json()
        assert status["shedding"] == 0
        assert status["load"].keys() == {"loop_lag_ms", "queue_late_ms"}


async def test_under_load_no_reply_is_begun_before_its_turn_is_over() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        (session,) = server.house.sessions
        begun = []
        for level in (Level.NOTHING, Level.SPECULATION, Level.NOTHING):
            if level:
                press(server.house.load, level)
            else:
                relax(server.house.load)
            # A pause, in which the words are known before it is long enough to end the turn.
            await caller.speak(murmur(1.0) + silence(0.2))
            await caller.play()
            begun.append(session._turns.machine.speculation.begun)
        assert begun == [1, 1, 2]


async def test_what_a_client_configures_under_load_does_not_bring_back_what_was_left_off() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        press(server.house.load, Level.PARTIALS)
        await caller.say("text", text="hello")
        await caller.play()
        await caller.say("configure", pace="patient")
        await caller.until("configured")
        (session,) = server.house.sessions
        config = session._turns.machine.config
        assert (config.pace, config.speculate) == ("patient", False)
        assert config.partial_every > 16_000 * 3


async def test_an_overloaded_server_takes_no_newcomers_and_keeps_those_it_has() -> None:
    async with (
        live_server(ANTIPHON_MAX_SESSIONS="2") as server,
        httpx.AsyncClient(base_url=server.url) as http,
        call(server.ws_url, {}) as inside,
    ):
        press(server.house.load, Level.NEWCOMERS)
        ready = await http.get("/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "overloaded")
        assert (await http.get("/status")).json()["shedding"] == 3
        async with call(server.ws_url) as newcomer:
            error = await newcomer.until("error")
            assert (error["code"], error["retry_after_ms"]) == ("AT_CAPACITY", 10_000)
            assert await newcomer.closed() == 1013
        await inside.say("text", text="and I?")
        assert (await inside.play())["status"] == "completed"
        relax(server.house.load)
        assert (await http.get("/readyz")).status_code == 200
        async with call(server.ws_url, {}):
            pass


async def test_those_who_wait_are_let_in_when_the_load_is_gone() -> None:
    async with (
        live_server(ANTIPHON_MAX_SESSIONS="1") as server,
        call(server.ws_url, {}) as inside,
        call(server.ws_url) as waiting,
    ):
        await waiting.say("hello")
        await waiting.until("waiting")
        press(server.house.load, Level.NEWCOMERS)
        await inside.say("bye")
        await inside.closed()
        async with asyncio.timeout(5):
            while server.house.sessions.admission.full:
                await asyncio.sleep(0.005)
        relax(server.house.load)
        await waiting.until("welcome")


async def test_the_monitor_sees_a_loop_that_runs_late() -> None:
    async with live_server() as server:
        load = server.house.load
        async with asyncio.timeout(20):
            while load.last.lag_s < 0.05:
                # What must never be done on a loop.
                asyncio.get_running_loop().call_soon(stand_still, 0.25)
                await asyncio.sleep(0.05)


async def test_the_monitor_sees_a_request_that_is_overdue() -> None:
    async with live_server() as server:
        pool = server.house.pool
        async with pool.lease(TTS, "anna", purpose=Purpose.FIRST_CLAUSE):
            waiting = asyncio.ensure_future(take(pool))
            async with asyncio.timeout(20):
                while server.house.load.last.late_s < 0.05:
                    await asyncio.sleep(0.05)
        await waiting
        assert pool.late_s() == 0.0


async def take(pool: ResourcePool) -> None:
    async with pool.lease(TTS, "ben", purpose=Purpose.FIRST_CLAUSE):
        pass
