"""Clauses that wait share a batch; the most urgent goes first, with those of about its length."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from pipeline.config import ScriptConfig
from pipeline.engines.clause_batcher import BUCKETS, ClauseBatcher, Waiting, bucket_of, choose
from pipeline.engines.ports import Float32, SpeechRequest, Stop
from pipeline.engines.scripted import ScriptedSynthesizer
from pipeline.pool import TTS, Purpose, ResourcePool, Supply
from pipeline.voicing import VoiceChoice, voiced


def waiting(*clauses: tuple[str, int, float]) -> list[Waiting[str, str]]:
    loop = asyncio.get_running_loop()
    return [Waiting(name, length, due, loop.create_future()) for name, length, due in clauses]


def names(batch: list[Waiting[str, str]]) -> list[str]:
    return [one.clause for one in batch]


class Mouth:
    """Renders by upper case, and keeps the batches; waits to be let."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.may = asyncio.Event()

    async def render(self, clauses: list[str]) -> list[str]:
        self.batches.append(clauses)
        await self.may.wait()
        if "broken" in clauses:
            raise ValueError("broken")
        return [clause.upper() for clause in clauses]


@asynccontextmanager
async def batching(mouth: Mouth, most: int) -> AsyncIterator[ClauseBatcher[str, str]]:
    batcher: ClauseBatcher[str, str] = ClauseBatcher(mouth.render, most, window_s=0)
    running = asyncio.create_task(batcher.run())
    yield batcher
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_the_one_that_is_due_first_goes_first() -> None:
    batch = choose(waiting(("later", 20, 3.0), ("now", 20, 1.0), ("soon", 20, 2.0)), 2)
    assert names(batch) == ["now", "soon"]


async def test_equal_ones_go_in_order_of_arrival() -> None:
    assert names(choose(waiting(("a", 20, 1.0), ("b", 20, 1.0), ("c", 20, 1.0)), 2)) == ["a", "b"]


async def test_a_long_clause_does_not_hold_up_a_short_one() -> None:
    batch = choose(waiting(("long", 300, 2.0), ("short", 20, 1.0), ("short too", 30, 3.0)), 8)
    assert names(batch) == ["short", "short too"]


