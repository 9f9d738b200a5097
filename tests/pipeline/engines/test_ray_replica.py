"""A replica's engine is chosen, seated and told how urgent it is where it runs; the gateway hears
what it must know."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from pipeline.config import EngineConfig, RayConfig
from pipeline.engines import build as build_module
from pipeline.engines.build import build, ray_parts
from pipeline.engines.engine_set import Engines
from pipeline.engines.errands import Order
from pipeline.engines.ports import (
    Choice,
    EngineInfo,
    Float32,
    MeasuresMemory,
    MemoryUse,
    RunsElsewhere,
    SpeechRequest,
    Stop,
    TimedSpeech,
    TimesWords,
    Voice,
)
from pipeline.engines.ray_cluster import BUSY, by_delay
from pipeline.engines.ray_plan import Part
from pipeline.engines.ray_replica import EngineReplica
from pipeline.engines.ray_serve import SILENT_S, RaySynthesizer, RayTranscriber, _Lost
from pipeline.engines.ray_wire import FORM, Alive, Begun, Description, Failure
from pipeline.engines.scripted import ScriptedTranscriber
from pipeline.errors import GpuOutOfMemory, PoolTimeout, TtsFailed
from pipeline.pool import TTS, Purpose, ResourcePool, Supply
from pipeline.voicing import REPLY_HZ, VoiceChoice, voiced
from tests.ray_here import Way, replica_of
from tests.virtual_time import run

CONFIG = EngineConfig(
    Path("nowhere"), stt_engine="scripted", tts_engine="scripted", vad_engine="scripted",
    llm_engine="scripted", ray=RayConfig(),
)  # fmt: skip
Say = Callable[[str, Purpose], Coroutine[Any, Any, None]]
USE = MemoryUse(2_000_000_000, 50_000_000, 3_000_000_000)


class Choir:
    """Many clauses at once; knows when it says what, and keeps what it was asked for."""

    info = EngineInfo("choir", "voices", "cuda")
    rate_hz = REPLY_HZ
    voices = (Voice("alto", "en-us"),)
    memory = USE

    def __init__(self) -> None:
        self.seats = 8
        self.asked: list[SpeechRequest] = []
        self.at_once = self.most_at_once = 0
        self.may = asyncio.Event()
        self.may.set()

    async def start(self) -> None:
        """No more than six fit into its memory."""
        self.seats = min(self.seats, 6)

    async def close(self) -> None:
        pass

    async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        async for speech in self.synthesize_timed(request, stop):
            yield speech.audio

    async def synthesize_timed(
        self, request: SpeechRequest, stop: Stop
    ) -> AsyncIterator[TimedSpeech]:
        self.asked.append(request)
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await self.may.wait()
            if request.text == "breaks":
                raise TtsFailed("it broke")
            audio = np.full(2_400, 0.1, np.float32)
            yield TimedSpeech(audio)
            yield TimedSpeech(audio, (0, 2_400, 4_800))
        finally:
            self.at_once -= 1


class Soloist(Choir):
    """One clause at a time."""

    async def start(self) -> None:
        self.seats = 1


def part(engine: Choir, **of_it: object) -> Part:
    return replace(
        Part("tts", lambda _: engine, CONFIG, choice=lambda _: Choice("by its ear", "for Basque")),
        **of_it,  # type: ignore[arg-type]
    )


async def said(way: Way, text: str) -> list[TimedSpeech]:
    voice = RaySynthesizer(way)
    await voice.start()
    return [one async for one in voice.synthesize_timed(SpeechRequest(text, "alto"), Stop())]


async def test_as_many_are_voiced_at_once_as_the_engine_takes_once_it_is_loaded() -> None:
    choir = Choir()
    choir.may.clear()
    async with replica_of(part(choir)) as replica, asyncio.timeout(10):
        assert replica.record_autoscaling_stats()["seats"] == 6
        calls = [asyncio.create_task(said(Way(replica), f"clause {n}")) for n in range(8)]
        while choir.at_once < 6:
            await asyncio.sleep(0)
        for _ in range(20):
            await asyncio.sleep(0)
        assert choir.most_at_once == 6
        choir.may.set()
        assert all(await asyncio.gather(*calls))


def test_another_replica_is_wanted_by_what_one_takes_at_once_where_it_runs() -> None:
    context = SimpleNamespace(
        aggregated_metrics={"late_s": {"one": 0.0}, "seats": {"one": 8.0}},
        config=SimpleNamespace(target_ongoing_requests=BUSY), total_num_requests=16,
        current_num_replicas=1, capacity_adjusted_min_replicas=1, capacity_adjusted_max_replicas=4,
        policy_state={},
    )  # fmt: skip
    assert by_delay(context)[0] == 1
    context.total_num_requests = 17
    assert by_delay(context)[0] == 2
    context.aggregated_metrics = {}  # none has told yet: by the plan's own figure, one
    assert by_delay(context)[0] == 4


async def test_what_is_said_of_the_engine_is_told_at_the_gateway() -> None:
    async with replica_of(part(Choir())) as replica:
        voice = RaySynthesizer(Way(replica))
        engines = Engines(*[voice] * 3, (voice,), voice)  # type: ignore[arg-type]
        assert engines.voice == Choice()
        await voice.start()
        assert isinstance(voice, MeasuresMemory)
        assert voice.memory == USE
        assert engines.voice == Choice("by its ear", "for Basque")


async def test_a_gateway_of_another_version_is_told_the_replicas_form_and_no_more() -> None:
    async with replica_of(part(Choir())) as replica:
        assert await replica.describe("another") == FORM


async def test_when_a_word_is_said_is_known_at_the_gateway() -> None:
    async with replica_of(part(Choir())) as replica:
        voice = RaySynthesizer(Way(replica))
        await voice.start()
        assert isinstance(voice, TimesWords)
        words: list[int] = []
        async with ResourcePool({TTS: (voice,)}) as pool, pool.lease(TTS, "anna") as slot:
            speech = voiced(slot, VoiceChoice("alto").request("two words"), 0.0, words)
            assert sum([len(piece) async for piece in speech]) >= 4_800
        assert len(words) == 3


@pytest.mark.parametrize(
    ("purpose", "in_s", "due_in_s"),
    [
        (Purpose.FIRST_CLAUSE, None, 0.0),
        (Purpose.LATER_CLAUSE, 4.0, 4.0),
        (Purpose.REQUEST, None, 1.0),
        (Purpose.SPECULATION, None, 3.0),
    ],
)
async def test_a_clause_is_due_by_the_clock_of_the_machine_that_voices_it(
    purpose: Purpose, in_s: float | None, due_in_s: float
) -> None:
    """The gateway's clock may show anything."""
    choir = Choir()
    request = SpeechRequest("Sure.", "alto", due=-1e9)
    async with replica_of(part(choir)) as replica:
        before = time.monotonic()
        results = [one async for one in replica.synthesize(request, Order("anna", purpose, in_s))]
        said = [Begun] * (purpose is Purpose.SPECULATION) + [TimedSpeech] * 2
        assert [type(one) for one in results] == said
        due = choir.asked[0].due
        assert due is not None
        assert before + due_in_s <= due <= time.monotonic() + due_in_s


