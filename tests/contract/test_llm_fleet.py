"""Several backends as one: what a user notices when one of them, or all, misbehave."""

from __future__ import annotations

import asyncio
import socket
import time
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass
from itertools import count
from typing import Any

import pytest

from pipeline.engines.breaker import FAILURES, LONGEST_REST_S, REST_S
from pipeline.engines.llm_fleet import LanguageModelFleet
from pipeline.engines.openai_llm import OpenAILanguageModel
from pipeline.engines.ports import Delta, Message, Prompt, Stop, TextDelta
from pipeline.errors import (
    LlmFailed,
    LlmStalled,
    PoolTimeout,
    PromptRefused,
    RateLimited,
    StartError,
)
from tests import virtual_time
from tests.contract.chat_backend import (
    Answer,
    ChatBackend,
    chat_backend,
    chunk,
    head,
    in_turn,
    refuses,
    reply,
    resets,
    sends,
    stalls,
)
from tests.contract.connections import in_use


class Clock:
    """The real one, which a test may set forward."""

    ahead_s = 0.0

    def __call__(self) -> float:
        return time.monotonic() + self.ahead_s


@dataclass
class House:
    """A fleet, its backends, and its clock."""

    fleet: LanguageModelFleet
    backends: list[ChatBackend]
    clock: Clock

    async def answer(self, session: str = "", stop: Stop | None = None) -> str:
        prompt = Prompt((Message("user", "Hi."),), session=session)
        deltas = self.fleet.generate(prompt, stop or Stop())
        return "".join([delta.text async for delta in deltas])

    @property
    def asked(self) -> list[int]:
        return [len(backend.requests) for backend in self.backends]

    @property
    def breakers(self) -> list[str]:
        return [backend.breaker for backend in self.fleet.backends()]

    def at_rest(self) -> bool:
        return in_use(self.fleet) == 0 and all(
            backend.outstanding == 0 for backend in self.fleet.backends()
        )


@asynccontextmanager
async def house(
    count: int, *, slots: int = 4, first_token_s: float = 0.5, start: bool = True
) -> AsyncIterator[House]:
    """`count` backends, each of which says who it is."""
    async with AsyncExitStack() as stack:
        backends = [await stack.enter_async_context(chat_backend()) for _ in range(count)]
        for at, backend in enumerate(backends):
            backend.answer = sends(head(), reply(f"This is {at}."))
        models = [OpenAILanguageModel(backend.url, "m", gap_s=0.2) for backend in backends]
        clock = Clock()
        fleet = LanguageModelFleet(
            models, slots, first_token_s=first_token_s, clock=clock, chance=lambda: 0.0
        )
        stack.push_async_callback(fleet.close)
        if start:
            await fleet.start()
        made = House(fleet, backends, clock)
        yield made
        assert made.at_rest()


async def test_replies_are_shared_out_and_a_conversation_stays_where_it_was() -> None:
    async with house(2) as here:
        said = {name: await here.answer(name) for name in ("anna", "ben", "cem", "dora")}
        assert sorted(said.values()) == ["This is 0."] * 2 + ["This is 1."] * 2
        for _ in range(3):
            assert {name: await here.answer(name) for name in said} == said


@pytest.mark.parametrize(
    "fault",
    [
        refuses(500),
        refuses(503),
        refuses(429, retry_after="30"),
        refuses(503, retry_after="30"),
        refuses(404),
        sends(),
        sends(head()),
        stalls(),
        stalls(head()),
        resets(head()),
    ],
    ids=["500", "503", "429", "503 with Retry-After", "404", "closes", "closes after its head",
         "stalls", "stalls after its head", "resets"],
)  # fmt: skip
async def test_a_backend_that_fails_before_it_has_spoken_is_not_noticed(fault: Answer) -> None:
    async with house(2) as here:
        here.backends[0].answer = fault
        for _ in range(2):
            assert await here.answer() == "This is 1."


async def test_a_backend_that_refuses_connections_is_not_noticed() -> None:
    async with house(2) as here:
        await here.backends[0].refuse()
        for _ in range(6):
            assert await here.answer() == "This is 1."
        assert here.breakers == ["open", "closed"]