async def test_no_clause_of_a_batch_is_more_than_twice_as_long_as_another() -> None:
    for longest in BUCKETS[1:]:
        assert bucket_of(longest) == bucket_of(longest // 2 + 1) != bucket_of(longest // 2)


async def test_those_that_come_during_a_batch_share_the_next() -> None:
    mouth = Mouth()
    async with batching(mouth, 8) as batcher:
        first = asyncio.create_task(batcher.submit("a", 20, 0.0))
        while not mouth.batches:
            await asyncio.sleep(0)
        others = [asyncio.create_task(batcher.submit(name, 20, 0.0)) for name in "bc"]
        await asyncio.sleep(0)
        mouth.may.set()
        assert await asyncio.gather(first, *others) == ["A", "B", "C"]
    assert mouth.batches == [["a"], ["b", "c"]]


async def test_whoever_has_gone_is_not_voiced() -> None:
    mouth = Mouth()
    async with batching(mouth, 1) as batcher:
        first = asyncio.create_task(batcher.submit("a", 20, 0.0))
        while not mouth.batches:
            await asyncio.sleep(0)
        gone = asyncio.create_task(batcher.submit("gone", 20, 0.0))
        await asyncio.sleep(0)
        gone.cancel()
        last = asyncio.create_task(batcher.submit("b", 20, 0.0))
        await asyncio.sleep(0)
        mouth.may.set()
        assert await asyncio.gather(first, last) == ["A", "B"]
    assert mouth.batches == [["a"], ["b"]]


async def test_whoever_is_stopped_does_not_wait_for_the_batch_before_it() -> None:
    mouth, stop = Mouth(), Stop()
    async with batching(mouth, 1) as batcher, asyncio.timeout(10):
        first = asyncio.create_task(batcher.submit("a", 20, 0.0, stop))
        while not mouth.batches:
            await asyncio.sleep(0)
        gone = asyncio.create_task(batcher.submit("gone", 20, 0.0, stop))
        await asyncio.sleep(0)
        stop.set()
        assert await gone is None
        mouth.may.set()
        assert await first == "A"  # its batch had begun
        assert await batcher.submit("b", 20, 0.0) == "B"
    assert mouth.batches == [["a"], ["b"]]


class Choir(ScriptedSynthesizer):
    """Chooses by itself among the clauses of those who are seated at once."""

    seats = 8

    def __init__(self, batcher: ClauseBatcher[str, str]) -> None:
        super().__init__(ScriptConfig(tts_first_s=0, tts_rtf=0))
        self._batcher = batcher

    async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        assert request.due is not None
        await self._batcher.submit(request.text, 20, request.due, stop)
        async for chunk in super().synthesize(request, stop):
            yield chunk


async def test_among_those_at_an_engine_too_speculation_goes_last() -> None:
    """Seated in the worst order; each is due as the pool's queue has it."""
    mouth = Mouth()
    now = time.monotonic()
    wanted = [
        ("guess", Purpose.SPECULATION, None),
        ("read on", Purpose.REQUEST_LATER, None),
        ("read", Purpose.REQUEST, None),
        ("runs dry", Purpose.LATER_CLAUSE, now + 0.5),
        ("begin", Purpose.FIRST_CLAUSE, None),
    ]
    async with (
        batching(mouth, 1) as batcher,
        ResourcePool({TTS: Supply((Choir(batcher),), seats=8)}) as pool,
    ):

        async def say(text: str, purpose: Purpose, deadline: float | None) -> None:
            async with pool.lease(TTS, text, purpose=purpose, deadline=deadline) as slot:
                async for _ in voiced(slot, VoiceChoice("tone").request(text)):
                    pass

        calls = [asyncio.create_task(say("at work", Purpose.FIRST_CLAUSE, None))]
        while not mouth.batches:
            await asyncio.sleep(0)
        calls += [asyncio.create_task(say(*one)) for one in wanted]
        while len(batcher._waiting) < len(wanted):
            await asyncio.sleep(0)
        mouth.may.set()
        await asyncio.gather(*calls)
    assert mouth.batches == [["at work"], ["begin"], ["runs dry"], ["read"], ["read on"], ["guess"]]


async def test_a_guess_that_comes_true_goes_before_what_is_due_later() -> None:
    mouth = Mouth()
    async with (
        batching(mouth, 1) as batcher,
        ResourcePool({TTS: Supply((Choir(batcher),), seats=8)}) as pool,
    ):

        async def say(text: str, purpose: Purpose) -> None:
            async with pool.lease(TTS, text, purpose=purpose) as slot:
                async for _ in voiced(slot, VoiceChoice("tone").request(text)):
                    pass

        calls = [asyncio.create_task(say("at work", Purpose.FIRST_CLAUSE))]
        while not mouth.batches:
            await asyncio.sleep(0)
        others = ("read", Purpose.REQUEST), ("guess", Purpose.SPECULATION)
        calls += [asyncio.create_task(say(*one)) for one in others]
        while len(batcher._waiting) < len(others):
            await asyncio.sleep(0)
        pool.promote("guess")
        mouth.may.set()
        await asyncio.gather(*calls)
    assert mouth.batches == [["at work"], ["guess"], ["read"]]


async def test_a_batch_that_fails_fails_those_in_it_and_no_other() -> None:
    mouth = Mouth()
    mouth.may.set()
    async with batching(mouth, 1) as batcher:
        with pytest.raises(ValueError, match="broken"):
            await batcher.submit("broken", 20, 0.0)
        assert await batcher.submit("b", 20, 0.0) == "B"


async def test_a_batch_with_too_few_answers_fails_and_the_next_is_made() -> None:
    mouth = Mouth()
    mouth.may.set()
    render = mouth.render

    async def forgets_one(clauses: list[str]) -> list[str]:
        return (await render(clauses))[len(mouth.batches) == 1 :]

    mouth.render = forgets_one  # type: ignore[method-assign]
    async with batching(mouth, 1) as batcher, asyncio.timeout(10):
        with pytest.raises(ValueError, match="shorter"):
            await batcher.submit("a", 20, 0.0)
        assert await batcher.submit("b", 20, 0.0) == "B"


async def test_when_it_ends_nobody_waits_for_ever() -> None:
    mouth = Mouth()
    async with batching(mouth, 1) as batcher:
        tasks = [asyncio.create_task(batcher.submit(name, 20, 0.0)) for name in "ab"]
        while not mouth.batches:
            await asyncio.sleep(0)
    done = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in done)
