"""`GET /metrics`: what moves, by what, and how many series there can be."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

import httpx
import numpy as np
import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families
from structlog.testing import capture_logs

from pipeline.engines.ports import Transcript
from pipeline.engines.scripted import ScriptedTranscriber
from pipeline.errors import AntiphonError, PoolTimeout
from pipeline.events import ReplyAudio
from pipeline.pool import STT, TTS, PoolWatcher, Purpose, ResourcePool
from server.metrics import Metrics
from server.outbox import MAX_AUDIO_BYTES, MAX_TEXT_BYTES, Outbox
from session.buckets import Allowance
from session.budgets import Budgets
from session.messages import Cleared
from session.shedding import Level
from tests.contract.chat_backend import chat_backend, refuses
from tests.server.test_load import press
from tests.support import Caller, LiveServer, call, live_server, murmur, silence

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]


@dataclass
class Scraper:
    """Asks one server, and reads what it says."""

    server: LiveServer
    http: httpx.AsyncClient

    async def all(self) -> Series:
        answer = await self.http.get("/metrics")
        assert answer.status_code == 200
        return {
            (sample.name, frozenset(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(answer.text)
            for sample in family.samples
        }

    async def value(self, name: str, **labels: str) -> float:
        return (await self.all())[f"antiphon_{name}", frozenset(labels.items())]

    async def until(self, wanted: float, name: str, **labels: str) -> None:
        async with asyncio.timeout(10):
            while await self.value(name, **labels) != wanted:
                await asyncio.sleep(0.01)


@asynccontextmanager
async def scraped(**environ: str) -> AsyncIterator[Scraper]:
    """A server, and whoever scrapes it."""
    async with (
        live_server(**environ) as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        speaks(server, s_per_char=0.005)
        yield Scraper(server, http)


@pytest.fixture
async def scraper() -> AsyncIterator[Scraper]:
    async with scraped() as one:
        yield one


def hears(server: LiveServer, text: str) -> None:
    """From now on this is what the scripted recogniser understands."""
    transcriber = server.house.engines.transcriber
    transcriber._script = replace(transcriber._script, stt_text=text)  # type: ignore[attr-defined]


def speaks(server: LiveServer, s_per_char: float) -> None:
    """From now on replies take so long to hear."""
    for voice in server.house.engines.synthesizers:
        script = replace(voice._script, tts_s_per_char=s_per_char)  # type: ignore[attr-defined]
        voice._script = script  # type: ignore[attr-defined]


async def talk(caller: Caller) -> None:
    """A spoken turn, heard to its end."""
    await caller.speak(murmur(1.0) + silence(1.5))
    await caller.play()


async def type_in(caller: Caller, text: str = "hello") -> None:
    await caller.say("text", text=text)
    await caller.play()


# --- turns ----------------------------------------------------------------------------------------


async def test_a_spoken_turn_is_counted_with_its_latency_and_the_parts_that_add_up(
    scraper: Scraper,
) -> None:
    async with call(scraper.server.ws_url, {}) as caller:
        await talk(caller)
        latency_ms = caller.of("reply_done")[-1]["latency_ms"]
    assert await scraper.value("turns_total", result="understood") == 1
    assert await scraper.value("replies_total", status="completed") == 1
    assert await scraper.value("voice_to_voice_seconds_count") == 1
    total_s = await scraper.value("voice_to_voice_seconds_sum")
    assert total_s == pytest.approx(latency_ms["total"] / 1000)
    parts = [
        await scraper.value("voice_to_voice_part_seconds_sum", part=part)
        for part in ("endpoint", "stt", "llm", "tts")
    ]
    assert sum(parts) == pytest.approx(total_s)


async def test_a_typed_turn_is_a_turn_and_no_voice_to_voice(scraper: Scraper) -> None:
    async with call(scraper.server.ws_url, {}) as caller:
        await type_in(caller)
    assert await scraper.value("turns_total", result="understood") == 1
    assert await scraper.value("voice_to_voice_seconds_count") == 0


async def test_a_turn_without_words_is_discarded(scraper: Scraper) -> None:
    hears(scraper.server, "")
    async with call(scraper.server.ws_url, {}) as caller:
        await caller.speak(murmur(1.0) + silence(1.5))
        await caller.until("transcript", discarded=True)
    assert await scraper.value("turns_total", result="discarded") == 1
    assert await scraper.value("turns_total", result="understood") == 0


async def test_speculations_that_came_true_and_that_did_not(scraper: Scraper) -> None:
    async with call(scraper.server.ws_url, {"pace": "patient"}) as caller:
        for pause in (1, 2):
            await caller.speak(murmur(0.6) + silence(0.7))  # of some 1.2 s that it waits
            await scraper.until(pause, "speculations_total")
        await caller.play()
    assert await scraper.value("speculations_wasted_total") == 1
    saved_s = await scraper.value("speculation_saved_seconds_total")
    assert saved_s > 0
    status = (await scraper.http.get("/status")).json()["speculation"]
    assert status == {"begun": 2, "wasted": 1, "saved_ms": round(saved_s * 1000)}


async def test_a_reply_spoken_over_is_held_and_resumed_or_interrupted(scraper: Scraper) -> None:
    async def counted() -> list[float]:
        steps = ("held", "resumed", "interrupted")
        return [await scraper.value("barge_ins_total", step=step) for step in steps]

    speaks(scraper.server, s_per_char=0.06)
    async with call(scraper.server.ws_url, {}) as caller:
        await caller.say("text", text="hello")
        await caller.until("reply_audio_end")
        hears(scraper.server, "")  # a cough
        await caller.speak(murmur(0.4) + silence(1.0))
        await caller.until("reply_resumed")
        assert await counted() == [1, 1, 0]
        hears(scraper.server, "no, wait a moment")
        await caller.say("text", text="again")
        await caller.until("reply_audio_end")
        await caller.speak(murmur(1.0))
        await caller.until("interrupted", reply=2)
        assert await counted() == [2, 1, 1]
    assert (await scraper.http.get("/status")).json()["barge_ins"] == {
        "held": 2,
        "resumed": 1,
        "interrupted": 1,
    }


async def test_a_typed_turn_that_ends_a_reply_is_no_barge_in(scraper: Scraper) -> None:
    async with call(scraper.server.ws_url, {}) as caller:
        await caller.say("text", text="one")
        await caller.until("reply_started")
        assert await scraper.value("replies_active") == 1
        await type_in(caller, "two")
    assert await scraper.value("replies_total", status="interrupted") == 1
    assert await scraper.value("barge_ins_total", step="interrupted") == 0


# --- sessions -------------------------------------------------------------------------------------


async def test_who_is_here_who_waits_and_who_was_turned_away() -> None:
    async with scraped(ANTIPHON_MAX_SESSIONS="1", ANTIPHON_WAITING_ROOM="1") as scraper:
        url = scraper.server.ws_url
        assert await scraper.value("ready") == 1
        async with call(url, {}) as inside, call(url) as waiting:
            await waiting.say("hello")
            await waiting.until("waiting")
            async with call(url) as refused:
                await refused.closed()
            for name, value in [("active", 1), ("waiting", 1), ("max", 1), ("started_total", 1)]:
                assert await scraper.value(f"sessions_{name}") == value
            assert await scraper.value("sessions_refused_total", code="AT_CAPACITY") == 1
            assert await scraper.value("ready") == 0
            await inside.say("bye")
            await waiting.until("welcome")
        await scraper.until(0, "sessions_active")
        assert await scraper.value("sessions_started_total") == 2


async def test_an_error_that_a_client_is_told(scraper: Scraper) -> None:
    async with call(scraper.server.ws_url, {}) as caller:
        await caller.say("nonsense")
        await caller.until("error")
    assert await scraper.value("errors_total", code="BAD_MESSAGE") == 1


# --- the pool -------------------------------------------------------------------------------------


async def test_claims_occupancy_and_the_queue_are_those_of_now(scraper: Scraper) -> None:
    pool = scraper.server.house.pool

    async def waits() -> None:
        async with pool.lease(TTS, "ben"):
            pass

    async with asyncio.TaskGroup() as tasks, pool.lease(TTS, "anna"):
        tasks.create_task(waits())
        await scraper.until(1, "pool_queue_depth", kind="tts")
        assert await scraper.value("pool_claimed", kind="tts") == 1
        assert await scraper.value("pool_occupied", kind="tts") == 0
        assert await scraper.value("pool_queue_age_seconds", kind="tts") > 0
    assert await scraper.value("pool_claimed", kind="tts") == 0
    assert await scraper.value("pool_wait_seconds_count", kind="tts") == 2
    assert await scraper.value("pool_wait_seconds_sum", kind="tts") > 0
    assert await scraper.value("pool_slots", kind="llm") == 8
    assert await scraper.value("pool_instances", kind="stt") == 1


async def test_an_engine_that_finishes_for_nobody_is_occupied_and_stopping(
    scraper: Scraper,
) -> None:
    pool, leave, begun = scraper.server.house.pool, asyncio.Event(), asyncio.Event()

    async def busy(engine: object, stop: object) -> AsyncIterator[int]:
        begun.set()
        await leave.wait()
        yield 1

    async def asks() -> None:
        async with pool.lease(TTS, "anna") as slot:
            async for _ in slot.stream(busy):
                pass

    asking = asyncio.ensure_future(asks())
    await begun.wait()
    assert await scraper.value("pool_occupied", kind="tts") == 1
    assert await scraper.value("pool_stopping", kind="tts") == 0
    asking.cancel()
    await scraper.until(1, "pool_stopping", kind="tts")
    assert await scraper.value("pool_claimed", kind="tts") == 0
    assert await scraper.value("pool_occupied", kind="tts") == 1
    leave.set()
    await scraper.until(0, "pool_occupied", kind="tts")


async def test_a_lease_that_is_not_given_is_counted_with_the_reason() -> None:
    async with scraped(ANTIPHON_POOL_WAIT_S="1") as scraper:
        pool = scraper.server.house.pool

        async def lease(owner: str, **options: object) -> None:
            async with pool.lease(STT, owner, **options):  # type: ignore[arg-type]
                pass

        async def counted(reason: str) -> None:
            await scraper.until(1, "pool_refused_total", kind="stt", reason=reason)

        async with pool.lease(STT, "anna"):
            with pytest.raises(AntiphonError):
                await lease("ben", max_wait_s=0.01)
            await counted("timeout")
            partials = [
                asyncio.ensure_future(lease("ben", purpose=Purpose.PARTIAL)) for _ in range(2)
            ]
            await counted("superseded")
            queue = pool._stations[STT].queue
            queue.max_per_owner = 1
            with pytest.raises(AntiphonError):
                await lease("ben")
            await counted("share")
            queue.max_waiting = 1
            with pytest.raises(AntiphonError):
                await lease("carl")
            await counted("full")
        await asyncio.gather(*partials, return_exceptions=True)


async def test_a_pool_that_nobody_watches_refuses_just_the_same() -> None:
    watcher: PoolWatcher = Metrics()
    for watched in (None, watcher):
        async with (
            ResourcePool({TTS: [object()]}, watcher=watched) as pool,
            pool.lease(TTS, "anna"),
        ):
            with pytest.raises(PoolTimeout):
                async with pool.lease(TTS, "ben", max_wait_s=0.001):
                    pass


# --- bounds, budgets, load ------------------------------------------------------------------------


async def test_audio_that_comes_too_fast_is_a_drop(scraper: Scraper) -> None:
    async with call(scraper.server.ws_url, {}) as caller:
        await caller.speak(silence(12.0), frame_bytes=32_000)
        await caller.until("warning")
    assert await scraper.value("drops_total", queue="microphone") >= 1


async def test_what_a_slow_client_loses_is_a_drop(scraper: Scraper) -> None:
    box = Outbox(dropped=scraper.server.house.metrics.dropped)
    for _ in range(3):
        box.put(ReplyAudio(1, 0, bytes(MAX_AUDIO_BYTES)))
    assert await scraper.value("drops_total", queue="outbox_audio") == 2
    while not box.stuck:
        box.put(Cleared())
    assert len(box) > MAX_TEXT_BYTES / 1000
    assert await scraper.value("drops_total", queue="outbox_text") == 1


async def test_audio_that_nobody_came_to_hear(scraper: Scraper) -> None:
    async with call(scraper.server.ws_url, {}):
        (session,) = scraper.server.house.sessions
        session.hear(np.zeros(16_000 * 40, "<i2").tobytes())  # past the reader, who would wait
        await scraper.until(10, "microphone_missed_seconds_total")


async def test_what_a_budget_refuses_is_counted_by_its_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with scraped(
        ANTIPHON_TURNS_PER_MINUTE="1", ANTIPHON_CHARACTERS_PER_MINUTE="1000"
    ) as scraper:
        async with call(scraper.server.ws_url, {}) as caller:
            await type_in(caller)
            await caller.say("text", text="one too many")
            await caller.until("error", code="RATE_LIMITED")
            await caller.say("text", text="x" * 1_000)
            await caller.until("error", code="RATE_LIMITED")
            assert await scraper.value("errors_total", code="RATE_LIMITED") == 2
        house = scraper.server.house
        house.budgets = Budgets(
            Allowance(audio_s_per_minute=0.01), 10, house.sessions.now, house.metrics.over_budget
        )
        async with call(scraper.server.ws_url, {}) as caller:
            await caller.speak(silence(0.1))
            await caller.until("error", code="RATE_LIMITED")
        for budget in ("turns", "characters"):
            assert await scraper.value("budget_refusals_total", budget=budget) == 1
        assert await scraper.value("budget_refusals_total", budget="audio") >= 1


async def test_a_user_with_a_session_too_many_is_counted(scraper: Scraper) -> None:
    house = scraper.server.house
    budgets = Budgets(Allowance(sessions=1), 10, house.sessions.now, house.metrics.over_budget)
    known = budgets.session
    budgets.session = lambda *_: known("anna")  # type: ignore[method-assign]
    house.budgets = budgets
    async with call(scraper.server.ws_url, {}), call(scraper.server.ws_url) as second:
        await second.closed()
    assert await scraper.value("budget_refusals_total", budget="sessions") == 1
    assert await scraper.value("sessions_refused_total", code="RATE_LIMITED") == 1


async def test_the_load_and_the_lag_that_it_follows(scraper: Scraper) -> None:
    before = await scraper.value("event_loop_lag_seconds_count")
    press(scraper.server.house.load, Level.PARTIALS)
    assert await scraper.value("load_level") == 2
    assert await scraper.value("pool_overdue_seconds") >= 1.0
    assert await scraper.value("event_loop_lag_seconds_count") >= before + 20
    assert await scraper.value("event_loop_lag_seconds_sum") >= 2.0


async def test_each_language_model_backend_shows_how_it_is() -> None:
    async with AsyncExitStack() as stack:
        backend = await stack.enter_async_context(chat_backend())
        scraper = await stack.enter_async_context(
            scraped(ANTIPHON_LLM_ENGINE="openai", ANTIPHON_LLM_BASE_URL=backend.url)
        )
        (where,) = (b.url for b in scraper.server.house.engines.language_model.backends())  # type: ignore[attr-defined]

        async def breaker(state: str) -> float:
            return await scraper.value("llm_backend_breaker", backend=where, state=state)

        async with call(scraper.server.ws_url, {}) as caller:
            await type_in(caller)
            assert (await breaker("closed"), await breaker("open")) == (1, 0)
            assert await scraper.value("llm_backend_outstanding", backend=where) == 0
            assert await scraper.value("llm_backend_limit", backend=where) >= 1
            assert await scraper.value("llm_backend_first_token_seconds", backend=where) >= 0
            backend.answer = refuses(500)
            for _ in range(3):
                await type_in(caller)
            assert await breaker("closed") == 0
            assert await breaker("open") + await breaker("half_open") == 1


# --- the page itself ------------------------------------------------------------------------------


async def test_the_operator_alone_may_look() -> None:
    async with scraped(ANTIPHON_ADMIN_TOKEN="secret") as scraper:
        for path in ("/metrics", "/status"):
            assert (await scraper.http.get(path)).status_code == 401
            wrong = {"authorization": "Bearer wrong"}
            assert (await scraper.http.get(path, headers=wrong)).status_code == 401
            right = {"authorization": "Bearer secret"}
            assert (await scraper.http.get(path, headers=right)).status_code == 200


async def test_without_a_token_it_answers_this_machine_only(scraper: Scraper) -> None:
    for path in ("/metrics", "/status"):
        for header in ({"host": "antiphon.example"}, {"x-forwarded-for": "192.0.2.1"}):
            assert (await scraper.http.get(path, headers=header)).status_code == 403


async def test_it_is_prometheus_text_or_openmetrics_as_one_asks(scraper: Scraper) -> None:
    plain = await scraper.http.get("/metrics")
    assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    asked = {"accept": "application/openmetrics-text; version=1.0.0"}
    openly = await scraper.http.get("/metrics", headers=asked)
    assert openly.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    names = {family.name for family in openmetrics.text_string_to_metric_families(openly.text)}
    assert {family.name for family in text_string_to_metric_families(plain.text)} == names


async def test_many_sessions_make_no_more_series_than_none(scraper: Scraper) -> None:
    before = set(await scraper.all())
    for number in range(5):
        async with call(scraper.server.ws_url, {}) as caller:
            await caller.say("nonsense")
            await type_in(caller, f"hello {number}")
        async with call(scraper.server.ws_url, {}) as caller:
            await talk(caller)
    assert set(await scraper.all()) == before
    assert len(before) < 800


async def test_two_servers_in_one_process_count_apart() -> None:
    async with scraped() as one, scraped() as other:
        async with call(one.server.ws_url, {}) as caller:
            await type_in(caller)
        assert await one.value("sessions_started_total") == 1
        assert await other.value("sessions_started_total") == 0
        assert await other.value("replies_total", status="completed") == 0


# --- and in the log -------------------------------------------------------------------------------


async def test_the_log_has_the_timeline_of_each_turn_step_after_step(scraper: Scraper) -> None:
    with capture_logs() as logs:
        async with call(scraper.server.ws_url, {}) as caller:
            await talk(caller)
            await type_in(caller)
            told = [done["latency_ms"]["total"] for done in caller.of("reply_done")]
    spoken, typed = (line for line in logs if line["event"] == "reply_done")
    for line, total_ms in zip((spoken, typed), told, strict=True):
        steps = list(line["timeline_ms"].values())
        assert list(line["timeline_ms"]) == [
            "transcript",
            "commit",
            "first_token",
            "first_clause",
            "first_audio",
            "first_sent",
        ]
        assert steps[2:] == sorted(steps[2:])
        assert steps[0] <= steps[1] <= steps[-1] == line["latency_ms"] == total_ms
    assert (spoken["spoken"], typed["spoken"]) == (True, False)
    assert typed["timeline_ms"]["commit"] == 0


async def test_the_log_has_the_timeline_of_a_turn_without_words(
    scraper: Scraper, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def nothing(*_: object) -> Transcript:
        return Transcript("(coughs)")

    monkeypatch.setattr(ScriptedTranscriber, "transcribe", nothing)
    with capture_logs() as logs:
        async with call(scraper.server.ws_url, {}) as caller:
            await caller.speak(murmur(0.5) + silence(1.5))
            assert (await caller.until("transcript", final=True))["discarded"]
    (line,) = (line for line in logs if line["event"] == "turn_committed")
    assert line["discarded"]
    assert [*line["timeline_ms"]] == ["transcript", "commit"]
    assert 0 < line["timeline_ms"]["transcript"] <= line["timeline_ms"]["commit"]


@pytest.mark.parametrize("accept", ["application/openmetrics-text; version=x", "x/y;q=,", ";;", ""])
async def test_whatever_form_is_asked_for_there_is_an_answer(accept: str) -> None:
    async with live_server() as server, httpx.AsyncClient(base_url=server.url) as http:
        answer = await http.get("/metrics", headers={"accept": accept})
        assert answer.status_code == 200
        assert "antiphon_ready" in answer.text