async def test_what_has_been_said_is_not_said_again() -> None:
    async with house(2) as here:
        for backend in here.backends:
            backend.answer = sends(head(), chunk("Half a"))
        heard = ""

        async def listen() -> None:
            nonlocal heard
            async for delta in here.fleet.generate(Prompt(()), Stop()):
                heard += delta.text

        with pytest.raises(LlmFailed, match="broke off"):
            await listen()
        assert heard == "Half a"
        assert sum(here.asked) == 1


async def test_a_failing_backend_is_left_alone_and_found_well_again() -> None:
    async with house(2) as here:
        here.backends[0].answer = refuses(500)
        for _ in range(2 * FAILURES):
            await here.answer()
        assert here.breakers == ["open", "closed"]
        asked = here.asked[0]
        for _ in range(5):
            await here.answer()
        assert here.asked[0] == asked
        here.backends[0].answer = sends(head(), reply("Well again."))
        here.clock.ahead_s = LONGEST_REST_S
        assert here.breakers == ["half_open", "closed"]
        assert await here.answer() == "Well again."
        assert here.breakers == ["closed", "closed"]


async def test_alone_it_is_asked_once_more_after_a_pause() -> None:
    async with house(1) as here:
        here.backends[0].answer = in_turn(refuses(500), sends(), sends(head(), reply("There.")))
        assert await here.answer() == "There."


async def test_when_all_fail_it_ends_soon_and_the_next_one_sooner() -> None:
    async with house(1, first_token_s=30) as here:
        here.backends[0].answer = refuses(500, b'{"error": "out of luck"}')
        for _ in range(FAILURES):  # each is asked again and again, and counts once
            assert here.breakers == ["closed"]
            with pytest.raises(LlmFailed, match="out of luck") as failure:
                await here.answer()
        assert here.breakers == ["open"]
        assert failure.value.retry_after_s is not None
        asked = here.asked[0]
        with pytest.raises(LlmFailed) as failure:
            await here.answer()
        assert here.asked[0] == asked
        assert failure.value.retry_after_s is not None


async def test_when_all_ask_for_patience_it_says_when_to_come_back() -> None:
    async with house(2) as here:
        for backend, wait in zip(here.backends, ("30", "20"), strict=True):
            backend.answer = refuses(429, retry_after=wait)
        for _ in range(2):
            with pytest.raises(RateLimited) as limited:
                await here.answer()
            assert limited.value.retry_after_s == pytest.approx(20, abs=1)
        assert here.asked == [1, 1]  # who asks for patience is not asked again
        assert here.breakers == ["closed", "closed"]
        here.backends[1].answer = sends(head(), reply("Thank you."))
        here.clock.ahead_s = 21
        assert await here.answer() == "Thank you."


async def test_a_short_rest_is_waited_for() -> None:
    async with house(1, first_token_s=30) as here:
        here.backends[0].answer = in_turn(
            refuses(429, retry_after_ms="50"), sends(head(), reply("Now."))
        )
        assert await here.answer() == "Now."


async def test_a_prompt_that_no_backend_would_take_is_asked_once() -> None:
    async with house(2) as here:
        for backend in here.backends:
            backend.answer = refuses(400, b'{"error": "too long"}')
        for _ in range(2 * FAILURES):
            with pytest.raises(PromptRefused, match="too long"):
                await here.answer()
        assert sum(here.asked) == 2 * FAILURES
        assert here.breakers == ["closed", "closed"]


async def test_users_who_cancel_open_no_breaker() -> None:
    async with house(1, first_token_s=60) as here:
        here.backends[0].answer = stalls(head())
        for _ in range(2 * FAILURES):
            here.backends[0].asked.clear()
            stop = Stop()
            reading = asyncio.ensure_future(here.answer(stop=stop))
            await here.backends[0].asked.wait()
            stop.set()
            assert await reading == ""
        assert here.breakers == ["closed"]


