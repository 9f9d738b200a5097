"""Responses out of band (`conversation: "none"`), beside the one that is being spoken."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from tests.realtime.client import Client, connected
from tests.support import LiveServer, live_server

STORY = "Once upon a time there was a king who had a tale for every day of the year. " * 8
"""Some 36 s of speech: no test waits for its end."""
TEXT_ONLY = {"conversation": "none", "output_modalities": ["text"], "input": []}


@asynccontextmanager
async def storyteller() -> AsyncIterator[tuple[LiveServer, Client]]:
    """A client to whom a long response is being spoken."""
    async with live_server() as server, connected(server.url.replace("http", "ws")) as client:
        says(server, llm_text=STORY)
        await client.type("Tell me a story.")
        await client.say("response.create")
        await client.until("response.output_audio.delta")
        yield server, client


def says(server: LiveServer, **script: Any) -> None:
    """From now on the scripted language model says this, so fast."""
    model = server.house.engines.language_model
    model._script = replace(model._script, **script)  # type: ignore[attr-defined]


def of_response(client: Client, response: str) -> list[str]:
    """The types of all events of one response, runs of one type as one."""
    kinds = [
        event["type"]
        for event in client.oracle.events
        if response in (event.get("response_id"), event.get("response", {}).get("id"))
    ]
    return [kind for at, kind in enumerate(kinds) if not at or kinds[at - 1] != kind]


async def test_one_of_text_begins_and_ends_while_another_is_spoken() -> None:
    async with storyteller() as (server, client):
        says(server, llm_text="A happy one.")
        spoken = client.oracle.active
        metadata = {"topic": "mood"}
        await client.say("response.create", response={**TEXT_ONLY, "metadata": metadata})
        done = await client.done()
        assert (done["status"], done["conversation_id"], done["metadata"]) == (
            "completed", None, metadata,
        )  # fmt: skip
        assert done["output"][0]["content"] == [{"type": "output_text", "text": "A happy one."}]
        assert of_response(client, done["id"]) == [
            "response.created",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
        ]
        assert client.oracle.active == spoken
        while (await client.until("response.output_audio.delta"))["response_id"] != spoken:
            pass
        await client.say("conversation.item.retrieve", item_id=done["output"][0]["id"])
        assert (await client.error())["code"] == "item_retrieve_invalid_item_id"
        await client.say("response.cancel")
        cut = await client.done()
        assert (cut["id"], cut["status"]) == (spoken, "cancelled")
        client.oracle.settled()


async def test_one_is_cancelled_by_its_id_and_gives_back_what_it_took() -> None:
    async with storyteller() as (server, client):
        says(server, llm_tokens_per_s=2)
        spoken = client.oracle.active
        await client.say("response.create", response=TEXT_ONLY)
        beside = (await client.until("response.output_text.delta"))["response_id"]
        (session,) = server.house.sessions
        before = server.house.sessions.claims(session.identity.session)["llm"]
        await client.say("response.cancel", response_id=beside)
        done = await client.done()
        assert (done["id"], done["status"]) == (beside, "cancelled")
        assert server.house.sessions.claims(session.identity.session)["llm"] == before - 1
        assert client.oracle.active == spoken
        await client.say("response.cancel", response_id=beside)
        assert (await client.error())["code"] == "response_cancel_not_active"
        await client.say("response.cancel", response_id=spoken)
        assert (await client.done())["id"] == spoken
        client.oracle.settled()


async def test_a_session_that_ends_takes_those_beside_it_along() -> None:
    async with storyteller() as (server, client):
        says(server, llm_tokens_per_s=2)
        await client.say("response.create", response=TEXT_ONLY)
        await client.until("response.output_text.delta")
        (session,) = server.house.sessions
        await client.socket.close()
        await asyncio.wait_for(session.gone.wait(), 20)
        assert not any(server.house.sessions.claims(session.identity.session).values())
