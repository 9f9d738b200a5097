"""What is kept of a session that has no way back: for its user, and nobody else."""

from __future__ import annotations

import asyncio
import json
import sqlite3
from contextlib import closing
from typing import Any

import httpx

from pipeline.errors import StoreFailed
from session.sqlite_store import FILE
from tests.realtime.client import Client, connected
from tests.support import LiveServer, live_server
from tests.tokens import AUTH, bearer, token

KEPT = {**AUTH, "ANTIPHON_RETENTION_S": "3600"}


def stored(server: LiveServer) -> list[dict[str, Any]]:
    """What a server that is killed now leaves on the disk."""
    file = server.house.settings.data_dir / FILE
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as db:
        return [json.loads(body) for (body,) in db.execute("SELECT body FROM sessions")]


def as_user(name: str) -> dict[str, Any]:
    return {"additional_headers": bearer(token(name))}


async def answered(client: Client, text: str) -> None:
    """A typed turn."""
    await client.type(text)
    await client.say("response.create")
    await client.done()


async def all_gone(server: LiveServer) -> None:
    """Wait until nobody is here, and what that led to is written."""
    async with asyncio.timeout(10):
        await server.house.sessions._empty.wait()
        assert server.house.keeping is not None
        await server.house.keeping._writing.idle()


async def data_of(server: LiveServer, user: str, method: str = "GET") -> dict[str, Any]:
    async with httpx.AsyncClient(base_url=server.url) as http:
        told: dict[str, Any] = (await http.request(method, f"/v1/users/{user}/data")).json()
        return told


def url_of(server: LiveServer) -> str:
    return server.url.replace("http", "ws")


async def test_a_turn_is_stored_before_its_response_is_done() -> None:
    async with (
        live_server(**KEPT) as server,
        connected(url_of(server), **as_user("anna")) as client,
    ):
        await answered(client, "My name is Anna.")
        (kept,) = stored(server)
        assert (kept["user"], kept["next_reply"]) == ("anna", 2)
        assert [(item["role"], item["status"]) for item in kept["items"]] == [
            ("user", "completed"), ("assistant", "completed"),
        ]  # fmt: skip
        assert kept["items"][0]["text"] == "My name is Anna."


async def test_what_a_client_chooses_is_stored_too() -> None:
    async with (
        live_server(**KEPT) as server,
        connected(url_of(server), **as_user("anna")) as client,
    ):
        await client.update(instructions="Be brief.", audio={"output": {"speed": 1.5}})
        await answered(client, "Hello.")
        (kept,) = stored(server)
        assert (kept["settings"]["instructions"], kept["settings"]["speed"]) == ("Be brief.", 1.5)


async def test_a_session_that_is_over_is_kept_for_its_user_and_cannot_be_resumed() -> None:
    async with live_server(**KEPT) as server:
        async with connected(url_of(server), **as_user("anna")) as client:
            await answered(client, "My name is Anna.")
        await all_gone(server)
        assert server.house.keeping is not None
        assert server.house.keeping.parked == 0
        (session,) = (await data_of(server, "anna"))["sessions"]
        assert session["items"][0]["text"] == "My name is Anna."
        assert (await data_of(server, "ben"))["sessions"] == []


async def test_a_users_data_is_forgotten_with_the_session_that_goes_on() -> None:
    async with live_server(**KEPT) as server:
        async with connected(url_of(server), **as_user("anna")) as before:
            await answered(before, "My name is Anna.")
        await all_gone(server)
        async with connected(url_of(server), **as_user("anna")) as now:
            await answered(now, "Hello again.")
            assert len((await data_of(server, "anna"))["sessions"]) == 2
            assert (await data_of(server, "anna", "DELETE"))["forgotten"] == 2
            assert await now.closed() == 1000
        assert stored(server) == []


async def test_nothing_is_kept_where_nothing_is_to_be() -> None:
    async with live_server(**AUTH) as server:
        async with connected(url_of(server), **as_user("anna")) as client:
            await answered(client, "My name is Anna.")
        await all_gone(server)
        assert stored(server) == []


async def test_of_nobody_nothing_is_stored() -> None:
    async with live_server() as server, connected(url_of(server)) as client:
        await answered(client, "My name is Anna.")
        assert stored(server) == []


async def test_a_store_that_fails_is_no_matter_of_the_clients() -> None:
    async with live_server(**KEPT) as server:
        assert server.house.keeping is not None

        async def fail(*_: object) -> None:
            raise StoreFailed("the disk is full")

        server.house.keeping._store.save = fail  # type: ignore[method-assign,assignment]
        async with connected(url_of(server), **as_user("anna")) as client:
            await answered(client, "My name is Anna.")
            await answered(client, "And yours?")
            assert client.of("error") == []
            client.oracle.settled()
