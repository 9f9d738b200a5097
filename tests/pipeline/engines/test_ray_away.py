"""A gateway whose replicas are all gone says so, and is well when one answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from pipeline.config import RayConfig
from pipeline.engines.ports import (
    EngineInfo,
    MemoryUse,
    RunsElsewhere,
    SpeechRequest,
    Stop,
    TimedSpeech,
)
from pipeline.engines.ray_serve import AWAY_S, KNOWN_S, RaySynthesizer
from pipeline.engines.ray_wire import FORM, Description
from pipeline.errors import StartError, TtsFailed
from pipeline.pool import TTS, ResourcePool, Supply
from tests import ray_here


class Handle:
    """A deployment whose replicas answer, or are gone."""

    there = True
    asked = 0

    def options(self, *, stream: bool) -> Handle:
        return self

    @property
    def describe(self) -> Handle:
        return self

    async def remote(self, form: str) -> Description:
        self.asked += 1
        if not self.there:
            raise ConnectionError("the actor died")
        return Description(EngineInfo("scripted", "tone"), 24_000)


class Way:
    config = RayConfig()

    def __init__(self) -> None:
        self.handle = Handle()

    async def open(self, kind: str) -> Any:
        return self.handle

    async def close(self, kind: str) -> None:
        pass


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def voice() -> tuple[RaySynthesizer, Handle, Time]:
    way, time = Way(), Time()
    engine = RaySynthesizer(way, time)
    await engine.start()
    return engine, way.handle, time


async def looked(engine: RaySynthesizer, time: Time, seconds: float) -> None:
    time.now += seconds
    await engine.look()


async def test_an_engine_is_away_when_nobody_has_answered_for_a_while(
    voice: tuple[RaySynthesizer, Handle, Time],
) -> None:
    engine, handle, time = voice
    assert isinstance(engine, RunsElsewhere)
    pool = ResourcePool({TTS: Supply((engine,), seats=2)})
    await looked(engine, time, 3.0)
    assert pool.trouble() is None
    handle.there = False
    await looked(engine, time, AWAY_S - 0.5)
    assert pool.trouble() is None  # one look that fails is no loss
    await looked(engine, time, 0.5)
    assert engine.away
    assert pool.trouble() == "speech synthesis is away: nothing answers where it runs"
    handle.there = True
    await looked(engine, time, 3.0)
    assert pool.trouble() is None


async def test_whoever_has_just_answered_is_not_asked_whether_it_is_there(
    voice: tuple[RaySynthesizer, Handle, Time],
) -> None:
    engine, handle, time = voice
    asked = handle.asked
    await looked(engine, time, 0.5)
    assert handle.asked == asked
    await looked(engine, time, 3.0)
    assert handle.asked == asked + 1


class Singer:
    """A replica that answers, and may be another one the next time."""

    about = Description(EngineInfo("alto", "first"), 24_000)
    asked = said = 0
    form = FORM

    async def describe(self, form: str) -> Description | str:
        self.asked += 1
        return self.about if form == self.form else self.form

    async def synthesize(self, request: SpeechRequest, order: object) -> AsyncIterator[TimedSpeech]:
        self.said += 1
        yield TimedSpeech(np.full(240, 0.1, np.float32))


@pytest.mark.parametrize("busy", [False, True])
async def test_what_runs_there_after_another_deployment_is_known_soon(busy: bool) -> None:
    singer, time = Singer(), Time()
    engine = RaySynthesizer(ray_here.Way(singer), time)
    await engine.start()
    use = MemoryUse(1, 2, 3)
    singer.about = replace(
        singer.about, info=EngineInfo("bass", "second"), rate_hz=22_050, memory=use
    )
    for _ in range(round(KNOWN_S)):
        if busy:
            assert [chunk async for chunk in engine.synthesize(SpeechRequest("Hi.", "a"), Stop())]
        await looked(engine, time, 1.0)
    assert (engine.rate_hz, engine.memory, engine.info.name) == (22_050, use, "bass")
    assert not busy or singer.asked == 2, "whoever gives is asked once in a while only"


async def test_replicas_of_another_version_are_no_engine_to_start_with() -> None:
    singer = Singer()
    singer.form = "another"
    engine = RaySynthesizer(ray_here.Way(singer))
    with pytest.raises(StartError, match=r"speech synthesis on Ray: .* another version"):
        await engine.start()


async def test_a_gateway_whose_replicas_become_another_versions_asks_them_for_nothing() -> None:
    singer, time = Singer(), Time()
    engine = RaySynthesizer(ray_here.Way(singer), time)
    await engine.start()
    pool = ResourcePool({TTS: Supply((engine,), seats=2)})
    singer.form, singer.about = "another", replace(singer.about, rate_hz=22_050)
    await looked(engine, time, KNOWN_S)
    assert "speech synthesis is away" in (pool.trouble() or "")
    with pytest.raises(TtsFailed, match="another version"):
        async for _ in engine.synthesize(SpeechRequest("Hi.", "a"), Stop()):
            pass
    assert (engine.rate_hz, singer.said) == (24_000, 0)
    singer.form = FORM
    await looked(engine, time, KNOWN_S)
    assert pool.trouble() is None
    assert [chunk async for chunk in engine.synthesize(SpeechRequest("Hi.", "a"), Stop())]
