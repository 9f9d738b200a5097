"""A server whose language models run elsewhere: what its users and its operator see."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

import httpx
import pytest

from pipeline.config import EngineConfig
from server.configs import engine_config
from server.settings import load
from tests.contract.chat_backend import (
    ChatBackend,
    chat_backend,
    chunk,
    head,
    refuses,
    reply,
    sends,
    stalls,
)
from tests.support import Caller, LiveServer, call, live_server, murmur, silence


@asynccontextmanager
async def served(count: int, **environ: str) -> AsyncIterator[tuple[LiveServer, list[ChatBackend]]]:
    """A server with so many backends."""
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(chat_backend()) for _ in range(count)]
        urls = ", ".join(backend.url for backend in backends)
        server = await stack.enter_async_context(
            live_server(ANTIPHON_LLM_ENGINE="openai", ANTIPHON_LLM_BASE_URL=urls, **environ)
        )
        yield server, backends


async def asked(caller: Caller, text: str) -> dict[str, object]:
    """A typed turn, heard to its end."""
    await caller.say("text", text=text)
    return await caller.play()


async def status(server: LiveServer) -> dict[str, dict[str, object]]:
    async with httpx.AsyncClient() as http:
        pool: dict[str, dict[str, object]] = (await http.get(f"{server.url}/status")).json()["pool"]
        return pool


@pytest.mark.parametrize("written", ["http://a,http://b", " http://a , http://b ,, http://a"])
def test_several_urls_are_separated_by_commas(written: str) -> None:
    config = engine_config(load({"ANTIPHON_LLM_BASE_URL": written}, env_file=None))
    assert isinstance(config, EngineConfig)
    assert config.llm_base_urls == ("http://a", "http://b")


async def test_a_broken_backend_is_shown_and_not_noticed() -> None:
    async with served(2) as (server, backends):
        backends[0].answer = refuses(500)
        backends[1].answer = sends(head(), reply("I am here."))
        async with call(server.ws_url, {}) as caller:
            for _ in range(3):
                assert (await asked(caller, "Hello?"))["text"] == "I am here."
        pool = await status(server)
        assert pool["llm"]["breaker"] == "closed"
        assert pool["tts"]["breaker"] is None
        first, second = pool["llm"]["backends"]  # type: ignore[misc]
        assert "HTTP 500" in first["failure"]  # type: ignore[index]
        assert (second["breaker"], second["outstanding"]) == ("closed", 0)  # type: ignore[index]


async def test_when_all_are_down_an_apology_is_spoken_and_the_reply_has_failed() -> None:
    async with served(1, ANTIPHON_APOLOGY="So sorry.") as (server, backends):
        await backends[0].refuse()
        async with call(server.ws_url, {}) as caller:
            done = await asked(caller, "Hello?")
            assert (done["status"], done["text"], done["heard"]) == (
                "failed", "So sorry.", "So sorry.",
            )  # fmt: skip
            assert caller.audio[1]
            (error,) = caller.of("error")
            assert (error["code"], error["reply"]) == ("LLM_FAILED", 1)
            for _ in range(2):
                await asked(caller, "And now?")
        assert (await status(server))["llm"]["breaker"] == "open"


async def test_the_model_never_reads_that_it_apologised() -> None:
    async with served(1) as (server, backends):
        backends[0].answer = refuses(400)
        async with call(server.ws_url, {}) as caller:
            assert (await asked(caller, "Hello?"))["status"] == "failed"
            backends[0].answer = sends(head(), reply("Hello."))
            assert (await asked(caller, "Are you there?"))["status"] == "completed"
            await asked(caller, "Good.")
        said = [(each["role"], each["content"]) for each in backends[0].requests[-1]["messages"]]
        assert said[1:] == [
            ("user", "Hello?"),
            ("user", "Are you there?"),
            ("assistant", "Hello."),
            ("user", "Good."),
        ]


async def test_without_an_apology_the_reply_fails_in_silence() -> None:
    async with served(1, ANTIPHON_APOLOGY="") as (server, backends):
        await backends[0].refuse()
        async with call(server.ws_url, {}) as caller:
            done = await asked(caller, "Hello?")
            assert (done["status"], done["text"], done["latency_ms"]) == ("failed", "", None)
            assert not caller.audio


async def test_an_apology_is_in_the_language_of_the_session() -> None:
    async with served(1, ANTIPHON_APOLOGY="Sorry.; en=I am sorry.") as (server, backends):
        await backends[0].refuse()
        async with call(server.ws_url, {"language": "en-GB"}) as caller:
            assert (await asked(caller, "Hello?"))["text"] == "I am sorry."


async def test_what_a_model_had_said_before_it_broke_off_is_kept() -> None:
    async with served(1) as (server, backends):
        backends[0].answer = sends(head(), chunk("It is noon. And"))
        async with call(server.ws_url, {}) as caller:
            done = await asked(caller, "What time is it?")
            assert (done["status"], done["heard"]) == ("failed", "It is noon. And")
            backends[0].answer = sends(head(), reply("Noon."))
            await asked(caller, "Pardon?")
        said = [each["content"] for each in backends[0].requests[-1]["messages"]]
        assert said[1:] == ["What time is it?", "It is noon. And", "Pardon?"]


async def test_a_cancelled_reply_of_a_stalled_backend_holds_nothing() -> None:
    async with served(1, ANTIPHON_LLM_GAP_S="60") as (server, backends):
        backends[0].answer = stalls(head(), chunk("Well, "))
        async with call(server.ws_url, {}) as caller:
            await caller.say("text", text="Hello?")
            await caller.until("reply_text")
            await caller.say("cancel")
            assert (await caller.until("reply_done"))["status"] == "cancelled"
            async with asyncio.timeout(10):
                await backends[0].left.wait()
                while (llm := (await status(server))["llm"])["stopping"]:
                    await asyncio.sleep(0)
        assert (llm["claimed"], llm["busy"]) == (0, 0)
        assert llm["backends"][0]["outstanding"] == 0  # type: ignore[index]
        assert llm["breaker"] == "closed"


async def test_a_spoken_turn_is_apologised_to_as_well() -> None:
    async with served(1, ANTIPHON_APOLOGY="So sorry.") as (server, backends):
        backends[0].answer = refuses(500)
        async with call(server.ws_url, {}) as caller:
            await caller.speak(murmur(1.0) + silence(1.5))
            done = await caller.play()
            assert (done["status"], done["text"]) == ("failed", "So sorry.")


async def test_when_all_ask_for_patience_the_client_is_told_for_how_long() -> None:
    async with served(1) as (server, backends):
        backends[0].answer = refuses(429, retry_after="30")
        async with call(server.ws_url, {}) as caller:
            assert (await asked(caller, "Hello?"))["status"] == "failed"
            (error,) = caller.of("error")
            assert error["code"] == "RATE_LIMITED"
            assert 28_000 <= error["retry_after_ms"] <= 30_000
