"""Two hundred calls of an engine leave nothing behind: no thread, no open file, no memory."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import numpy as np
import pytest

from pipeline.engines.ports import (
    SPEECH_HZ,
    AskModel,
    HasSeats,
    SpeechRequest,
    SpeechWindow,
    Stop,
    Transcript,
)
from tests.contract.test_synthesizers import SYNTHESIZERS
from tests.contract.test_transcribers import TRANSCRIBERS, running
from tests.realtimestt import realtimestt

CALLS = 200
SETTLED = 40
"""Calls after which what is kept from one to the next is there."""
MOST_MB = 20
"""Allocators and caches of shapes take and give; 2 s of audio kept of each call are more."""

models = pytest.mark.models


def parameters(names: list[str]) -> list[object]:
    return [pytest.param(name, marks=[] if name == "scripted" else [models]) for name in names]


def standing() -> tuple[int, int]:
    """Threads and open files of this process."""
    return threading.active_count(), len(os.listdir("/proc/self/fd"))


def memory_mb() -> float:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def seats_of(engine: object) -> int:
    """Calls that it takes at once: in a batch they cost less than one after the other."""
    return engine.seats if isinstance(engine, HasSeats) else 1


async def called(call: Callable[[], Awaitable[object]], at_once: int = 1) -> None:
    """So often, so many at a time; what it leaves behind is nothing."""

    async def calls(count: int) -> None:
        for _ in range(0, count, at_once):
            await asyncio.gather(*(call() for _ in range(at_once)))

    await calls(SETTLED)
    before, resident = standing(), memory_mb()
    await calls(CALLS - SETTLED)
    threads, files = standing()
    assert threads <= before[0]
    assert files <= before[1]
    assert memory_mb() - resident <= MOST_MB


@pytest.mark.parametrize("name", parameters(list(SYNTHESIZERS)))
async def test_a_synthesizer(name: str, request: pytest.FixtureRequest) -> None:
    engine = SYNTHESIZERS[name](request)
    async with running(engine):
        voice = engine.voices[0].name

        async def say() -> None:
            chunks = [piece async for piece in engine.synthesize(asked, Stop())]
            assert sum(map(len, chunks))

        asked = SpeechRequest("Yes.", voice, 2.0)
        await called(say, seats_of(engine))


@pytest.mark.parametrize(
    "name",
    parameters([name for name in TRANSCRIBERS if name != "realtimestt"]),  # windows: the same model
)
async def test_a_transcriber(name: str, request: pytest.FixtureRequest) -> None:
    hiss = np.random.default_rng(0).uniform(-0.1, 0.1, SPEECH_HZ).astype(np.float32)
    engine = TRANSCRIBERS[name](request)
    async with running(engine):
        await called(lambda: engine.transcribe(SpeechWindow(hiss), Stop()), seats_of(engine))


@models
async def test_a_recogniser(models_dir: Path) -> None:
    """One session's, over 200 turns; what it asks the model is answered at once."""
    frame = np.full(512, 0.1, np.float32)
    fed = 0

    async def answer(window: SpeechWindow, final: bool) -> Transcript:
        return Transcript("yes", "en")

    ask: AskModel = answer
    engine = realtimestt(models_dir)
    async with running(engine):
        ear = await engine.recogniser(ask)

        async def turn() -> None:
            nonlocal fed
            start = fed
            for _ in range(8):
                fed += len(frame)
                ear.feed(frame, fed)
            assert (await ear.words(start, fed, final=True)).text == "yes"

        await called(turn)
        await ear.close()