async def test_a_reply_left_in_the_middle_frees_its_place() -> None:
    async with house(1, slots=1) as here:
        here.backends[0].answer = stalls(head(), chunk("Half a"))
        deltas = here.fleet.generate(Prompt(()), Stop())
        async for _ in deltas:
            break
        await deltas.aclose()
        here.backends[0].answer = sends(head(), reply("Next."))
        assert await here.answer() == "Next."
        assert here.breakers == ["closed"]


class TestWhenAllAreFull:
    async def test_a_reply_waits_for_a_place_in_order_of_arrival(self) -> None:
        async with house(1, slots=1, first_token_s=60) as here:
            go, served = asyncio.Event(), list[str]()

            async def hold(writer: asyncio.StreamWriter) -> None:
                await go.wait()
                await sends(head(), reply("fine"))(writer)

            async def ask(name: str) -> None:
                await here.answer(name)
                served.append(name)

            here.backends[0].answer = hold
            async with asyncio.TaskGroup() as tasks:
                for name in "abcde":
                    tasks.create_task(ask(name))
                await here.backends[0].asked.wait()
                assert here.fleet.backends()[0].outstanding == 1
                go.set()
            assert served == list("abcde")

    async def test_whoever_waits_too_long_is_told(self) -> None:
        async with house(1, slots=1, first_token_s=0.1) as here:
            first, stop = here.fleet.generate(Prompt(()), Stop()), Stop()
            here.backends[0].answer = stalls(head(), chunk("Half a"))
            async for _ in first:
                with pytest.raises(PoolTimeout) as failure:
                    await here.answer(stop=stop)
                assert failure.value.retry_after_s is not None
                break
            await first.aclose()

    async def test_whoever_is_not_wanted_any_more_leaves_at_once(self) -> None:
        async with house(1, slots=1, first_token_s=60) as here:
            here.backends[0].answer = stalls(head(), chunk("Half a"))
            first, stop = here.fleet.generate(Prompt(()), Stop()), Stop()
            async for _ in first:
                waiting = asyncio.ensure_future(here.answer(stop=stop))
                while not here.fleet._waiting:
                    await asyncio.sleep(0)
                stop.set()
                async with asyncio.timeout(10):
                    assert await waiting == ""
                break
            await first.aclose()


class Talkative(OpenAILanguageModel):
    """Speaks after 1 s, and then on; the first calls of it fail as they are told to."""

    def __init__(self, *failures: Exception, away: bool = False, lasts_s: float = 60.0) -> None:
        super().__init__("http://127.0.0.1:1", "m")
        self._failures, self._away, self._lasts_s = list(failures), away, lasts_s

    async def start(self, within_s: float | None = None) -> None:
        if self._away:
            self._away = False
            raise StartError("not there yet")

    async def generate(
        self,
        prompt: Prompt,
        stop: Stop,
        *,
        extra: Mapping[str, object] | None = None,
        first_token_s: float | None = None,
    ) -> AsyncGenerator[Delta]:
        if self._failures:
            raise self._failures.pop(0)
        assert first_token_s is not None
        await asyncio.sleep(min(1.0, first_token_s))
        if first_token_s < 1.0:
            raise LlmStalled("no first token in time")
        yield TextDelta("Well, ")
        await asyncio.sleep(self._lasts_s)


