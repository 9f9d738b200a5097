"""A budget that is used up, over the socket: what is refused, and what goes on."""

from __future__ import annotations

import asyncio

from session.buckets import Allowance
from session.budgets import Budget
from tests.support import call, live_server, murmur, silence


async def test_the_welcome_says_what_one_may_spend() -> None:
    async with live_server(ANTIPHON_TURNS_PER_MINUTE="7") as server, call(server.ws_url) as caller:
        await caller.say("hello")
        limits = (await caller.until("welcome"))["limits"]
        assert (limits["turns_per_minute"], limits["characters_per_minute"]) == (7, 100_000)


async def test_a_typed_turn_too_many_is_refused_with_when_to_come_back_and_can_be_sent_again() -> (
    None
):
    async with (
        live_server(ANTIPHON_TURNS_PER_MINUTE="2") as server,
        call(server.ws_url, {}) as caller,
    ):
        for number in (1, 2):
            await caller.say("text", text="hello", id=f"t{number}")
            await caller.play()
        await caller.say("text", text="hello", id="t3")
        error = await caller.until("error")
        assert (error["code"], error["ref"]) == ("RATE_LIMITED", "t3")
        assert 0 < error["retry_after_ms"] <= 30_000
        (session,) = server.house.sessions
        session._telling.budget = Budget(Allowance(), 0.0)  # a while later
        await caller.say("text", text="hello", id="t3")
        assert (await caller.until("transcript", ref="t3"))["turn"] == 3
        await caller.play()


async def test_a_spoken_turn_too_many_is_understood_and_its_reply_fails() -> None:
    async with (
        live_server(ANTIPHON_TURNS_PER_MINUTE="1") as server,
        call(server.ws_url, {}) as caller,
    ):
        await caller.say("text", text="hello")
        await caller.play()
        await caller.speak(murmur(1.0) + silence(1.5))
        assert (await caller.until("transcript", final=True))["text"]
        error = await caller.until("error")
        assert (error["code"], error["turn"], error["reply"]) == ("RATE_LIMITED", 2, 2)
        assert error["retry_after_ms"] > 0
        assert (await caller.until("reply_done"))["status"] == "failed"
        assert sum(server.house.pool.status()[kind].claimed for kind in ("llm", "tts")) == 0


async def test_speech_that_was_taken_back_costs_no_turn() -> None:
    async with (
        live_server(ANTIPHON_TURNS_PER_MINUTE="1") as server,
        call(server.ws_url, {"pace": "patient"}) as caller,
    ):
        (session,) = server.house.sessions
        speculation = session._turns.machine.speculation
        for pause in (1, 2):
            await caller.speak(murmur(0.6) + silence(0.2))
            async with asyncio.timeout(10):
                while speculation.begun < pause:
                    await asyncio.sleep(0.005)
        assert speculation.wasted == 1
        assert (await caller.play())["status"] == "completed"


async def test_more_text_than_a_minute_may_bring_is_refused_by_name() -> None:
    async with (
        live_server(ANTIPHON_CHARACTERS_PER_MINUTE="1000") as server,
        call(server.ws_url, {}) as caller,
    ):
        await caller.say("text", text="x" * 900, id="long")
        await caller.play()
        await caller.say("configure", instructions="y" * 800, id="prompt")
        error = await caller.until("error")
        assert (error["code"], error["ref"]) == ("RATE_LIMITED", "prompt")
        await caller.say("configure", speed=1.5)
        await caller.until("configured")


async def test_audio_beyond_the_users_budget_is_dropped_and_told() -> None:
    async with (
        live_server(ANTIPHON_AUDIO_S_PER_MINUTE="1") as server,
        call(server.ws_url, {}) as caller,
    ):
        await caller.speak(silence(3.0))
        error = await caller.until("error")
        assert error["code"] == "RATE_LIMITED"
        await caller.say("text", text="still here?")
        assert (await caller.play())["status"] == "completed"
