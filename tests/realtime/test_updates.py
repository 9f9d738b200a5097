"""Updates of a session that cannot be paid for change nothing; what is in effect costs nothing."""

from __future__ import annotations

from typing import Any

from tests.realtime.client import connected
from tests.support import live_server

TOOL = {"type": "function", "name": "clock", "description": "It tells the time. " * 5}
PCMU = {"input": {"format": {"type": "audio/pcmu"}}}


def update(**session: Any) -> dict[str, Any]:
    return {"session": {"type": "realtime", **session}}


async def test_an_update_that_cannot_be_paid_for_changes_nothing() -> None:
    async with (
        live_server(ANTIPHON_CHARACTERS_PER_MINUTE="200") as server,
        connected(server.url.replace("http", "ws")) as client,
    ):
        before = await client.update(instructions="A" * 150)
        too_much = update(instructions="B" * 150, audio=PCMU)
        await client.say("session.update", event_id="mine", **too_much)
        error = await client.error()
        assert (error["code"], error["event_id"]) == ("rate_limit_exceeded", "mine")
        (session,) = server.house.sessions
        for instructions in ("C", "D"):
            shown = await client.update(instructions=instructions)
            assert shown == before | {"instructions": instructions}
            assert session.settings.instructions == instructions


async def test_an_update_that_is_nested_too_deep_costs_nobody_the_connection() -> None:
    async with (
        live_server() as server,
        connected(server.url.replace("http", "ws")) as client,
    ):
        before = await client.update()
        for depth in range(900, 1_000, 2):
            metadata = "[" * depth + "]" * depth
            session = '{"tracing":{"metadata":' + metadata + "}}"
            await client.socket.send('{"type":"session.update","session":' + session + "}")
            assert (await client.error())["code"] in ("invalid_value", "invalid_json")
        assert await client.update() == before


async def test_what_an_update_repeats_is_not_paid_for_again() -> None:
    async with (
        live_server(ANTIPHON_CHARACTERS_PER_MINUTE="400") as server,
        connected(server.url.replace("http", "ws")) as client,
    ):
        shown = await client.update(instructions="A" * 200, tools=[TOOL])
        for speed in (0.9, 1.1):
            said = {"output": {"speed": speed}}
            shown = await client.update(instructions="A" * 200, tools=[TOOL], audio=said)
            assert shown["audio"]["output"]["speed"] == speed
        assert not client.of("error")
        (session,) = server.house.sessions
        assert session.settings.instructions == "A" * 200
        assert [tool.name for tool in session.settings.tools] == ["clock"]
        await client.say("session.update", **update(instructions="B" * 200))  # that is new
        assert (await client.error())["code"] == "rate_limit_exceeded"
