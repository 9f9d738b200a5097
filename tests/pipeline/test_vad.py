"""The shared batcher: every session's own state, whoever else is in the batch."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from pipeline.engines.ports import EngineInfo, Float32
from pipeline.errors import SttFailed
from pipeline.vad import FORGET_AFTER, FRAME_S, MANY, VadBatcher


class Counter:
    """A model whose answer counts the frames of its session, by the session's own state."""

    frame_samples = 512
    info = EngineInfo("counter", "none")

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.broken = False

    async def start(self) -> None: ...

    async def close(self) -> None: ...

    def initial_state(self) -> Float32:
        return np.zeros(1, np.float32)

    def score(self, frames: Float32, states: Float32) -> tuple[Float32, Float32]:
        if self.broken:
            raise RuntimeError("broken")
        self.batches.append(len(frames))
        states = states + 1
        return frames[:, 0] * 1000 + states[:, 0], states


async def ask(vad: VadBatcher, *, behind: bool = False) -> float:
    """The first frame of a new session."""
    return await vad.stream().probability(np.zeros(512, np.float32), behind=behind)


async def stands(*tasks: asyncio.Task[float]) -> bool:
    """Whether all of them still wait when everything else has run."""
    for _ in range(10):
        await asyncio.sleep(0.001)
    return not any(task.done() for task in tasks)


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever gathers, gathers for hours."""
    monkeypatch.setattr("pipeline.vad.GATHER_S", 10_000.0)


async def test_states_never_mix_however_frames_are_batched() -> None:
    model = Counter()
    async with VadBatcher(model) as vad:

        async def one(number: int) -> None:
            stream = vad.stream()
            frame = np.full(512, number, np.float32)
            for count in range(1, 20):
                assert await stream.probability(frame) == number * 1000 + count

        async with asyncio.TaskGroup() as tasks:
            for number in range(20):
                tasks.create_task(one(number))
    assert sum(model.batches) == 20 * 19
    assert max(model.batches) > 1


async def test_a_batch_is_bounded() -> None:
    model = Counter()
    async with VadBatcher(model, max_batch=4) as vad, asyncio.TaskGroup() as tasks:
        for _ in range(30):
            tasks.create_task(ask(vad))
    assert max(model.batches) <= 4


async def test_an_error_reaches_the_session_and_the_next_frame_is_heard() -> None:
    model = Counter()
    async with VadBatcher(model) as vad:
        stream = vad.stream()
        model.broken = True
        with pytest.raises(SttFailed):
            await stream.probability(np.zeros(512, np.float32))
        model.broken = False
        assert await stream.probability(np.zeros(512, np.float32)) == 1


class Delicate(Counter):
    """A model that fails on any batch with a negative frame in it."""

    def score(self, frames: Float32, states: Float32) -> tuple[Float32, Float32]:
        if frames.min() < 0:
            raise RuntimeError("what is that?")
        return super().score(frames, states)


@pytest.mark.usefixtures("endless")
async def test_a_frame_on_which_the_model_fails_is_no_others_failure() -> None:
    async with VadBatcher(Delicate()) as vad:
        streams = [vad.stream() for _ in range(3)]
        frames = [np.full(512, value, np.float32) for value in (1, -1, 2)]
        asked = [s.probability(f) for s, f in zip(streams, frames, strict=True)]
        first, failure, third = await asyncio.gather(*asked, return_exceptions=True)
    assert (first, third) == (1001, 2001)
    assert isinstance(failure, SttFailed)


async def test_after_what_is_no_number_it_begins_anew() -> None:
    class Dizzy(Counter):
        def score(self, frames: Float32, states: Float32) -> tuple[Float32, Float32]:
            return frames[:, 0] * np.nan, states * np.nan

    async with VadBatcher(Dizzy()) as vad:
        stream = vad.stream()
        await stream.probability(np.ones(512, np.float32))
        assert stream.state == 0


async def test_a_session_that_leaves_does_not_hold_up_the_others() -> None:
    model = Counter()
    async with VadBatcher(model) as vad:
        gone = asyncio.ensure_future(ask(vad))
        await asyncio.sleep(0)
        gone.cancel()
        assert await ask(vad) == 1
        await asyncio.gather(gone, return_exceptions=True)


class Remembering(Counter):
    """A model whose probability is the frame's own; its state counts the frames."""

    def score(self, frames: Float32, states: Float32) -> tuple[Float32, Float32]:
        return frames[:, 0], states + 1


async def test_what_was_heard_before_a_silence_is_forgotten_with_it() -> None:
    async with VadBatcher(Remembering()) as vad:
        stream = vad.stream()
        quiet, loud = np.zeros(512, np.float32), np.ones(512, np.float32)
        for _ in range(FORGET_AFTER - 1):
            await stream.probability(quiet)
        await stream.probability(loud)
        assert stream.state == FORGET_AFTER
        for _ in range(FORGET_AFTER):
            await stream.probability(quiet)
        assert stream.state == 0


@pytest.mark.usefixtures("endless")
async def test_a_session_that_is_alone_waits_for_nobody() -> None:
    model, now = Counter(), 0.0
    async with VadBatcher(model, clock=lambda: now) as vad:
        stream = vad.stream()
        for count in range(1, 3 * MANY):
            now += FRAME_S
            assert await stream.probability(np.zeros(512, np.float32)) == count


@pytest.mark.usefixtures("endless")
async def test_few_sessions_wait_for_nobody() -> None:
    async with VadBatcher(Counter(), clock=lambda: 0.0) as vad:
        for _ in range(MANY - 1):
            assert await ask(vad) == 1


@pytest.mark.usefixtures("endless")
async def test_the_frames_of_many_gather_until_one_has_no_time() -> None:
    model = Counter()
    async with VadBatcher(model, clock=lambda: 0.0) as vad:
        for _ in range(MANY - 1):
            await ask(vad)
        model.batches.clear()
        async with asyncio.TaskGroup() as tasks:
            waiting = [tasks.create_task(ask(vad)) for _ in range(10)]
            assert await stands(*waiting)
            await ask(vad, behind=True)
    assert model.batches == [11]


@pytest.mark.usefixtures("endless")
async def test_nobody_waits_any_more_when_the_others_have_gone() -> None:
    model, now = Counter(), 0.0
    async with VadBatcher(model, clock=lambda: now) as vad, asyncio.TaskGroup() as tasks:
        for _ in range(MANY - 1):
            await ask(vad)
        waiting = tasks.create_task(ask(vad))
        assert await stands(waiting)
        now += FRAME_S
        assert await ask(vad) == 1


async def test_what_has_gathered_is_judged_though_nobody_else_comes() -> None:
    model = Counter()
    async with VadBatcher(model, clock=lambda: 0.0) as vad:
        for _ in range(3 * MANY):
            await ask(vad)
    assert len(model.batches) == 3 * MANY


@pytest.mark.usefixtures("endless")
async def test_at_the_end_what_has_gathered_is_still_judged() -> None:
    async with asyncio.TaskGroup() as tasks:
        async with VadBatcher(Counter(), clock=lambda: 0.0) as vad:
            for _ in range(MANY - 1):
                await ask(vad)
            waiting = tasks.create_task(ask(vad))
            assert await stands(waiting)
        assert await waiting == 1
    with pytest.raises(SttFailed):
        await ask(vad)
