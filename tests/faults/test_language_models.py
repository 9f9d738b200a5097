"""A language model's server that refuses, stalls, breaks off, never stops; for the victim only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager, suppress

import pytest

from pipeline.errors import StartError
from tests.contract.chat_backend import Answer, ChatBackend, chat_backend, chunk, head, reply, sends
from tests.faults.baseline import Held, settled
from tests.faults.bystander import ANSWER
from tests.faults.mischief import BOOM
from tests.faults.trial import Trial, trial
from tests.support import Caller

IMPATIENT = {"ANTIPHON_LLM_FIRST_TOKEN_S": "1", "ANTIPHON_LLM_GAP_S": "0.5"}
"""A stall is one sooner."""
APOLOGY = "Something is wrong."


def models_at(
    *urls: str, nobody_by: bool = False, **settings: str
) -> AbstractAsyncContextManager[Trial]:
    """A house whose language models are there; `nobody_by`: the fault is everybody's."""
    return trial(
        nobody_by=nobody_by,
        ANTIPHON_LLM_ENGINE="openai",
        ANTIPHON_LLM_BASE_URL=",".join(urls),
        ANTIPHON_APOLOGY=APOLOGY,
        **IMPATIENT,
        **settings,
    )


@asynccontextmanager
async def trial_with(
    fault: Answer, **settings: str
) -> AsyncIterator[tuple[Trial, Caller, ChatBackend]]:
    """A house whose language model answers the victim by `fault`, and everybody else well."""
    async with chat_backend() as backend:
        good = sends(head(), reply(*ANSWER.partition(" And")))

        async def answer(writer: asyncio.StreamWriter) -> None:
            bad = BOOM in backend.requests[-1]["messages"][-1]["content"]
            with suppress(ConnectionError):  # whoever asked has left
                await (fault if bad else good)(writer)

        backend.answer = answer
        async with models_at(backend.url, **settings) as house, house.call() as victim:
            yield house, victim, backend


async def fails(victim: Caller, code: str = "LLM_FAILED") -> dict[str, object]:
    """The victim's turn fails as is promised, and its next one does not; the error."""
    await victim.say("text", text=BOOM)
    error = await victim.until("error")
    assert error["code"] == code, error
    assert (await victim.until("reply_done"))["status"] == "failed"
    await victim.say("text", text="and now?")
    assert (await victim.play())["text"] == ANSWER
    return error


async def refuse(writer: asyncio.StreamWriter) -> None:
    """Hang up without a word."""
    writer.transport.abort()


BROKEN: dict[str, Answer] = {
    "500": sends(head(500, "application/json"), b'{"error":{"message":"out of order"}}'),
    "an HTML page": sends(head(200, "text/html"), b"<html><body>It works!</body></html>"),
    "no words": sends(head(), chunk(finish="stop"), b"data: [DONE]\n\n"),
    "broken JSON": sends(head(), b'data: {"choices": [{"delta": {"content": "Oh\n\n'),
    "no JSON": sends(head(), b"data: banana\n\n"),
    "cut in a UTF-8 character": sends(
        head(), 'data: {"choices":[{"delta":{"content":"ü'.encode()[:-1]
    ),
    "broken off after a word": sends(head(), chunk("Well")),
    "a line without end": sends(head(), b"data: " + b"x" * 3_000_000),
    "an error in the stream": sends(head(), b'data: {"error": {"message": "no memory"}}\n\n'),
    "hung up": refuse,
}


@pytest.mark.parametrize("fault", BROKEN.values(), ids=BROKEN)
async def test_a_backend_that_is_broken(fault: Answer) -> None:
    async with trial_with(fault) as (_, victim, _):
        await fails(victim)


async def test_a_backend_that_is_asked_too_often_says_when_to_come_back() -> None:
    too_often = sends(head(429, "application/json", retry_after="1"), b"{}")
    async with trial_with(too_often) as (_, victim, _):
        assert (await fails(victim, "RATE_LIMITED"))["retry_after_ms"] > 0


@pytest.mark.parametrize("words", [0, 2], ids=["before the first word", "in the middle"])
async def test_a_backend_that_stalls(words: int) -> None:
    async def stall(writer: asyncio.StreamWriter) -> None:
        await sends(head(), *[chunk(" word")] * words)(writer)
        await backend_stalls.wait()

    backend_stalls = asyncio.Event()
    async with trial_with(stall) as (_, victim, _):
        await fails(victim)
        backend_stalls.set()


async def test_whoever_waits_for_a_backend_that_stalls_goes_on() -> None:
    stalled = asyncio.Event()

    async def stall(writer: asyncio.StreamWriter) -> None:
        await sends(head(), chunk("Well"))(writer)
        await stalled.wait()

    async with trial_with(stall) as (_, victim, _):
        await victim.say("text", text=BOOM)
        await victim.say("text", text="never mind")
        assert (await victim.play())["text"] == ANSWER
        stalled.set()


