"""One session's ear: frames in order, gaps filled, room made, errors survived."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from functools import wraps

import numpy as np

from pipeline.engines.ports import Float32
from pipeline.errors import SttFailed
from pipeline.listening import DEAF_AGAIN, DEAF_FRAMES, ROOM_S, Listening
from pipeline.signals import Heard
from tests import virtual_time

WHO: ContextVar[str] = ContextVar("who", default="nobody")


class Ear:
    """Stands for the VAD: loud is speech; can be made slow or broken."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.go.set()
        self.broken = False
        self.behind: list[bool] = []
        self.forgot_at: list[int] = []

    def probability(self, frame: Float32, *, behind: bool = False) -> asyncio.Future[float]:
        self.behind.append(behind)
        return asyncio.ensure_future(self._judge(frame))

    def forget(self) -> None:
        self.forgot_at.append(len(self.behind))

    async def _judge(self, frame: Float32) -> float:
        await self.go.wait()
        if self.broken:
            raise SttFailed("broken")
        return float(np.abs(frame).max() > 0.1)


class Session:
    def __init__(self, *, expects: bool = False) -> None:
        self.frames: list[Heard] = []
        self.names: list[str] = []
        self.more = asyncio.Event()
        self.reads = True
        self.expects = expects
        self.ear = Ear()
        self.alive = True
        self.asked = asyncio.Event()
        self.listening = Listening(
            16_000,
            self.ear,  # type: ignore[arg-type]
            self.post,
            lambda: self.expects,
            self.answers,
            clock=asyncio.get_running_loop().time,
        )

    async def answers(self) -> bool:
        self.asked.set()
        return self.alive

    def post(self, heard: Heard) -> None:
        self.frames.append(heard)
        self.names.append(WHO.get())
        self.more.set()
        if self.reads:
            self.listening.hear_on()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(5):
            while not condition():
                self.more.clear()
                await self.more.wait()


def pcm(samples: int, level: float = 0.5) -> bytes:
    return (np.full(samples, level) * 32_767).astype("<i2").tobytes()


def in_no_time(test: Callable[[], Awaitable[None]]) -> Callable[[], None]:
    """A test of what happens when time goes by."""

    @wraps(test)
    def run() -> None:
        virtual_time.run(test())  # type: ignore[arg-type]

    return run


