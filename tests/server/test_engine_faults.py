"""An engine that hangs, seen from outside: the request that failed, the one after it, /readyz."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import numpy as np
import pytest

from pipeline.config import ScriptConfig
from pipeline.engines.build import build
from pipeline.engines.engine_set import Engines
from pipeline.engines.ports import (
    Float32,
    Message,
    Prompt,
    SpeechRequest,
    SpeechWindow,
    Stop,
    TextDelta,
)
from pipeline.engines.scripted import (
    ScriptedLanguageModel,
    ScriptedSynthesizer,
    ScriptedVoiceActivity,
)
from pipeline.errors import LlmFailed, PromptRefused, SttFailed, TtsFailed
from pipeline.pool import LLM, STT, TTS, Purpose
from server.app import create_app
from server.configs import engine_config
from server.house import House
from server.settings import load
from tests.support import SCRIPTED


class Stuck(ScriptedSynthesizer):
    """Takes a clause and is never heard of again."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False
        self.go = asyncio.Event()

    async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        await self.go.wait()
        async for chunk in super().synthesize(request, stop):
            yield chunk

    async def close(self) -> None:
        self.closed = True


def house_with(*synthesizers: Stuck) -> House:
    """A house whose first synthesizer, and those that take its place, are these."""
    settings = load({**SCRIPTED, "ANTIPHON_ENGINE_HANG_S": "0.15"}, env_file=None)
    engines: Engines = build(engine_config(settings))
    spare = list(synthesizers[1:])
    makers = replace(engines.makers, synthesizer=lambda others: spare.pop(0))
    return House(settings, replace(engines, synthesizers=synthesizers[:1], makers=makers))


async def speak(house: House) -> None:
    request = SpeechRequest("Hello there.", "tone")
    async with house.pool.lease(TTS, "anna") as slot:
        async for _ in slot.stream(lambda engine, stop: engine.synthesize(request, stop)):
            pass


async def fails(house: House) -> bool:
    try:
        await speak(house)
    except TtsFailed:
        return True
    return False


