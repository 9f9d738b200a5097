"""One voice for everybody: calls never overlap, go in order, cost little, and fail alone."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from pipeline.engines.ports import Float32, SpeechRequest, Stop
from pipeline.engines.scripted import ScriptedSynthesizer
from pipeline.errors import TtsFailed
from tests.faults.mischief import piece
from tests.faults.trial import Trial, trial
from tests.support import call

ONE = {"ANTIPHON_TTS_SLOTS": "1", "ANTIPHON_TTS_SLOTS_LEAST": "1", "ANTIPHON_MAX_SESSIONS": "64"}
WORK_S = 0.05
BAD = "bad"


@dataclass(frozen=True)
class Work:
    """One call at the voice; times on the loop's clock."""

    text: str
    began: float
    ended: float


@pytest.fixture
def works(monkeypatch: pytest.MonkeyPatch) -> list[Work]:
    """What the one voice has done, as it did it: each clause takes a while, and some fail."""
    done: list[Work] = []

    async def synthesize(
        engine: ScriptedSynthesizer, request: SpeechRequest, stop: Stop
    ) -> AsyncIterator[Float32]:
        began = asyncio.get_running_loop().time()
        try:
            await asyncio.sleep(WORK_S)
            if BAD in request.text:
                raise TtsFailed("no voice for this")
            yield piece()
            await asyncio.sleep(WORK_S)
        finally:
            done.append(Work(request.text, began, asyncio.get_running_loop().time()))

    monkeypatch.setattr(ScriptedSynthesizer, "synthesize", synthesize)
    return done


def apart(works: list[Work]) -> bool:
    """Whether each began after the one before it had ended."""
    return all(a.ended <= b.began for a, b in itertools.pairwise(works))


async def request(http: httpx.AsyncClient, text: str) -> int:
    body = {"input": text, "voice": "tone", "response_format": "pcm"}
    answer = await http.post("/v1/audio/speech", json=body)
    return answer.status_code


async def one_after_the_other(house: Trial, texts: list[str]) -> list[int]:
    """Ask for each as soon as the one before is at the voice or in its queue; the statuses."""
    asked: list[asyncio.Task[int]] = []

    def in_line() -> bool:
        tts = house.house.pool.status()["tts"]
        return tts.waiting + tts.claimed >= sum(not task.done() for task in asked)

    async with (
        httpx.AsyncClient(base_url=house.url, timeout=30) as http,
        asyncio.timeout(20),
        asyncio.TaskGroup() as all_of_them,
    ):
        for text in texts:
            asked.append(all_of_them.create_task(request(http, text)))
            while not in_line():
                await asyncio.sleep(0.001)
    return [task.result() for task in asked]


async def test_people_and_requests_at_one_voice_never_overlap(works: list[Work]) -> None:
    async def talk(house: Trial, number: int) -> None:
        async with call(house.ws_url, {}) as caller:
            await caller.say("text", text=f"number {number}")
            assert (await caller.play())["status"] == "completed"

    async with trial(nobody_by=True, **ONE) as house:
        async with (
            httpx.AsyncClient(base_url=house.url, timeout=30) as http,
            asyncio.TaskGroup() as all_of_them,
        ):
            for number in range(8):
                all_of_them.create_task(talk(house, number))
                all_of_them.create_task(request(http, f"Request number {number}."))
        assert len(works) >= 8 + 2 * 8
        assert apart(works)


async def test_equals_are_served_in_order_of_arrival(works: list[Work]) -> None:
    texts = [f"Number {number}." for number in range(12)]
    async with trial(nobody_by=True, **ONE) as house:
        works.clear()
        assert set(await one_after_the_other(house, texts)) == {200}
    assert [work.text for work in works] == texts


async def test_the_way_from_one_call_to_the_next_takes_less_than_a_tenth_of_them(
    works: list[Work],
) -> None:
    async with trial(nobody_by=True, **ONE) as house:
        works.clear()
        async with httpx.AsyncClient(base_url=house.url, timeout=30) as http:
            await asyncio.gather(*(request(http, f"Number {number}.") for number in range(20)))
    at_work_s = sum(work.ended - work.began for work in works)
    in_all_s = works[-1].ended - works[0].began
    assert len(works) == 20
    assert in_all_s < 1.1 * at_work_s, f"{in_all_s:.3f} s for {at_work_s:.3f} s of work"


async def test_an_error_holds_up_nobody_behind_it(works: list[Work]) -> None:
    texts = ["One.", f"So {BAD}.", "Two.", f"Too {BAD}.", "Three."]
    async with trial(nobody_by=True, **ONE) as house:
        works.clear()
        assert await one_after_the_other(house, texts) == [200, 502, 200, 502, 200]
    assert [work.text for work in works] == texts
    assert apart(works)