async def test_at_one_seat_the_clause_that_runs_dry_first_goes_first() -> None:
    engine = Soloist()
    engine.may.clear()
    async with replica_of(part(engine)) as replica, asyncio.timeout(10):

        async def say(owner: str, in_s: float) -> None:
            order = Order(owner, Purpose.LATER_CLAUSE, in_s)
            async for _ in replica.synthesize(SpeechRequest(owner, "alto"), order):
                pass

        calls = [asyncio.create_task(say("at the engine", 0.0))]
        while not engine.asked:
            await asyncio.sleep(0)
        for owner, in_s in (("later", 8.0), ("sooner", 4.0)):
            calls.append(asyncio.create_task(say(owner, in_s)))
            await asyncio.sleep(0)
        while replica._pool.status()["tts"].waiting < 2:
            await asyncio.sleep(0)
        engine.may.set()
        await asyncio.gather(*calls)
    assert [one.text for one in engine.asked] == ["at the engine", "sooner", "later"]


@asynccontextmanager
async def gateway(replica: EngineReplica) -> AsyncIterator[tuple[ResourcePool, Say]]:
    """Its pool, with room for all; and how somebody says a word there: the owner's name."""
    voice = RaySynthesizer(Way(replica))
    await voice.start()
    async with ResourcePool({TTS: Supply((voice,), seats=8)}) as pool:

        async def say(owner: str, purpose: Purpose) -> None:
            async with pool.lease(TTS, owner, purpose=purpose) as slot:
                pieces = voiced(slot, VoiceChoice("alto").request(owner))
                assert sum([len(piece) async for piece in pieces]) >= 4_800

        yield pool, say


def waiting_in(replica: EngineReplica) -> dict[str, Purpose]:
    queue = replica._pool._stations[TTS].queue
    return {request.owner: request.purpose for request in queue._waiting}


