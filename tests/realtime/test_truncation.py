"""What was not heard of a reply is not there for the language model: looked up in its next prompt,
as its server gets it."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from tests.contract.chat_backend import ChatBackend, chat_backend, head, reply, sends
from tests.realtime.client import PCM_HZ, Client, connected, hears
from tests.support import LiveServer, call, live_server, murmur

STORY = (
    "Once there was a small boat on a wide lake. Every morning it went out with the fishermen. "
    "Every evening it came home with the sun behind it."
)


@asynccontextmanager
async def storyteller(ahead_s: float = 1.0) -> AsyncIterator[tuple[LiveServer, ChatBackend]]:
    """A server whose language model, elsewhere, tells a story whatever it is asked."""
    async with (
        chat_backend() as backend,
        live_server(
            ANTIPHON_LLM_ENGINE="openai", ANTIPHON_LLM_BASE_URL=backend.url,
            ANTIPHON_SEND_AHEAD_MS=f"{1000 * ahead_s:.0f}",
        ) as server,
    ):  # fmt: skip
        backend.answer = sends(head(), reply(STORY))
        yield server, backend


def said_before(backend: ChatBackend, words: str) -> list[str]:
    """The assistant's own words in the prompt that asks about these."""
    for request in backend.requests:
        if request["messages"][-1]["content"] == words:
            return [one["content"] for one in request["messages"] if one["role"] == "assistant"]
    raise AssertionError(f"it was never asked {words!r}")


def is_beginning(text: str) -> bool:
    """Some whole words of the story, and not all."""
    return STORY.startswith(text) and STORY[len(text)] == " "


async def ask(client: Client, words: str) -> tuple[str, int]:
    """Have it answered by voice; the answer's item, and how many milliseconds were sent of it."""
    at = len(client.of("response.output_audio.delta"))
    await client.type(words)
    await client.say("response.create")
    item = (await client.done())["output"][0]["id"]
    sent = client.of("response.output_audio.delta")[at:]
    return item, sum(len(b64decode(one["delta"])) for one in sent) * 1000 // (2 * PCM_HZ)


async def truncate(client: Client, item: str, end_ms: int) -> str:
    """Say that it was heard so far; what is left of it."""
    await client.say(
        "conversation.item.truncate", item_id=item, content_index=0, audio_end_ms=end_ms
    )
    assert (await client.until("conversation.item.truncated"))["audio_end_ms"] == end_ms
    await client.say("conversation.item.retrieve", item_id=item)
    kept = (await client.until("conversation.item.retrieved"))["item"]
    words: str = kept["content"][0]["transcript"]
    return words


async def test_the_model_sees_what_the_client_says_was_heard() -> None:
    async with (
        storyteller(10.0) as (server, backend),
        connected(server.url.replace("http", "ws")) as client,
    ):
        item, all_ms = await ask(client, "Tell me a story.")
        assert await truncate(client, item, all_ms) == STORY
        half = await truncate(client, item, all_ms // 2)
        assert is_beginning(half)
        assert len(STORY) / 3 < len(half) < len(STORY) * 2 / 3
        await client.update(output_modalities=["text"])
        await client.type("And then?")
        await client.say("response.create")
        second = (await client.done())["output"][0]["id"]
        assert said_before(backend, "And then?") == [half]
        assert await truncate(client, item, 0) == ""
        await client.type("What was it?")
        await client.say("response.create")
        await client.done()
        assert said_before(backend, "What was it?") == [STORY]  # the second, which was read
        await client.say("conversation.item.delete", item_id=second)
        await client.until("conversation.item.deleted")
        client.oracle.settled()


async def test_the_model_sees_no_more_than_was_heard_of_what_somebody_cut_into() -> None:
    async with (
        storyteller() as (server, backend),
        connected(server.url.replace("http", "ws")) as client,
    ):
        hears(server, "Stop it, please.")
        await client.type("Tell me a story.")
        await client.say("response.create")
        await client.until("response.output_audio.delta")
        await client.append(murmur(1.0, PCM_HZ))
        cut = (await client.done())["output"][0]
        heard = await truncate(client, cut["id"], 1_500)
        assert is_beginning(heard)
        await client.update(output_modalities=["text"])
        await client.done()  # the answer to the words that cut in
        await client.type("Where were we?")
        await client.say("response.create")
        await client.done()
        assert said_before(backend, "Where were we?")[0] == heard


async def test_the_model_sees_what_a_loudspeaker_has_played() -> None:
    async with storyteller() as (server, backend), call(server.ws_url, {}) as caller:
        await caller.say("text", text="Tell me a story.")
        await caller.until("reply_started")
        while len(caller.audio.get(1, b"")) < 2 * 24_000:
            await caller.next()
        await caller.say("playback", reply=1, played_ms=900)
        await caller.say("cancel")
        heard = (await caller.until("reply_done"))["heard"]
        assert is_beginning(heard)
        await caller.say("text", text="Where were we?")
        await caller.until("reply_started")
        assert said_before(backend, "Where were we?") == [heard]
