"""`GET /metrics`, stage by stage: what each engine call took, how fast, and how it ended."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import replace
from types import ModuleType, SimpleNamespace

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families
from websockets import ConnectionClosed

from pipeline.calls import CallFigures
from pipeline.engines.nvml import driver
from pipeline.engines.ports import MemoryUse
from pipeline.engines.scripted import ScriptedSynthesizer
from pipeline.errors import TtsFailed
from pipeline.pool import STT, TTS, Purpose, ResourcePool, Supply
from server import gpu, metrics
from server.house import House
from session.shedding import Level, Sample
from tests.server.test_load import press, relax
from tests.server.test_metrics import Scraper, scraped, talk, type_in
from tests.support import Caller, call, murmur, silence

GOALS_S = (0.65, 1.4, 0.45, 1.2, 0.7, 1.5)
"""For voice-to-voice: p50 and p95 with Kokoro, with Piper, and with eight users."""


async def outcomes(scraper: Scraper, kind: str) -> dict[str, float]:
    return {
        labels["outcome"]: value
        for (name, found), value in (await scraper.all()).items()
        if name == "antiphon_engine_calls_total" and (labels := dict(found))["kind"] == kind
    }


# --- calls ----------------------------------------------------------------------------------------


async def test_a_spoken_turn_shows_what_each_stage_took() -> None:
    async with scraped() as scraper:
        async with call(scraper.server.ws_url, {}) as caller:
            await talk(caller)
        for kind in ("stt", "eot", "llm", "tts"):
            assert (await outcomes(scraper, kind))["completed"] >= 1
            assert await scraper.value("engine_call_seconds_count", kind=kind) >= 1
            assert (await outcomes(scraper, kind))["failed"] == 0
        for kind in ("llm", "tts"):
            first_s = await scraper.value("engine_first_result_seconds_sum", kind=kind)
            count = await scraper.value("engine_first_result_seconds_count", kind=kind)
            assert count >= 1
            assert first_s > 0
        assert await scraper.value("engine_audio_seconds_total", kind="stt") >= 1.0
        assert await scraper.value("engine_audio_seconds_total", kind="tts") > 0


async def test_the_real_time_factor_is_the_time_of_a_call_by_its_audio() -> None:
    async with scraped() as scraper:
        pool = scraper.server.house.pool

        async def speaks(engine: object, stop: object) -> AsyncIterator[float]:
            yield 1.0
            yield 0.5

        async with pool.lease(TTS, "anna") as slot:
            assert [s async for s in slot.stream(speaks, lambda seconds: seconds)] == [1.0, 0.5]
        await scraper.until(1, "engine_calls_total", kind="tts", outcome="completed")
        assert await scraper.value("engine_audio_seconds_total", kind="tts") == 1.5
        took_s = await scraper.value("engine_call_seconds_sum", kind="tts")
        factor = await scraper.value("engine_real_time_factor_sum", kind="tts")
        assert factor == pytest.approx(took_s / 1.5)


async def test_what_was_read_over_http_is_in_them_too() -> None:
    async with scraped() as scraper:
        answer = await scraper.http.post(
            "/v1/audio/speech", json={"input": "Hello there.", "response_format": "wav"}
        )
        assert answer.status_code == 200
        assert (await outcomes(scraper, "tts"))["completed"] >= 1
        assert await scraper.value("engine_real_time_factor_count", kind="tts") >= 1


async def test_a_call_is_completed_stopped_or_failed() -> None:
    async with scraped() as scraper:
        pool = scraper.server.house.pool

        async def fails(engine: object, stop: object) -> AsyncIterator[int]:
            raise TtsFailed("no voice today")
            yield 1

        async def goes_on(engine: object, stop: object) -> AsyncIterator[int]:
            while True:
                yield 1
                await asyncio.sleep(0)

        async with pool.lease(TTS, "anna") as slot:
            with pytest.raises(TtsFailed):
                await anext(slot.stream(fails))
        async with pool.lease(TTS, "anna") as slot:
            await anext(slot.stream(goes_on))
        await scraper.until(1, "engine_calls_total", kind="tts", outcome="stopped")
        assert await outcomes(scraper, "tts") == {
            "completed": 0,
            "stopped": 1,
            "failed": 1,
            "hung": 0,
        }
        # What nobody waited for to the end says nothing of how long such a call takes.
        assert await scraper.value("engine_call_seconds_count", kind="tts") == 0


async def test_a_call_that_hangs_is_counted_when_it_does_and_not_again() -> None:
    told: list[tuple[str, str]] = []

    class Watcher(metrics.Metrics):
        def called(self, kind: str, figures: CallFigures) -> None:
            told.append((kind, figures.outcome))

    leave = asyncio.Event()

    async def hangs(engine: object, stop: object) -> AsyncIterator[int]:
        await leave.wait()
        yield 1

    supply = Supply((object(),), hang_s=0.01)
    async with ResourcePool({STT: supply}, watcher=Watcher()) as pool:
        async with pool.lease(STT, "anna", purpose=Purpose.FINAL) as slot:
            with pytest.raises(Exception, match="does not answer"):
                await anext(slot.stream(hangs))
        leave.set()
    assert told == [("stt", "hung")]


# --- turns ----------------------------------------------------------------------------------------


async def test_time_to_first_audio_counts_from_the_commit_however_one_asks() -> None:
    async with scraped() as scraper:
        async with call(scraper.server.ws_url, {}) as caller:
            await type_in(caller)
            await talk(caller)
            typed_ms = caller.of("reply_done")[0]["latency_ms"]["total"]
        assert await scraper.value("reply_ttfa_seconds_count", turn="typed") == 1
        assert await scraper.value("reply_ttfa_seconds_count", turn="spoken") == 1
        typed_s = await scraper.value("reply_ttfa_seconds_sum", turn="typed")
        assert typed_s == pytest.approx(typed_ms / 1000)
        spoken_s = await scraper.value("reply_ttfa_seconds_sum", turn="spoken")
        assert spoken_s < await scraper.value("voice_to_voice_seconds_sum")


@pytest.mark.parametrize("goal_s", GOALS_S)
def test_every_goal_is_the_bound_of_a_bucket(goal_s: float) -> None:
    assert goal_s in metrics.SPEECH_S


# --- load -----------------------------------------------------------------------------------------


async def test_each_time_that_work_begins_to_be_left_off_is_counted() -> None:
    async with scraped() as scraper:
        load = scraper.server.house.load
        for _ in range(2):
            press(load, Level.PARTIALS)
            relax(load)
            load.note(Sample(0.0, 0.0), 1e7)
        shed = [
            await scraper.value("load_shedding_total", left_off=what)
            for what in ("speculation", "partials", "newcomers")
        ]
        assert shed == [2, 2, 0]


# --- GPUs -----------------------------------------------------------------------------------------


class NvmlError(Exception):
    pass


def nvml(*, driver: bool = True, lost: bool = False) -> ModuleType:
    """A stand-in for NVML's package, with one device."""

    def init() -> None:
        if not driver:
            raise NvmlError

    def info(handle: int) -> SimpleNamespace:
        if lost:
            raise NvmlError
        return SimpleNamespace(used=3_000, total=8_000)

    module = ModuleType("pynvml")
    module.__dict__.update(
        NVMLError=NvmlError,
        nvmlInit=init,
        nvmlDeviceGetCount=lambda: 1,
        nvmlDeviceGetHandleByIndex=lambda device: device,
        nvmlDeviceGetMemoryInfo=info,
    )
    return module