async def test_a_guess_that_comes_true_waits_no_longer_as_one_in_a_replicas_queue() -> None:
    engine = Soloist()
    engine.may.clear()
    wanted = [
        ("anna", Purpose.FIRST_CLAUSE),
        ("a text", Purpose.REQUEST_LATER),
        ("bob", Purpose.SPECULATION),
    ]
    async with (
        replica_of(part(engine)) as replica,
        gateway(replica) as (pool, say),
        asyncio.timeout(10),
    ):
        calls = []
        for number, one in enumerate(wanted):
            calls.append(asyncio.create_task(say(*one)))
            while len(engine.asked) + len(waiting_in(replica)) <= number:
                await asyncio.sleep(0)
        pool.promote("bob")
        while waiting_in(replica).get("bob") is not Purpose.FIRST_CLAUSE:
            await asyncio.sleep(0)
        engine.may.set()
        await asyncio.gather(*calls)
    assert [one.text for one in engine.asked] == ["anna", "bob", "a text"]


async def test_a_guess_that_comes_true_while_it_is_voiced_is_not_begun_again() -> None:
    choir = Choir()
    choir.may.clear()
    async with (
        replica_of(part(choir)) as replica,
        gateway(replica) as (pool, say),
        asyncio.timeout(10),
    ):
        call = asyncio.create_task(say("bob", Purpose.SPECULATION))
        while not choir.at_once:
            await asyncio.sleep(0)
        for _ in range(20):  # the gateway has heard that it has begun
            await asyncio.sleep(0)
        pool.promote("bob")
        for _ in range(20):
            await asyncio.sleep(0)
        choir.may.set()
        await call
    assert len(choir.asked) == 1


class Falters:
    """Two replicas, one after the other: the first is lost in mid-clause; the second gives again
    what was heard, and then nothing."""

    def __init__(self, choir: Choir) -> None:
        self._choir = choir
        self.calls = 0

    async def describe(self, form: str) -> Description:
        return Description(self._choir.info, self._choir.rate_hz, self._choir.voices)

    async def synthesize(self, *_: object) -> AsyncIterator[TimedSpeech | Alive]:
        self.calls += 1
        yield TimedSpeech(np.full(2_400, 0.1, np.float32))
        if self.calls == 1:
            raise ConnectionError("lost")
        yield TimedSpeech(np.zeros(0, np.float32))
        await asyncio.Event().wait()


async def test_what_is_only_said_again_is_no_sign_that_a_lost_clause_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def lost(self: object, error: Exception, *, late: bool, given: bool) -> Exception:
        return TtsFailed("does not answer") if late else _Lost("lost")

    monkeypatch.setattr(RaySynthesizer, "_meaning", lost)  # Ray's classes are not at hand
    replicas = Falters(Choir())
    way = Way(replicas, RayConfig(hang_s=60, failover_s=0.1))
    with pytest.raises(TtsFailed, match="does not answer"):
        async with asyncio.timeout(10):
            await said(way, "two words")
    assert replicas.calls == 2


async def test_what_failed_in_the_engine_is_a_value_on_the_way() -> None:
    async with replica_of(part(Choir())) as replica:
        order = Order("anna", Purpose.FIRST_CLAUSE, None)
        (failure,) = [
            one async for one in replica.synthesize(SpeechRequest("breaks", "alto"), order)
        ]
        assert failure == Failure("TtsFailed", "it broke")
        with pytest.raises(TtsFailed, match="it broke"):
            await said(Way(replica), "breaks")


async def test_full_memory_is_tried_again_in_the_replica_alone() -> None:
    class Full(Choir):
        async def free_memory(self) -> None:
            pass

        async def synthesize_timed(
            self, request: SpeechRequest, stop: Stop
        ) -> AsyncIterator[TimedSpeech]:
            self.asked.append(request)
            raise GpuOutOfMemory("full")
            yield

    engine = Full()
    async with replica_of(part(engine)) as replica:
        voice = RaySynthesizer(Way(replica))
        await voice.start()
        async with ResourcePool({TTS: (voice,)}) as pool, pool.lease(TTS, "anna") as slot:
            with pytest.raises(GpuOutOfMemory):
                async for _ in voiced(slot, VoiceChoice("alto").request("two words")):
                    pass
    assert len(engine.asked) == 2


