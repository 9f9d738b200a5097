"""An engine on demand is loaded once, however many need it at once, and freed when nobody does."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from pipeline.config import EngineConfig, RayConfig
from pipeline.engines.build import build, ray_parts
from pipeline.engines.on_demand import OnDemand
from pipeline.engines.polyglot import PolyglotTranscriber
from pipeline.engines.ports import EngineInfo, SpeechWindow, Stop, Transcript
from pipeline.errors import ModelMissing, SttFailed

Voice = Literal["kokoro", "kokoro-onnx", "piper"]


class Ear:
    """Says which model heard, and how often it was loaded and freed."""

    def __init__(self, model: str, *languages: str, broken: bool = False) -> None:
        self.info = EngineInfo("ear", model)
        self.languages = frozenset(languages)
        self.broken = broken
        self.started = self.ended = 0
        self.gone = asyncio.Event()

    async def start(self) -> None:
        await asyncio.sleep(0)
        if self.broken:
            raise ModelMissing("it is not there")
        self.started += 1

    async def close(self) -> None:
        self.ended += 1
        self.gone.set()

    async def transcribe(self, window: SpeechWindow, stop: Stop) -> Transcript:
        await asyncio.sleep(0)
        return Transcript(self.info.model, window.language or "en")


def polyglot(other: Ear, idle_s: float = 0) -> PolyglotTranscriber:
    return PolyglotTranscriber(Ear("tiny.en", "en"), lambda: other, frozenset({"en", "es"}), idle_s)


async def hear(engine: PolyglotTranscriber, language: str | None) -> str:
    window = SpeechWindow(np.zeros(8, np.float32), language)
    return (await engine.transcribe(window, Stop())).text


async def test_each_language_goes_to_the_model_that_knows_it() -> None:
    other = Ear("base", "en", "es")
    engine = polyglot(other)
    await engine.start()
    assert engine.languages == {"en", "es"}
    assert [await hear(engine, language) for language in ("en", None, "tlh")] == ["tiny.en"] * 3
    assert other.started == 0
    assert await hear(engine, "es") == "base"
    await engine.close()
    assert (other.started, other.ended) == (1, 1)


async def test_ten_who_need_it_at_once_load_it_once() -> None:
    other = Ear("base")
    engine = polyglot(other)
    assert await asyncio.gather(*(hear(engine, "es") for _ in range(10))) == ["base"] * 10
    assert other.started == 1
    await engine.close()


async def test_it_is_freed_when_nobody_has_needed_it_and_loaded_again_for_the_next() -> None:
    other = Ear("base")
    engine = polyglot(other, idle_s=0.001)
    await hear(engine, "es")
    await asyncio.wait_for(other.gone.wait(), 10)
    await hear(engine, "es")
    assert other.started == 2
    await engine.close()


async def test_one_that_cannot_be_freed_is_nobodys_failure_who_needs_the_next() -> None:
    class Stubborn(Ear):
        async def close(self) -> None:
            await super().close()
            if self.ended == 1:
                raise OSError("it does not end")

    other = Stubborn("base")
    engine = polyglot(other, idle_s=0.001)
    await hear(engine, "es")
    await asyncio.wait_for(other.gone.wait(), 10)
    for _ in range(3):
        assert await hear(engine, "es") == "base"
    await engine.close()


@pytest.mark.parametrize("engine", ["kokoro", "kokoro-onnx", "piper"])
def test_every_voice_is_told_when_it_is_to_be_unloaded(tmp_path: Path, engine: Voice) -> None:
    config = EngineConfig(tmp_path, tts_engine=engine, llm_engine="scripted", tts_unload_s=7.0)
    assert getattr(build(config).synthesizers[0], "_idle")._seconds == 7.0  # noqa: B009
    part = next(part for part in ray_parts(replace(config, ray=RayConfig())) if part.kind == "tts")
    assert getattr(part.make(part.config), "_idle")._seconds == 7.0  # noqa: B009


async def test_it_stays_while_somebody_uses_it() -> None:
    ear = Ear("base")
    shared = OnDemand(lambda: ear, idle_s=0.001)
    async with shared.use():
        async with shared.use():
            pass
        await asyncio.sleep(0.01)
        assert shared.loaded is ear
        assert not ear.ended
    await asyncio.wait_for(ear.gone.wait(), 10)
    await shared.close()
    assert ear.ended == 1


async def test_one_that_cannot_be_loaded_fails_that_request_and_is_tried_again() -> None:
    other = Ear("base", broken=True)
    engine = polyglot(other)
    with pytest.raises(SttFailed, match="it is not there"):
        await hear(engine, "es")
    other.broken = False
    assert await hear(engine, "es") == "base"
    await engine.close()