async def test_a_hung_engine_is_replaced_once_and_then_readyz_says_so() -> None:
    stuck, second = Stuck(), Stuck()
    house = house_with(stuck, second)
    transport = httpx.ASGITransport(create_app(house))
    async with (
        house.open(),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        assert await fails(house)
        async with asyncio.timeout(10):
            while (await http.get("/readyz")).status_code != 200:
                await asyncio.sleep(0.001)
        assert (await http.get("/status")).json()["pool"]["tts"]["stopping"] == 1

        second.go.set()
        assert not await fails(house)
        second.go.clear()
        assert await fails(house)
        answer = await http.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["status"] == "speech synthesis does not answer"

        stuck.go.set()  # the first one comes back, too late: it is closed
        async with asyncio.timeout(10):
            while not stuck.closed:
                await asyncio.sleep(0.001)
        second.go.set()
    assert second.closed


class Late(Stuck):
    """Takes its time to load."""

    def __init__(self) -> None:
        super().__init__()
        self.loaded = asyncio.Event()
        self.go.set()

    async def start(self) -> None:
        await asyncio.shield(self.loaded.wait())

    async def close(self) -> None:
        await self.loaded.wait()
        await super().close()


async def test_while_the_only_voice_is_being_replaced_readyz_says_so() -> None:
    stuck, late = Stuck(), Late()
    house = house_with(stuck, late)
    transport = httpx.ASGITransport(create_app(house))
    async with (
        house.open(),
        httpx.AsyncClient(transport=transport, base_url="http://localhost") as http,
    ):
        assert await fails(house)
        answer = await http.get("/readyz")
        assert answer.status_code == 503
        assert answer.json()["status"] == "speech synthesis is being replaced"
        late.loaded.set()
        assert not await fails(house)
        assert (await http.get("/readyz")).status_code == 200
        stuck.go.set()


async def test_one_that_is_loaded_too_late_is_closed_when_it_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.instances.LOAD_S", 0.05)
    stuck, late = Stuck(), Late()
    house = house_with(stuck, late)
    async with house.open():
        assert await fails(house)
        async with asyncio.timeout(10):
            while house.why_not_ready() != "speech synthesis is down":
                await asyncio.sleep(0.001)
        assert not late.closed
        late.loaded.set()
        async with asyncio.timeout(10):
            while not late.closed:
                await asyncio.sleep(0.001)
        stuck.go.set()


async def test_one_synthesizer_at_the_start_and_more_while_requests_wait() -> None:
    chosen = {**SCRIPTED, "ANTIPHON_TTS_ENGINE": "kokoro-onnx", "ANTIPHON_TTS_SLOTS": "3"}
    settings = load(chosen, env_file=None)
    engines = build(engine_config(settings))
    assert len(engines.synthesizers) == 1
    status = House(settings, engines).pool.status()["tts"]
    assert (status.slots, status.instances) == (3, 1)


async def test_a_second_recogniser_is_made_while_windows_wait_and_only_then() -> None:
    settings = load({**SCRIPTED, "ANTIPHON_STT_INSTANCES": "2"}, env_file=None)
    script = ScriptConfig(stt_s=0.1)
    house = House(settings, build(replace(engine_config(settings), script=script)))
    window = SpeechWindow(np.zeros(1_600, np.float32))

    async def speak(owner: str) -> None:
        while True:
            async with house.pool.lease(STT, owner, purpose=Purpose.FINAL) as slot:
                await slot.call(lambda engine, stop: engine.transcribe(window, stop))

    async with house.open(), asyncio.timeout(20):
        alone = asyncio.ensure_future(speak("alone"))
        await asyncio.sleep(0.3)
        assert house.pool.status()["stt"].instances == 1
        crowd = [asyncio.ensure_future(speak(str(number))) for number in range(5)]
        while house.pool.status()["stt"].busy < 2:
            await asyncio.sleep(0.01)
        assert (house.pool.status()["stt"].slots, house.pool.status()["stt"].instances) == (2, 2)
        for task in (alone, *crowd):
            task.cancel()
        await asyncio.gather(alone, *crowd, return_exceptions=True)


# --- the language model ---------------------------------------------------------------------------


class Moody(ScriptedLanguageModel):
    """Fails, hangs, refuses or answers."""

    def __init__(self) -> None:
        super().__init__()
        self.mood = "well"
        self.go = asyncio.Event()

    async def generate(self, prompt: Prompt, stop: Stop) -> AsyncIterator[TextDelta]:
        match self.mood:
            case "fails":
                raise LlmFailed("no")
            case "hangs":
                await self.go.wait()
            case "refuses":
                raise PromptRefused("too long")
        yield TextDelta("well")


def house_of_minds(*models: Moody) -> House:
    """A house whose model in this process, and those that take its place, are these."""
    settings = load({**SCRIPTED, "ANTIPHON_ENGINE_HANG_S": "0.15"}, env_file=None)
    engines = build(engine_config(settings))
    spare = list(models[1:])
    makers = replace(engines.makers, language_model=lambda: spare.pop(0))
    return House(settings, replace(engines, language_model=models[0], makers=makers))


async def thinks(house: House) -> str:
    """What the model says, or how it fails."""
    try:
        async with house.pool.lease(LLM, "anna") as slot:
            prompt = Prompt((Message("user", "Hello."),))
            deltas = slot.stream(lambda engine, stop: engine.generate(prompt, stop))
            return "".join([delta.text async for delta in deltas])
    except LlmFailed as error:
        return type(error).__name__


@pytest.mark.parametrize("mood", ["fails", "hangs"])
async def test_a_language_model_in_this_process_is_replaced_once_and_then_readyz_says_so(
    mood: str,
) -> None:
    first, second = Moody(), Moody()
    house = house_of_minds(first, second)
    async with house.open():
        assert await thinks(house) == "well"
        first.mood = mood
        async with asyncio.timeout(10):
            while await thinks(house) != "well":
                await asyncio.sleep(0.001)
            assert house.why_not_ready() is None
            second.mood = mood
            while house.why_not_ready() is None:
                assert await thinks(house) == "LlmFailed"
        how = "fails" if mood == "fails" else "does not answer"
        assert house.why_not_ready() == f"the language model {how}"
        first.go.set()
        second.go.set()


async def test_prompts_that_are_refused_are_not_the_models_fault() -> None:
    model = Moody()
    house = house_of_minds(model)
    async with house.open():
        model.mood = "refuses"
        for _ in range(10):
            assert await thinks(house) == "PromptRefused"
        assert house.why_not_ready() is None
        model.mood = "well"
        assert await thinks(house) == "well"


# --- voice activity -------------------------------------------------------------------------------


class Dozing(ScriptedVoiceActivity):
    """Fails, hangs or judges."""

    def __init__(self) -> None:
        super().__init__()
        self.mood = "well"
        self.go = threading.Event()

    def score(self, frames: Float32, states: Float32) -> tuple[Float32, Float32]:
        match self.mood:
            case "fails":
                raise RuntimeError("the session is broken")
            case "hangs":
                self.go.wait()
        return super().score(frames, states)


@pytest.mark.parametrize(
    ("mood", "how"), [("fails", "fails"), ("hangs", "does not answer")], ids=["fails", "hangs"]
)
async def test_voice_activity_is_replaced_once_and_then_readyz_says_so(mood: str, how: str) -> None:
    settings = load({**SCRIPTED, "ANTIPHON_ENGINE_HANG_S": "0.15"}, env_file=None)
    first, second = Dozing(), Dozing()
    engines = build(engine_config(settings))
    makers = replace(engines.makers, voice_activity=lambda: second)
    house = House(settings, replace(engines, voice_activity=first, makers=makers))

    async def hears() -> bool:
        try:
            await house.vad.stream().probability(np.zeros(512, np.float32))
        except SttFailed:
            return False
        return True

    async with house.open(), asyncio.timeout(20):
        assert await hears()
        first.mood = mood
        while not await hears():
            await asyncio.sleep(0.001)
        assert house.why_not_ready() is None
        second.mood = mood
        while house.why_not_ready() is None:
            assert not await hears()
        assert house.why_not_ready() == f"voice activity detection {how}"
        second.mood = "well"
        second.go.set()
        while not await hears():
            await asyncio.sleep(0.001)
        assert house.why_not_ready() is None
        first.go.set()


def test_language_models_elsewhere_are_not_made_anew() -> None:
    chosen = {**SCRIPTED, "ANTIPHON_LLM_ENGINE": "auto", "ANTIPHON_LLM_BASE_URL": "http://a"}
    makers = build(engine_config(load(chosen, env_file=None))).makers
    assert makers.language_model is None