async def while_listening(session: Session, act: Callable[[], Awaitable[None]]) -> None:
    task = asyncio.ensure_future(session.listening.run())
    try:
        await act()
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_every_frame_is_heard_once_in_order_however_audio_comes() -> None:
    session = Session()

    async def act() -> None:
        for size in (100, 1_000, 7, 5_000, 320, 320, 9_000):
            session.listening.feed(pcm(size))
        await session.until(lambda: len(session.frames) == 15_747 // 512)

    await while_listening(session, act)
    assert [frame.end for frame in session.frames] == [512 * n for n in range(1, 31)]
    assert session.listening.received_to == 15_747


async def test_the_next_frame_waits_until_the_session_has_taken_the_last() -> None:
    session = Session()
    session.reads = False

    async def act() -> None:
        session.listening.feed(pcm(4 * 512))
        await session.until(lambda: len(session.frames) == 1)
        for _ in range(10):
            await asyncio.sleep(0)
        assert len(session.ear.behind) == 1
        session.listening.hear_on()
        await session.until(lambda: len(session.frames) == 2)

    await while_listening(session, act)
    assert [frame.end for frame in session.frames] == [512, 1_024]


async def test_a_frame_with_the_next_behind_it_is_in_a_hurry() -> None:
    session = Session()

    async def act() -> None:
        session.listening.feed(pcm(3 * 512 - 1))
        await session.until(lambda: len(session.frames) == 2)
        session.listening.feed(pcm(1))
        await session.until(lambda: len(session.frames) == 3)

    await while_listening(session, act)
    assert session.ear.behind == [True, False, False]


async def test_frames_are_judged_in_the_name_of_whoever_listens() -> None:
    session = Session()

    async def act() -> None:
        await asyncio.sleep(0)
        WHO.set("who brings audio")
        session.listening.feed(pcm(512))
        await session.until(lambda: len(session.frames) == 1)

    WHO.set("who listens")
    await while_listening(session, act)
    assert session.names == ["who listens"]


async def test_what_comes_after_the_end_is_not_judged() -> None:
    session = Session()
    session.ear.go.clear()

    async def act() -> None:
        session.listening.feed(pcm(512))
        for _ in range(10):
            await asyncio.sleep(0)

    await while_listening(session, act)
    session.ear.go.set()
    session.listening.feed(pcm(2 * 512))
    for _ in range(10):
        await asyncio.sleep(0)
    assert session.frames == []
    assert len(session.ear.behind) == 1


async def test_the_window_is_what_was_said() -> None:
    session = Session()
    session.listening.feed(pcm(1_000, 0.25))
    session.listening.feed(pcm(1_000, 0.5))
    window = session.listening.window(500, 1_500)
    assert len(window) == 1_000
    np.testing.assert_allclose(window[[0, -1]], [0.25, 0.5], atol=1e-3)


@in_no_time
async def test_frames_that_stop_inside_speech_become_silence() -> None:
    session = Session(expects=True)

    async def act() -> None:
        session.listening.feed(pcm(512))
        await session.until(lambda: len(session.frames) > 20)

    await while_listening(session, act)
    assert [frame.probability for frame in session.frames[:3]] == [1.0, 0.0, 0.0]


@in_no_time
async def test_on_a_line_that_stalls_the_clock_stands_still() -> None:
    session = Session(expects=True)
    session.alive = False

    async def act() -> None:
        session.listening.feed(pcm(512))
        await session.asked.wait()
        for _ in range(10):
            await asyncio.sleep(0)
        session.listening.feed(pcm(512))  # what the line held back
        await session.until(lambda: len(session.frames) == 2)

    await while_listening(session, act)
    assert [frame.probability for frame in session.frames] == [1.0, 1.0]


@in_no_time
async def test_outside_of_speech_the_clock_stands_still() -> None:
    session = Session(expects=False)

    async def act() -> None:
        session.listening.feed(pcm(512))
        await session.until(lambda: len(session.frames) == 1)
        await asyncio.sleep(1.2)  # longer than the gap that would be filled

    await while_listening(session, act)
    assert len(session.frames) == 1


async def test_whoever_brings_audio_waits_until_it_is_heard() -> None:
    session = Session()
    session.ear.go.clear()

    async def act() -> None:
        session.listening.feed(pcm(round((ROOM_S + 1) * 16_000)))
        waiting = asyncio.ensure_future(session.listening.room())
        await asyncio.sleep(0.05)
        assert not waiting.done()
        session.ear.go.set()
        await asyncio.wait_for(waiting, 5)
        assert session.listening.unheard_s <= ROOM_S

    await while_listening(session, act)


async def test_a_frame_that_cannot_be_judged_is_no_speech_and_no_end() -> None:
    session = Session()

    async def act() -> None:
        session.ear.broken = True
        session.listening.feed(pcm(512))
        await session.until(lambda: len(session.frames) == 1)
        session.ear.broken = False
        session.listening.feed(pcm(512))
        await session.until(lambda: len(session.frames) == 2)

    await while_listening(session, act)
    assert [frame.probability for frame in session.frames] == [0.0, 1.0]


async def test_a_session_learns_that_nobody_is_heard_and_not_at_every_frame() -> None:
    session = Session()

    async def hear(frames: int, *, broken: bool) -> None:
        session.ear.broken, before = broken, len(session.frames)
        session.listening.feed(pcm(512 * frames))
        await session.until(lambda: len(session.frames) == before + frames)

    async def act() -> None:
        await hear(DEAF_FRAMES - 1, broken=True)
        await hear(1, broken=False)
        await hear(DEAF_FRAMES, broken=True)
        for _ in range(3):
            await hear(DEAF_AGAIN // 3, broken=True)

    await while_listening(session, act)
    told = [at for at, frame in enumerate(session.frames) if frame.deaf]
    first = 2 * DEAF_FRAMES - 1
    assert told == [first, first + DEAF_AGAIN]


# --- muted ----------------------------------------------------------------------------------------


async def test_what_comes_while_muted_is_not_heard_and_takes_no_time() -> None:
    session = Session()

    async def act() -> None:
        session.listening.feed(pcm(3 * 512))
        end = session.listening.mute()
        session.listening.feed(pcm(50 * 512))
        assert session.listening.mute() == end == 3 * 512
        session.listening.unmute()
        session.listening.feed(pcm(2 * 512, 0.0))
        await session.until(lambda: len(session.frames) == 5)

    await while_listening(session, act)
    assert [frame.probability for frame in session.frames] == [1.0, 1.0, 1.0, 0.0, 0.0]
    assert session.frames[-1].end == session.listening.received_to == 5 * 512
    assert session.ear.forgot_at == [3]


async def test_the_last_of_what_came_before_is_heard_without_what_comes_after() -> None:
    session = Session()

    async def act() -> None:
        session.listening.feed(pcm(700))
        assert session.listening.mute() == 2 * 512
        await session.until(lambda: len(session.frames) == 2)

    await while_listening(session, act)
    assert session.frames[-1].end == 2 * 512


@in_no_time
async def test_to_be_muted_in_mid_speech_is_no_gap_and_after_it_a_gap_begins_anew() -> None:
    session = Session(expects=True)

    async def act() -> None:
        session.listening.feed(pcm(512))
        session.listening.mute()
        await asyncio.sleep(1.2)  # longer than the gap that would be filled
        assert len(session.frames) == 1
        assert not session.asked.is_set()
        session.listening.unmute()
        await session.until(lambda: len(session.frames) > 20)

    await while_listening(session, act)
    assert session.listening.received_to < 2.5 * 16_000  # the muted time is not filled in