class TestWhileOneIsFullAndTheOtherAway:
    """Whoever waits for a place at the one is asked of the other as soon as that is back."""

    def first_tokens(
        self, backends: list[OpenAILanguageModel], slots: int, asked: list[float]
    ) -> list[float]:
        """When each of those who asked at these times heard something, in seconds of virtual time;
        infinity: nothing."""
        heard = [float("inf")] * len(asked)

        async def run() -> None:
            now = asyncio.get_running_loop().time
            began = now()
            fleet = LanguageModelFleet(backends, slots, clock=now, chance=lambda: 0.5)
            await fleet.start()

            async def ask(number: int, at: float) -> None:
                await asyncio.sleep(at)
                with suppress(PoolTimeout):
                    async for _ in fleet.generate(Prompt(()), Stop()):
                        heard[number] = round(now() - began, 1)

            async with asyncio.TaskGroup() as tasks:
                for number, at in enumerate(asked):
                    tasks.create_task(ask(number, at))
            await fleet.close()

        virtual_time.run(run())
        return heard

    def test_one_that_asked_for_patience(self) -> None:
        limited = RateLimited("too often", retry_after_s=3.0)
        backends: list[OpenAILanguageModel] = [Talkative(), Talkative(limited)]
        assert self.first_tokens(backends, 1, [0.0, 0.5]) == [1.0, 4.5]

    def test_one_that_failed_and_rests(self) -> None:
        backends: list[OpenAILanguageModel] = [Talkative(), Talkative(away=True)]
        assert self.first_tokens(backends, 1, [0.0, 0.5]) == [1.0, 1.0 + REST_S]

    def test_in_order_of_arrival(self) -> None:
        limited = RateLimited("too often", retry_after_s=3.0)
        backends: list[OpenAILanguageModel] = [Talkative(), Talkative(limited, lasts_s=1.0)]
        asked = [0.0, 0.5, 0.6, 0.7, 0.8]
        assert self.first_tokens(backends, 1, asked) == [1.0, 4.5, 6.5, 8.5, 10.5]

    def test_one_whose_probe_has_just_spoken(self) -> None:
        backends: list[OpenAILanguageModel] = [Talkative(), Talkative(away=True)]
        probe_at = REST_S + 0.5
        heard = self.first_tokens(backends, 2, [0.0, 0.1, probe_at, probe_at + 0.1])
        assert heard == [1.0, 1.1, probe_at + 1.0, probe_at + 2.0]


async def test_whoever_would_wait_is_asked_of_the_one_that_failed_before() -> None:
    async with house(2, slots=1, first_token_s=60) as here:
        here.backends[0].answer = stalls(head(), chunk("Half a"))
        first = here.fleet.generate(Prompt(()), Stop())
        async for _ in first:
            avoid = {1}
            async with asyncio.timeout(10):
                trial = await here.fleet._admit(9, "", avoid, here.clock() + 60, Stop(), [])
            assert trial is not None
            assert (trial.backend, avoid) == (1, set())
            here.fleet._router.left(trial)
            break
        await first.aclose()


class Crowded(OpenAILanguageModel):
    """A first token takes `each_s` for each reply under way, the rest of a reply 4 s. When the time
    for one is up, it has stalled."""

    def __init__(self, each_s: float) -> None:
        super().__init__("http://127.0.0.1:1", "m")
        self._each_s, self._under_way = each_s, 0

    async def start(self, within_s: float | None = None) -> None: ...

    async def generate(
        self,
        prompt: Prompt,
        stop: Stop,
        *,
        extra: Mapping[str, object] | None = None,
        first_token_s: float | None = None,
    ) -> AsyncGenerator[Delta]:
        assert first_token_s is not None
        self._under_way += 1
        try:
            took_s = self._each_s * self._under_way
            await asyncio.sleep(min(took_s, first_token_s))
            if first_token_s < took_s:
                raise LlmStalled("no first token in time")
            yield TextDelta("Busy, and well.")
            await asyncio.sleep(4)
        finally:
            self._under_way -= 1


class TestABusyDay:
    """Eight callers talk to one backend for 90 s of virtual time."""

    def spent(self, backend: Crowded) -> tuple[Counter[str], set[str]]:
        """What became of their replies, and the states its breaker was in."""
        outcomes, breakers = Counter[str](), set[str]()

        async def day() -> None:
            now = asyncio.get_running_loop().time
            fleet = LanguageModelFleet([backend], 8, clock=now, chance=lambda: 0.5)
            await fleet.start()

            async def caller(number: int) -> None:
                await asyncio.sleep(0.3 * number)
                while now() < 90:
                    try:
                        async for _ in fleet.generate(Prompt((), session=f"s{number}"), Stop()):
                            pass
                        outcomes["answered"] += 1
                    except (LlmFailed, PoolTimeout) as error:
                        outcomes[type(error).__name__] += 1
                        await asyncio.sleep(0.5)
                    breakers.add(fleet.backends()[0].breaker)

            async with asyncio.TaskGroup() as tasks:
                for number in range(8):
                    tasks.create_task(caller(number))
            await fleet.close()

        virtual_time.run(day())
        return outcomes, breakers

    def test_one_that_is_busy_is_not_taken_for_one_that_fails(self) -> None:
        """Whoever waited for a place has little time left there: that their time is up then says
        nothing of the backend."""
        outcomes, breakers = self.spent(Crowded(0.6))
        assert outcomes["LlmStalled"]  # somebody's was
        assert breakers == {"closed"}

    def test_one_that_never_answers_is_left_alone(self) -> None:
        outcomes, breakers = self.spent(Crowded(300))
        assert not outcomes["answered"]
        assert "open" in breakers