@pytest.fixture
def fresh_nvml() -> Iterator[None]:
    driver.cache_clear()
    yield
    driver.cache_clear()


@pytest.mark.usefixtures("fresh_nvml")
async def test_the_memory_of_a_gpu_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", nvml())
    async with scraped() as scraper:
        shown = [
            await scraper.value("gpu_memory_bytes", device="0", state=state)
            for state in ("used", "total")
        ]
    assert shown == [3_000, 8_000]


@pytest.mark.usefixtures("fresh_nvml")
@pytest.mark.parametrize("package", [None, nvml(driver=False), nvml(lost=True)])
def test_without_a_gpu_there_is_no_such_series(
    package: ModuleType | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", package)
    assert gpu.gpu_memory() == []


# --- how many series ------------------------------------------------------------------------------


def label_sets(house: House) -> set[tuple[str, tuple[tuple[str, str], ...]]]:
    """Every metric with every set of its labels, a histogram's buckets as one."""
    registry: CollectorRegistry = house.metrics.registry
    return {
        (sample.name, tuple(sorted((k, v) for k, v in sample.labels.items() if k != "le")))
        for family in registry.collect()
        for sample in family.samples
    }


async def test_a_crowd_of_every_kind_makes_no_series_of_its_own() -> None:
    async with scraped(ANTIPHON_MAX_SESSIONS="4", ANTIPHON_WAITING_ROOM="0") as scraper:
        house = scraper.server.house
        before = label_sets(house)

        async def somebody(number: int) -> None:
            with suppress(ConnectionClosed):  # of a full house
                async with call(scraper.server.ws_url) as caller:
                    await talks(caller, number)

        async def talks(caller: Caller, number: int) -> None:
            await caller.say("hello", instructions=f"You are number {number}.")
            await caller.until("welcome")
            await caller.say(f"nonsense-{number}")
            if number % 2:
                await caller.speak(murmur(0.6) + silence(1.5))
            else:
                await caller.say("text", text=f"hello {number}", id=f"id-{number}")
            await caller.until("reply_started")
            if number % 3:
                await caller.say("cancel")

        async def reads(number: int) -> None:
            body = {"input": f"Number {number}.", "voice": ("tone", "no-such")[number % 2]}
            await scraper.http.post("/v1/audio/speech", json=body)
            await scraper.http.post("/v1/audio/transcriptions", files={"file": (f"{number}", b"")})
            await scraper.http.get(f"/no/such/{number}", headers={"x-request-id": f"r-{number}"})

        async with asyncio.TaskGroup() as tasks:
            for number in range(8):
                tasks.create_task(somebody(number))
                tasks.create_task(reads(number))
        assert label_sets(house) == before
        text = (await scraper.http.get("/metrics")).text
        lines = [line for f in text_string_to_metric_families(text) for line in f.samples]
        assert len(lines) < 800


# --- /status --------------------------------------------------------------------------------------


async def test_status_says_why_an_engine_was_chosen_and_what_it_takes_of_a_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    use = MemoryUse(1_500_000_000, 20_000_000, 3_000_000_000)
    monkeypatch.setattr(ScriptedSynthesizer, "memory", use, raising=False)
    async with scraped() as scraper:
        engines = (await scraper.http.get("/status")).json()["engines"]
    assert engines["tts"]["why"] == "set by ANTIPHON_TTS_ENGINE"
    assert engines["stt"]["why"] == "set by ANTIPHON_STT_ENGINE"
    assert engines["tts"]["memory"] == {"weights_mb": 1_500, "call_mb": 20, "share_mb": 3_000}
    assert "memory" not in engines["stt"]


async def test_status_has_every_field_that_operators_were_promised() -> None:
    async with scraped() as scraper, call(scraper.server.ws_url, {}) as caller:
        await type_in(caller)
        status = (await scraper.http.get("/status")).json()
    assert status["status"] == "ready"
    assert status["uptime_s"] >= 0
    assert isinstance(status["version"], str)
    assert status["engines"].keys() == {"stt", "llm", "tts", "vad", "eot"}
    for engine in status["engines"].values():
        assert engine.keys() >= {"name", "model", "device"}
    assert status["sessions"] == {"active": 1, "parked": 0, "waiting": 0, "max": 32}
    assert status["pool"].keys() == {"stt", "eot", "llm", "tts"}
    for kind in status["pool"].values():
        assert kind.keys() >= {
            "slots", "claimed", "busy", "stopping", "waiting", "wait_ms", "breaker",
        }  # fmt: skip
        assert kind["wait_ms"].keys() >= {"p50", "p95"}
    assert status["requests"] == {"total": 1, "active": 0, "failed": 0}
    assert status["shedding"] == 0


def test_a_watcher_may_be_told_of_a_call_without_audio() -> None:
    counted = metrics.Metrics()
    figures = CallFigures("completed", 0.2, 0.1, 0.0)
    counted.called("llm", figures)
    counted.called("stt", replace(figures, audio_s=2.0))
    text = counted.exposition("")[0].decode()
    assert 'antiphon_engine_call_seconds_sum{kind="llm"} 0.2' in text
    assert 'antiphon_engine_real_time_factor_sum{kind="stt"} 0.1' in text