def test_auto_is_decided_where_the_replica_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the gateway nothing is decided: it may have no GPU."""

    def choose(wanted: str, _: Path) -> tuple[str, str]:
        return ("kokoro", "auto: there is all of it") if wanted == "auto" else (wanted, "set")

    config = replace(CONFIG, tts_engine="auto", tts_slots=5, tts_gpu_memory=4)
    parts = {part.kind: part for part in ray_parts(config)}
    monkeypatch.setattr(build_module, "choose_voice", choose)
    tts = parts["tts"]
    engine = tts.make(tts.config)
    assert engine.info.name == "kokoro"
    assert getattr(engine, "seats") == 5  # noqa: B009 - an engine may have none
    assert tts.choice is not None
    assert tts.choice(tts.config).why == "auto: there is all of it"


def test_recorders_stand_in_the_gateway_before_a_model_in_the_replicas() -> None:
    config = replace(CONFIG, stt_engine="realtimestt", stt_slots=3)
    ears = build(config).transcriber
    assert ears.info.name == "realtimestt"
    assert isinstance(ears, RunsElsewhere)
    assert getattr(ears, "seats") == 3  # noqa: B009
    assert isinstance(getattr(ears, "_whisper"), RayTranscriber)  # noqa: B009
    stt = ray_parts(config)[0]
    assert stt.make(stt.config).info.name == "faster-whisper"
    assert not isinstance(ScriptedTranscriber(), RunsElsewhere)


class FallsSilent(Falters):
    """Two replicas: the first gives half of a clause, and then not even a sign of life."""

    async def synthesize(self, *_: object) -> AsyncIterator[TimedSpeech | Alive]:
        self.calls += 1
        yield Alive()
        yield TimedSpeech(np.full(2_400, 0.1, np.float32))
        if self.calls == 1:
            await asyncio.Event().wait()
        yield TimedSpeech(np.full(2_400, 0.2, np.float32))


def test_a_replica_that_falls_silent_in_mid_clause_is_lost_and_another_goes_on() -> None:
    async def heard() -> tuple[int, float]:
        now = asyncio.get_running_loop().time
        voice = RaySynthesizer(Way(replica), now)
        await voice.start()
        chunks = [chunk async for chunk in voice.synthesize(SpeechRequest("Sure.", "a"), Stop())]
        return sum(map(len, chunks)), now()

    replica = FallsSilent(Choir())
    assert run(heard()) == (4_800, SILENT_S)
    assert replica.calls == 2


class NeverHeard(Falters):
    """Two replicas: the first is not there any more when it gets the call."""

    async def synthesize(self, *_: object) -> AsyncIterator[TimedSpeech | Alive]:
        self.calls += 1
        if self.calls == 1:
            await asyncio.Event().wait()
        yield TimedSpeech(np.full(4_800, 0.1, np.float32))


def test_a_call_that_nobody_has_heard_is_given_to_another() -> None:
    async def heard() -> tuple[int, float]:
        now = asyncio.get_running_loop().time
        voice = RaySynthesizer(Way(NeverHeard(Choir())), now)
        await voice.start()
        chunks = [chunk async for chunk in voice.synthesize(SpeechRequest("Sure.", "a"), Stop())]
        return sum(map(len, chunks)), now()

    assert run(heard()) == (4_800, SILENT_S)


def test_a_call_that_nobody_hears_waits_as_long_as_one_that_waits_its_turn() -> None:
    async def waited() -> float:
        now = asyncio.get_running_loop().time
        voice = RaySynthesizer(Way(Nobody(Choir())), now)
        await voice.start()
        with pytest.raises(PoolTimeout):
            await anext(voice.synthesize(SpeechRequest("Sure.", "a"), Stop()))
        return now()

    class Nobody(Falters):
        async def synthesize(self, *_: object) -> AsyncIterator[TimedSpeech | Alive]:
            await asyncio.Event().wait()
            yield Alive()

    with pytest.MonkeyPatch.context() as monkeypatch:
        late = PoolTimeout("waited too long")
        monkeypatch.setattr(RaySynthesizer, "_meaning", lambda *_, **__: late)  # Ray's classes
        assert run(waited()) == RayConfig().wait_s


def test_a_replica_that_takes_its_time_is_not_lost() -> None:
    async def heard(choir: Choir) -> int:
        async with replica_of(part(choir)) as replica:
            choir.may.clear()
            call = asyncio.create_task(said(Way(replica), "a long clause"))
            await asyncio.sleep(5 * SILENT_S)
            choir.may.set()
            return len(await call)

    choir = Choir()
    assert run(heard(choir)) == 2
    assert len(choir.asked) == 1
