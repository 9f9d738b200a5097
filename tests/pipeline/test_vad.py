"""The shared batcher: every session's own state, whoever else is in the batch."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from structlog.testing import capture_logs

from pipeline.engines.ports import EngineInfo, Float32
from pipeline.errors import SttFailed
from pipeline.instances import FAILURES_IN_ROW
from pipeline.vad import FORGET_AFTER, FRAME_S, MANY, TELL_S, VadBatcher


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


@pytest.mark.parametrize("given", [0, 2])
async def test_another_number_of_answers_is_a_failure_and_the_next_frame_is_heard(
    given: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Counter()
    async with VadBatcher(model) as vad:
        with monkeypatch.context() as patched:
            answers = np.ones(given, np.float32), np.ones((given, 1), np.float32)
            patched.setattr(model, "score", lambda frames, states: answers)
            with pytest.raises(SttFailed):
                await asyncio.wait_for(ask(vad), 10)
        assert await asyncio.wait_for(ask(vad), 10) == 1


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


# --- a model that hangs, or is broken -------------------------------------------------------------


class Hanging(Counter):
    """A model that answers when it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()

    def score(self, frames: Float32, states: Float32) -> tuple[Float32, Float32]:
        self.go.wait()
        return super().score(frames, states)


async def fails(vad: VadBatcher) -> bool:
    try:
        await ask(vad)
    except SttFailed:
        return True
    return False


async def test_a_model_that_hangs_is_replaced_once_and_then_is_trouble_until_it_answers() -> None:
    first, second = Hanging(), Hanging()
    made: list[Counter] = []

    async def make() -> Counter:
        made.append(second)
        return second

    async with VadBatcher(first, hang_s=0.05, make=make) as vad:
        second.go.set()
        assert await fails(vad)
        assert await ask(vad) == 1
        assert vad.trouble is None
        second.go.clear()
        assert await fails(vad)
        assert vad.trouble == "voice activity detection does not answer"
        assert await fails(vad)  # at once: nothing is given to a thread that hangs
        second.go.set()
        async with asyncio.timeout(10):
            while await fails(vad):
                await asyncio.sleep(0.001)
        assert vad.trouble is None
        first.go.set()
    assert made == [second]


@pytest.mark.parametrize("spares", [0, 1])
async def test_a_model_that_fails_on_silence_too_is_replaced_once(spares: int) -> None:
    broken = [Counter(), Counter()]
    for model in broken:
        model.broken = True

    async def make() -> Counter:
        return broken[1]

    async with VadBatcher(broken[0], make=make if spares else None) as vad:
        for _ in range(FAILURES_IN_ROW * (1 + spares)):
            assert vad.trouble is None
            assert await fails(vad)
        async with asyncio.timeout(10):
            while vad.trouble is None:
                await asyncio.sleep(0.001)
        assert vad.trouble == "voice activity detection fails"
        broken[spares].broken = False
        assert await ask(vad) == 1
        assert vad.trouble is None


async def test_trouble_ends_though_nobody_comes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.vad.AGAIN_S", 0.001)
    model = Hanging()
    async with VadBatcher(model, hang_s=0.05) as vad:
        assert await fails(vad)
        await asyncio.sleep(0.01)
        assert vad.trouble == "voice activity detection does not answer"
        model.go.set()
        async with asyncio.timeout(10):
            while vad.trouble is not None:
                await asyncio.sleep(0.001)


async def test_a_model_that_cannot_be_made_is_trouble() -> None:
    async def make() -> Counter:
        raise OSError("no file")

    first = Hanging()
    async with VadBatcher(first, hang_s=0.05, make=make) as vad:
        assert await fails(vad)
        async with asyncio.timeout(10):
            while vad.trouble is None:
                await asyncio.sleep(0.001)
        first.go.set()


async def test_a_model_that_hangs_while_it_is_made_is_trouble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("pipeline.vad.LOAD_S", 0.05)
    never = asyncio.Event()

    async def make() -> Counter:
        await never.wait()
        raise AssertionError("never")

    first = Hanging()
    async with VadBatcher(first, hang_s=0.05, make=make) as vad:
        assert await fails(vad)
        async with asyncio.timeout(10):
            while vad.trouble != "voice activity detection is being replaced":
                await asyncio.sleep(0.001)
            while vad.trouble != "voice activity detection does not answer":
                await asyncio.sleep(0.001)
            assert await fails(vad)
        first.go.set()


async def test_frames_on_which_the_model_fails_do_not_make_it_look_broken() -> None:
    async def make() -> Counter:
        raise AssertionError("it is whole")

    async with VadBatcher(Delicate(), make=make) as vad:
        stream = vad.stream()
        for _ in range(5 * FAILURES_IN_ROW):
            with pytest.raises(SttFailed):
                await stream.probability(np.full(512, -1, np.float32))
        assert await ask(vad) == 1
        assert vad.trouble is None


async def test_frames_that_fail_are_logged_now_and_then() -> None:
    model, now = Counter(), 0.0
    model.broken = True
    with capture_logs() as logged:
        async with VadBatcher(model, clock=lambda: now) as vad:
            for _ in range(50):
                assert await fails(vad)
            now += TELL_S
            assert await fails(vad)
    assert [entry["event"] for entry in logged].count("vad_failed") == 2


async def test_closing_leaves_a_call_that_hangs_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.vad.CLOSE_S", 0.05)
    model = Hanging()
    async with asyncio.timeout(10):
        async with VadBatcher(model) as vad:
            asked = vad.stream().probability(np.zeros(512, np.float32))
            await asyncio.sleep(0)
    assert asked.cancelled()
    model.go.set()