class TestStart:
    async def test_one_that_answers_is_enough_and_the_other_may_come_later(self) -> None:
        async with house(2, start=False) as here:
            await here.backends[0].refuse()
            await here.fleet.start()
            assert here.breakers == ["open", "closed"]
            assert await here.answer() == "This is 1."
            await here.backends[0].listen()
            here.clock.ahead_s = LONGEST_REST_S
            assert await here.answer() == "This is 0."
            assert here.breakers == ["closed", "closed"]

    async def test_where_a_backend_is_that_never_came_is_not_told_to_users(self) -> None:
        async with house(2, start=False) as here:
            await here.backends[0].refuse()
            await here.fleet.start()
            await here.backends[1].refuse()
            here.clock.ahead_s = LONGEST_REST_S
            with pytest.raises(LlmFailed) as failure:
                await here.answer()
            assert "http" not in str(failure.value)
            assert here.backends[0].url in here.fleet.backends()[0].failure

    async def test_when_none_answers_each_is_named(self) -> None:
        async with house(2, start=False) as here:
            for backend in here.backends:
                await backend.refuse()
            with pytest.raises(StartError) as failure:
                await here.fleet.start()
            assert all(backend.url in str(failure.value) for backend in here.backends)
            assert "\n" not in str(failure.value)


async def test_it_says_how_each_backend_does_and_no_secret() -> None:
    async with chat_backend() as backend:
        url = backend.url.replace("http://", "http://ada:hunter2@")
        fleet = LanguageModelFleet([OpenAILanguageModel(url, "", "sk-secret")], 4)
        await fleet.start()
        async for _ in fleet.generate(Prompt(()), Stop()):
            pass
        (status,) = fleet.backends()
        await fleet.close()
    assert (status.url, status.model, status.breaker) == (backend.url, "first", "closed")
    assert (status.outstanding, status.limit, status.retry_in_s) == (0, 4, 0.0)
    assert status.ttft_ms is not None
    assert "hunter2" not in repr((status, fleet.info))
    assert "sk-secret" not in repr((status, fleet.info))


async def test_behind_a_name_with_two_addresses_both_answer_and_one_for_both_when_one_is_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """As a headless service has them: its name server gives them in another order each time."""
    hosts, asked = ["127.0.0.2", "127.0.0.3"], count()
    really = socket.getaddrinfo

    def resolved(host: str | bytes, port: int, *args: Any, **options: Any) -> list[Any]:
        if host not in ("llm.test", b"llm.test"):
            return really(host, port, *args, **options)
        first = next(asked) % 2  # of several threads at once
        order = hosts[first:] + hosts[:first]
        return [each for one in order for each in really(one, port, *args, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", resolved)
    async with chat_backend("127.0.0.2") as one, chat_backend("127.0.0.3", one.port) as two:
        model = OpenAILanguageModel(f"http://llm.test:{one.port}/v1", "")
        house = House(LanguageModelFleet([model], slots=8), [one, two], Clock())
        await house.fleet.start()
        assert await asyncio.gather(*(house.answer() for _ in range(8))) == 8 * ["Hello, you."]
        assert all(house.asked)
        await two.refuse()
        assert await asyncio.gather(*(house.answer() for _ in range(8))) == 8 * ["Hello, you."]
        assert house.breakers == ["closed"]
        await house.fleet.close()
