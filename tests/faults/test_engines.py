"""Engines that raise, hang, crawl and talk nonsense: one request fails, and nothing else does."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import numpy as np
import pytest

from pipeline.engines.ports import (
    Float32,
    Prompt,
    SpeechRequest,
    SpeechWindow,
    Stop,
    TextDelta,
    Transcript,
)
from pipeline.engines.scripted import ScriptedSynthesizer
from pipeline.errors import EngineError, SttFailed, TtsFailed
from server.serve import bound, running
from server.settings import load
from tests.faults.baseline import Held, settled
from tests.faults.bystander import ANSWER
from tests.faults.mischief import BOOM, Mischief, Voicing, piece, shout
from tests.faults.trial import Trial, trial
from tests.support import SCRIPTED, Caller, silence


class OutOfMemoryError(RuntimeError):
    """As torch.cuda.OutOfMemoryError is named, and says."""


def out_of_memory() -> OutOfMemoryError:
    return OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB")


async def ask(victim: Caller) -> dict[str, object]:
    """A typed turn of the victim's, and how its reply ended."""
    await victim.say("text", text=BOOM)
    return await victim.until("reply_done")


async def recovers(house: Trial, victim: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    """The engine is whole again, and so is the victim's session."""
    monkeypatch.undo()
    await victim.say("text", text="and now?")
    await victim.until("reply_started")
    assert (await victim.play())["status"] == "completed"


# --- at load --------------------------------------------------------------------------------------


async def test_an_engine_that_raises_at_load_stops_the_start_and_leaves_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def start(engine: object) -> None:
        raise RuntimeError("the file is broken")

    monkeypatch.setattr(ScriptedSynthesizer, "start", start)
    held = Held.now()
    with bound("127.0.0.1", 0) as listener, pytest.raises(RuntimeError, match="broken"):
        async with running(load(SCRIPTED, env_file=None), listener):
            pass
    await settled(lambda: Held.now().more_than(held))


# --- the voice ------------------------------------------------------------------------------------

BREAKS = (TtsFailed, ZeroDivisionError)
"""An engine's own error, and an unforeseen one."""
BROKEN_AT = {0: "first chunk", 1: "second chunk", 3: "after the last"}


def breaking(error: type[Exception], after: int) -> Voicing:
    """A voice that makes so many chunks and raises."""

    async def fault(request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        for _ in range(after):
            yield piece()
        raise error("no voice today")

    return fault


async def test_a_voice_that_breaks(mischief: Mischief, monkeypatch: pytest.MonkeyPatch) -> None:
    async with trial() as house, house.call() as victim:
        house.bugs.add("engine_call_failed")
        for error, (before, name) in itertools.product(BREAKS, BROKEN_AT.items()):
            mischief.voicing(breaking(error, before))
            assert (await ask(victim))["status"] == "failed", (error, name)
            await recovers(house, victim, monkeypatch)
        told = [e["code"] for e in victim.of("error")]
        assert told == ["TTS_FAILED"] * len(BREAKS) * len(BROKEN_AT)


async def test_out_of_memory_once_is_not_noticed(mischief: Mischief) -> None:
    full = [True]

    async def fault(request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        if full.pop() if full else False:
            raise out_of_memory()
        yield piece()

    mischief.voicing(fault)
    async with trial() as house, house.call() as victim:
        assert (await ask(victim))["status"] == "completed"


async def test_out_of_memory_for_good_fails_that_request(
    mischief: Mischief, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fault(request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        raise out_of_memory()
        yield piece()

    mischief.voicing(fault)
    async with trial() as house, house.call() as victim:
        assert (await ask(victim))["status"] == "failed"
        assert [e["code"] for e in victim.of("error")] == ["GPU_OOM"]
        await recovers(house, victim, monkeypatch)


async def test_a_voice_that_hangs_and_whoever_waited_for_it_leaves(mischief: Mischief) -> None:
    async def fault(request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        await mischief.hang()
        yield piece()

    mischief.voicing(fault)
    async with trial() as house:
        async with house.call() as victim:
            await victim.say("text", text=BOOM)
            await mischief.reached.wait()
            await victim.say("cancel")
            await victim.say("bye")
            await victim.closed()
        house.hung = mischief.release


async def test_a_voice_slower_than_real_time_is_heard_to_its_end(mischief: Mischief) -> None:
    async def fault(request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        for _ in range(5):
            await asyncio.sleep(0.2)
            yield piece(0.1)

    mischief.voicing(fault)
    async with trial() as house, house.call() as victim:
        assert (await ask(victim))["status"] == "completed"


def endless(level: float) -> Float32:
    return np.full(24_000, level, np.float32)


async def test_a_voice_without_end_is_stopped(mischief: Mischief) -> None:
    async def fault(request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        while not stop.is_set:
            await asyncio.sleep(0)
            yield endless(0.1)

    mischief.voicing(fault)
    async with trial() as house, house.call() as victim:
        await victim.say("text", text=BOOM)
        error = await victim.until("error")
        assert error["code"] == "TTS_FAILED"
        await victim.say("cancel")
        await victim.until("reply_done")


NONSENSE: dict[str, Float32] = {
    "silence": np.zeros(2_400, np.float32),
    "a thousand times too loud": np.full(2_400, 1_000.0, np.float32),
    "nothing": np.zeros(0, np.float32),
    "one sample": np.ones(1, np.float32),
}


async def test_a_voice_that_makes_nonsense_is_no_noise(mischief: Mischief) -> None:
    made: list[Float32] = []

    async def fault(request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        for chunk in made:
            yield chunk

    mischief.voicing(fault)
    async with trial() as house, house.call() as victim:
        for name, chunk in NONSENSE.items():
            made[:] = [chunk, chunk]
            assert (await ask(victim))["status"] == "completed", name


async def test_a_voice_that_makes_what_is_no_number(mischief: Mischief) -> None:
    values = [np.nan, np.inf, -np.inf]

    async def fault(request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        yield piece()
        yield np.full(2_400, values[0], np.float32)

    mischief.voicing(fault)
    async with trial() as house, house.call() as victim:
        while values:
            assert (await ask(victim))["status"] == "failed", values[0]
            values.pop(0)
        assert [e["code"] for e in victim.of("error")] == ["TTS_FAILED"] * 3


async def test_a_voice_that_ends_without_a_sound(mischief: Mischief) -> None:
    async def fault(request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        return
        yield piece()

    mischief.voicing(fault)
    async with trial() as house, house.call() as victim:
        assert (await ask(victim))["text"] == ANSWER


# --- the ear --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("error", "code"),
    [(SttFailed, "STT_FAILED"), (ValueError, "STT_FAILED")],
    ids=["an engine's own error", "an unforeseen error"],
)
async def test_an_ear_that_breaks(
    mischief: Mischief, monkeypatch: pytest.MonkeyPatch, error: type[Exception], code: str
) -> None:
    async def fault(window: SpeechWindow, stop: Stop) -> Transcript:
        raise error("it was too loud")

    mischief.hearing(fault)
    async with trial() as house, house.call(pace="quick") as victim:
        house.bugs.add("engine_call_failed")
        await victim.speak(shout(0.5) + silence(1.5))
        assert (await victim.until("error"))["code"] == code
        await recovers(house, victim, monkeypatch)


async def test_an_ear_that_hangs_and_whoever_spoke_leaves(mischief: Mischief) -> None:
    async def fault(window: SpeechWindow, stop: Stop) -> Transcript:
        await mischief.hang()
        return Transcript("", "en")

    mischief.hearing(fault)
    async with trial() as house:
        async with house.call(pace="quick") as victim:
            await victim.speak(shout(0.5) + silence(0.3))
            await mischief.reached.wait()
            await victim.say("bye")
            await victim.closed()
        assert house.house.pool.status()["stt"].claimed == 0
        house.hung = mischief.release


async def test_an_ear_that_hears_a_book(
    mischief: Mischief, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fault(window: SpeechWindow, stop: Stop) -> Transcript:
        return Transcript("word " * 200_000, "en")

    mischief.hearing(fault)
    async with trial() as house, house.call(pace="quick") as victim:
        await victim.speak(shout(0.5) + silence(1.5))
        final = await victim.until("transcript", final=True)
        assert len(final["text"]) <= 10_000
        await recovers(house, victim, monkeypatch)


async def test_a_second_vote_that_breaks_is_no_vote(mischief: Mischief) -> None:
    def fault(audio: Float32) -> float:
        raise ZeroDivisionError("what?")

    mischief.voting(fault)
    async with trial() as house, house.call(pace="quick") as victim:
        house.bugs.add("engine_call_failed")
        await victim.speak(shout(0.5) + silence(1.5))
        assert (await victim.until("transcript", final=True))["text"]
        assert (await victim.play())["status"] == "completed"


async def test_a_second_vote_that_is_no_probability(mischief: Mischief) -> None:
    votes = [float("nan"), float("inf"), -1.0]
    mischief.voting(lambda audio: votes[0])
    async with trial() as house, house.call(pace="quick") as victim:
        while votes:
            await victim.speak(shout(0.5) + silence(1.5))
            assert (await victim.until("transcript", final=True))["text"], votes[0]
            assert (await victim.play())["status"] == "completed", votes[0]
            votes.pop(0)


async def test_voice_activity_that_breaks_hears_no_speech(
    mischief: Mischief, monkeypatch: pytest.MonkeyPatch
) -> None:
    broke: list[int] = []

    def fault() -> float:
        broke.append(1)
        raise ZeroDivisionError("what?")

    mischief.sensing(fault)
    async with trial() as house, house.call() as victim:
        house.bugs.add("vad_failed")
        await victim.speak(shout(0.512))
        await settled(lambda: "" if len(broke) >= 16 else "not all of it is heard")
        assert (await victim.until("error"))["code"] == "STT_FAILED"
        await recovers(house, victim, monkeypatch)
        assert not victim.of("speech_started")


async def test_voice_activity_that_is_no_probability(mischief: Mischief) -> None:
    mischief.sensing(lambda: np.nan)
    async with trial() as house, house.call() as victim:
        await victim.speak(shout(0.5) + silence(0.5))
        await victim.say("text", text="are you there?")
        assert (await victim.play())["status"] == "completed"


# --- the language model ---------------------------------------------------------------------------


@pytest.mark.parametrize("words", [0, 3], ids=["first word", "fourth word"])
async def test_a_language_model_that_breaks(
    mischief: Mischief, monkeypatch: pytest.MonkeyPatch, words: int
) -> None:
    async def fault(prompt: Prompt, stop: Stop) -> AsyncIterator[TextDelta]:
        for _ in range(words):
            yield TextDelta(" word")
        raise EngineError("what?") if words else ZeroDivisionError("what?")

    mischief.writing(fault)
    async with trial() as house, house.call() as victim:
        house.bugs.add("engine_call_failed")
        assert (await ask(victim))["status"] == "failed"
        assert len(victim.of("error")) == 1
        await recovers(house, victim, monkeypatch)


async def test_a_language_model_that_says_nothing(
    mischief: Mischief, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fault(prompt: Prompt, stop: Stop) -> AsyncIterator[TextDelta]:
        yield TextDelta("  ")

    mischief.writing(fault)
    async with trial() as house, house.call() as victim:
        assert (await ask(victim))["status"] == "failed"
        assert [e["code"] for e in victim.of("error")] == ["LLM_FAILED"]
        await recovers(house, victim, monkeypatch)


async def test_a_language_model_that_hangs_and_whoever_asked_goes_on(mischief: Mischief) -> None:
    async def fault(prompt: Prompt, stop: Stop) -> AsyncIterator[TextDelta]:
        await mischief.hang()
        yield TextDelta("word")

    mischief.writing(fault)
    async with trial() as house:
        async with house.call() as victim:
            await victim.say("text", text=BOOM)
            await mischief.reached.wait()
            await victim.say("text", text="something else, then")
            assert (await victim.play())["turn"] == 2
        house.hung = mischief.release