async def test_a_backend_that_never_stops_is_left_as_soon_as_nobody_listens() -> None:
    async def chatter(writer: asyncio.StreamWriter) -> None:
        await sends(head())(writer)
        while True:
            await sends(chunk(" word"))(writer)
            await asyncio.sleep(0.001)

    async with trial_with(chatter) as (_, victim, backend):
        await victim.say("text", text=BOOM)
        await victim.until("reply_text")
        await victim.say("cancel")
        await victim.until("reply_done", status="cancelled")
        await asyncio.wait_for(backend.left.wait(), 10)
        assert (await ask(victim))["text"] == ANSWER


async def test_a_backend_that_never_stops_is_stopped() -> None:
    async def chatter(writer: asyncio.StreamWriter) -> None:
        await sends(head())(writer)
        while True:
            await sends(*[chunk(" word")] * 50)(writer)
            await asyncio.sleep(0.001)

    async with trial_with(chatter, ANTIPHON_REPLY_TOKENS="20") as (house, victim, _):
        await victim.say("text", text=BOOM)
        await victim.until("error", code="LLM_FAILED")
        await settled(lambda: "still writing" if house.house.pool.status()["llm"].busy else "")
        await victim.say("cancel")
        assert (await ask(victim))["text"] == ANSWER


async def test_twenty_replies_cut_short_leave_no_connection_behind() -> None:
    async def slow(writer: asyncio.StreamWriter) -> None:
        await sends(head())(writer)
        for _ in range(200):
            await sends(chunk(" word"))(writer)
            await asyncio.sleep(0.01)

    async with trial_with(slow) as (_, victim, _):
        for turn in range(1, 21):
            await victim.say("text", text=BOOM)
            await victim.until("reply_started", turn=turn)
        await victim.say("cancel")


# --- who cannot be reached ------------------------------------------------------------------------


async def answering(stack: AsyncExitStack, count: int) -> list[ChatBackend]:
    """So many backends that answer well."""
    backends = [await stack.enter_async_context(chat_backend()) for _ in range(count)]
    for backend in backends:
        backend.answer = sends(head(), reply(*ANSWER.partition(" And")))
    return backends


async def ask(caller: Caller) -> dict[str, object]:
    """A typed turn, heard to its end; how its reply ended."""
    await caller.say("text", text="are you there?")
    return await caller.play()


async def apologises(caller: Caller) -> None:
    """The turn fails, and that is said aloud."""
    done = await ask(caller)
    assert (done["status"], done["text"]) == ("failed", APOLOGY)
    assert caller.audio[done["reply"]]  # type: ignore[index]
    assert caller.of("error")[-1]["code"] == "LLM_FAILED"


async def recovers(caller: Caller) -> None:
    """As soon as its breaker lets one reply try, the next is answered."""
    async with asyncio.timeout(20):
        while (await ask(caller))["text"] != ANSWER:
            await asyncio.sleep(0.1)


async def test_one_of_two_backends_is_down_from_the_start_and_nobody_notices() -> None:
    async with AsyncExitStack() as stack:
        gone, there = await answering(stack, 2)
        await gone.refuse()
        async with models_at(gone.url, there.url) as house, house.call() as victim:
            for _ in range(4):
                assert (await ask(victim))["text"] == ANSWER
            assert not victim.of("error")


@pytest.mark.parametrize("which", [0, 1], ids=["first", "second"])
async def test_one_of_two_backends_goes_down_in_the_middle_and_nobody_notices(which: int) -> None:
    async with AsyncExitStack() as stack:
        backends = await answering(stack, 2)
        async with models_at(*(b.url for b in backends)) as house, house.call() as victim:
            assert (await ask(victim))["text"] == ANSWER
            await backends[which].refuse()
            for _ in range(4):
                assert (await ask(victim))["text"] == ANSWER
            assert not victim.of("error")


async def test_with_both_backends_down_it_apologises_and_answers_again_when_one_is_back() -> None:
    async with AsyncExitStack() as stack:
        backends = await answering(stack, 2)
        urls = [backend.url for backend in backends]
        async with models_at(*urls, nobody_by=True) as house, house.call() as victim:
            assert (await ask(victim))["text"] == ANSWER
            for backend in backends:
                await backend.refuse()
            await apologises(victim)
            await apologises(victim)
            await backends[1].listen()
            await recovers(victim)


async def test_a_lone_backend_that_refuses_connections() -> None:
    async with AsyncExitStack() as stack:
        (backend,) = await answering(stack, 1)
        async with models_at(backend.url, nobody_by=True) as house, house.call() as victim:
            await backend.refuse()
            await apologises(victim)
            await backend.listen()
            await recovers(victim)


async def test_a_start_without_any_backend_fails_and_leaves_nothing() -> None:
    async with AsyncExitStack() as stack:
        backends = await answering(stack, 2)
        for backend in backends:
            await backend.refuse()
        held = Held.now()
        with pytest.raises(StartError):
            async with models_at(*(backend.url for backend in backends)):
                pass
        await settled(lambda: Held.now().more_than(held))
