"""Tools over the native protocol: offered, called, answered, and the turn goes on."""

from __future__ import annotations

import json
from typing import Any

from session import limits
from tests.support import Caller, call, live_server

CLOCK = {
    "name": "clock",
    "description": "What time it is.",
    "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
}


async def wanted(caller: Caller, text: str = "Ask the clock.") -> dict[str, Any]:
    await caller.say("text", text=text)
    return await caller.until("tool_call")


async def test_a_tool_is_called_and_the_turn_goes_on_with_its_answer() -> None:
    async with live_server() as server, call(server.ws_url, {"tools": [CLOCK]}) as caller:
        tool = await wanted(caller)
        assert tool["name"] == "clock"
        assert json.loads(tool["arguments"]) == {"text": "Ask the clock."}
        assert (await caller.until("reply_done"))["status"] == "completed"
        await caller.say("tool_result", call=tool["call"], output={"hour": 12})
        started = await caller.until("reply_started")
        assert (started["reply"], started["turn"]) == (2, 1)
        done = await caller.play()
        assert done["text"] == 'The tool says {"hour":12}.'


async def test_an_answer_may_come_before_the_reply_has_ended() -> None:
    async with live_server() as server, call(server.ws_url, {"tools": [CLOCK]}) as caller:
        tool = await wanted(caller)
        await caller.say("tool_result", call=tool["call"], output="noon")
        await caller.until("reply_done", reply=1)
        assert (await caller.play())["text"] == "The tool says noon."


async def test_an_answer_to_no_call_is_an_error_and_no_more() -> None:
    async with live_server() as server, call(server.ws_url, {"tools": [CLOCK]}) as caller:
        await caller.say("tool_result", call="nobody", output=1, id="a")
        error = await caller.until("error")
        assert (error["code"], error["ref"]) == ("NOT_FOUND", "a")
        tool = await wanted(caller)
        for _ in range(2):
            await caller.say("tool_result", call=tool["call"], output="noon")
        assert (await caller.until("error"))["code"] == "BAD_MESSAGE"
        assert (await caller.play())["text"] == "The tool says noon."


async def test_tools_that_are_nested_too_deep_are_a_mistake() -> None:
    """The language model's server would be asked with them, and each model reads them."""
    async with live_server() as server, call(server.ws_url, {"tools": [CLOCK]}) as caller:
        for depth in (limits.MOST_DEPTH, 940):
            parameters = '{"a":' + "[" * depth + "]" * depth + "}"
            tools = '[{"name":"deep","parameters":' + parameters + "}]"
            await caller.socket.send('{"type":"configure","tools":' + tools + "}")
            error = await caller.until("error")
            assert error["code"] == "BAD_MESSAGE"
            assert "more than 100 objects" in error["message"]
        assert (await wanted(caller))["name"] == "clock"


async def test_a_tool_that_is_taken_away_is_called_no_more() -> None:
    async with live_server() as server, call(server.ws_url, {"tools": [CLOCK]}) as caller:
        await caller.say("configure", tools=[])
        await caller.until("configured")
        await caller.say("text", text="Ask the clock.")
        assert (await caller.play())["text"].startswith("This is a scripted reply.")
        assert not caller.of("tool_call")


async def test_too_many_tools_are_refused() -> None:
    many = [{"name": f"tool_{number}"} for number in range(limits.MOST_TOOLS + 1)]
    large = [{**CLOCK, "description": "x" * limits.TOOLS_BYTES}]
    async with live_server() as server, call(server.ws_url, {}) as caller:
        for tools in (many, large):
            await caller.say("configure", tools=tools)
            assert (await caller.until("error"))["code"] == "BAD_MESSAGE"


async def test_a_newer_turn_is_answered_first_and_the_tool_afterwards() -> None:
    async with live_server() as server, call(server.ws_url, {"tools": [CLOCK]}) as caller:
        tool = await wanted(caller)
        await caller.say("text", text="And how are you?")
        await caller.until("reply_started", turn=2)
        await caller.say("tool_result", call=tool["call"], output="noon")
        assert (await caller.play())["turn"] == 2
        done = await caller.play()
        assert (done["turn"], done["text"]) == (1, "The tool says noon.")
