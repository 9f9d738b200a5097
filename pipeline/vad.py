"""VadBatcher: the speech probabilities of all sessions, computed together.

One thread runs one model. While frames come from few sessions each is judged at once; from many,
calls begin `GATHER_S` apart, and each takes what has gathered meanwhile. A model that hangs, or
fails on silence too, is replaced once; after that `trouble` says so.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import deque
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import structlog

from .engines.ports import Float32, VoiceActivityModel
from .engines.threads import EngineThreads
from .errors import SttFailed
from .instances import FAILURES_IN_ROW, REPLACING

log = structlog.get_logger(__name__)

QUIET, FORGET_AFTER = 0.15, 15
"""After so many quiet frames (480 ms) the model begins anew. What it remembers of speech that broke
off makes it deaf to the next onset: seen 64 ms after it is (p95 210), else 81 (p95 642), over five
clips at several distances."""
GATHER_S = 0.016
"""From the beginning of one call to the next, where sessions are many: the most that a frame waits
for others. What a call costs whatever is in it (a thread is woken, twice) is then shared by all:
docs/decisions/0010-the-edge.md."""
MANY, FRAME_S = 16, 0.032
"""Sessions are many when so many frames came within the time of one."""
CLOSE_S = 5.0
"""How long closing waits for a call to leave; a thread that hangs is left behind."""
AGAIN_S = 5.0
"""A model in trouble that nobody asks is asked so often whether it has come back."""
LOAD_S = 10.0
"""Another model is loaded in a tenth of a second, or never."""
TELL_S = 10.0
"""Failed frames are logged once in so long: there may be 31 a second of each session."""

Scores = tuple[Float32, Float32]


@dataclass(eq=False, slots=True)
class _Wanted:
    stream: VadStream
    frame: Float32
    answer: asyncio.Future[float]


class VadStream:
    """One session's ear: feed it frames in order, one at a time."""

    def __init__(self, batcher: VadBatcher, state: Float32) -> None:
        self._batcher = batcher
        self._fresh = self.state = state
        self._quiet = 0

    def probability(self, frame: Float32, *, behind: bool = False) -> asyncio.Future[float]:
        """The probability that the frame (512 samples at 16 kHz) holds speech, or `SttFailed`.

        `behind`: the session's next frame has come too, so this one waits for no others.
        """
        return self._batcher._ask(self, frame, behind)

    def forget(self) -> None:
        """What comes next has nothing to do with what came before."""
        self.state, self._quiet = self._fresh, 0

    def _move(self, probability: float, state: Float32) -> None:
        # What is no number may stay none: it would never hear again.
        self.state = self._fresh if math.isnan(probability) else state
        self._quiet = self._quiet + 1 if probability < QUIET else 0
        if self._quiet == FORGET_AFTER:
            self.forget()


class VadBatcher:
    """Owns the model's thread. Use it as an async context manager."""

    def __init__(
        self,
        model: VoiceActivityModel,
        *,
        max_batch: int = 64,
        clock: Callable[[], float] = time.monotonic,
        hang_s: float | None = None,
        make: Callable[[], Awaitable[VoiceActivityModel]] | None = None,
    ) -> None:
        """A call that takes `hang_s` has failed; `make` gives another model, started."""
        self.trouble: str | None = None
        """What is wrong: until another model is loaded, or an operator looks; None: nothing."""
        self._hang_s = hang_s
        self._make = make
        self._failures = 0
        """Frames in a row that failed alone."""
        self._told_at = float("-inf")
        self._hung: Future[Scores] | None = None
        """The call that the thread hangs in, until it comes back."""
        self._model = model
        self._max_batch = max_batch
        self._clock = clock
        self._fresh = model.initial_state()
        self._wanted: list[_Wanted] = []  # at most one a session: each has one under way
        self._due = asyncio.Event()
        """What is wanted has gathered for long enough."""
        self._asked_at: deque[float] = deque(maxlen=MANY)
        self._called_at = float("-inf")
        self._closed = False

    def stream(self) -> VadStream:
        """A new session's ear."""
        return VadStream(self, self._fresh)

    async def __aenter__(self) -> VadBatcher:
        self._threads = _thread()
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._tasks.create_task(self._run())
        return self

    async def __aexit__(self, *_: object) -> None:
        """Judge what has gathered; after 5 s, leave a call that hangs behind."""
        self._closed = True
        self._due.set()
        until = asyncio.get_running_loop().time() + CLOSE_S
        try:
            async with asyncio.timeout_at(until):
                await self._tasks.__aexit__(None, None, None)
        except TimeoutError:
            log.warning("engine_call_hung_at_close", task="vad")
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                await self._threads.close()

    def _ask(self, stream: VadStream, frame: Float32, behind: bool) -> asyncio.Future[float]:
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[float] = loop.create_future()
        if self._closed:
            answer.set_exception(SttFailed("the voice activity detector is closed"))
            return answer
        self._wanted.append(_Wanted(stream, frame, answer))
        now = self._clock()
        self._asked_at.append(now)
        many = len(self._asked_at) == MANY and now - self._asked_at[0] < FRAME_S
        wait_s = self._called_at + GATHER_S - now
        if behind or not many or wait_s <= 0:
            self._due.set()
        elif len(self._wanted) == 1:
            loop.call_later(wait_s, self._due.set)
        return answer

    async def _run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(AGAIN_S if self.trouble else None):
                    await self._due.wait()
            except TimeoutError:
                await self._probe()  # nobody comes to a server that is not ready: it asks itself
                continue
            batch, self._wanted = self._wanted[: self._max_batch], self._wanted[self._max_batch :]
            if not self._wanted and not self._closed:
                self._due.clear()
            batch = [wanted for wanted in batch if not wanted.answer.done()]
            if batch:
                self._called_at = self._clock()
                try:
                    await self._score(batch)
                finally:
                    _let_go(batch)
            elif self._closed and not self._wanted:
                return
            batch = []  # an error in it would keep its session until the next frame of anybody's

    async def _score(self, batch: list[_Wanted]) -> None:
        # In less than half the time of np.stack, some 60 times a second.
        frames = np.concatenate([wanted.frame for wanted in batch]).reshape(len(batch), -1)
        states = np.concatenate([wanted.stream.state for wanted in batch]).reshape(len(batch), -1)
        try:
            probabilities, new_states = await self._judge(frames, states)
        except TimeoutError as error:
            self._fail(batch, error)
            await self._give_up("does not answer")
            return
        except Exception as error:
            if len(batch) > 1:  # somebody's frame may have done it, and is to fail alone
                for wanted in batch:
                    await self._score([wanted])
                return
            self._fail(batch, error)
            self._failures += 1
            if self._failures == FAILURES_IN_ROW:
                await self._probe()
            return
        answers = zip(batch, probabilities.tolist(), new_states, strict=True)
        for wanted, probability, state in answers:
            wanted.stream._move(probability, state.copy())  # a row would keep all of them
            if not wanted.answer.done():
                wanted.answer.set_result(probability)

    # --- faults ----------------------------------------------------------------------------------

    async def _judge(self, frames: Float32, states: Float32) -> Scores:
        """Raises `TimeoutError` while the model hangs, what it raises, and `ValueError` for another
        number of answers than it was asked for."""
        if self._hung is not None and not self._hung.done():
            raise TimeoutError("it hangs")
        self._hung = None
        call = self._threads.submit(self._model.score, frames, states)
        try:
            async with asyncio.timeout(self._hang_s):
                scores = await asyncio.wrap_future(call)
        except TimeoutError:
            self._hung = call
            raise
        if not len(scores[0]) == len(scores[1]) == len(frames):
            raise ValueError(f"{len(scores[0])} scores for {len(frames)} frames")
        self._failures, self.trouble = 0, None
        return scores

    async def _probe(self) -> None:
        """Whoever sends what the model fails on must not make it look broken: is silence judged?"""
        self._failures = 0
        silence = np.zeros((1, self._model.frame_samples), np.float32)
        try:
            await self._judge(silence, self._fresh[np.newaxis])
        except TimeoutError:
            await self._give_up("does not answer")
        except Exception:
            await self._give_up("fails")

    async def _give_up(self, how: str) -> None:
        """Put another model in its place: once, then an operator must look. One that stays may yet
        come back: it is asked again as soon as it could answer."""
        if self.trouble is not None:
            return
        make, self._make = self._make, None
        event = "engine_breaks" if how == "fails" else "engine_hangs"
        log.error(event, kind="vad", replaced=make is not None)
        if make is not None:
            self.trouble = f"voice activity detection {REPLACING}"
            try:
                async with asyncio.timeout(LOAD_S):
                    self._model = await make()
            except Exception as error:
                log.error("engine_instance_failed", kind="vad", error=repr(error))
            else:
                self._tasks.create_task(self._threads.close())  # waits until it comes back
                self._threads, self._hung = _thread(), None
                self.trouble = None
                log.info("engine_instance_replaced", kind="vad", instances=1)
                return
        self.trouble = f"voice activity detection {how}"

    def _fail(self, batch: list[_Wanted], error: Exception) -> None:
        now = self._clock()
        if now - self._told_at >= TELL_S:
            self._told_at = now
            log.error("vad_failed", error=repr(error))
        for wanted in batch:
            if not wanted.answer.done():
                wanted.answer.set_exception(SttFailed("voice activity detection failed"))


def _let_go(batch: list[_Wanted]) -> None:
    """Whoever has no answer yet gets none: closing left the call behind."""
    for wanted in batch:
        wanted.answer.cancel()


def _thread() -> EngineThreads:
    # Not niced, unlike all other engines: every session waits for these few microseconds.
    return EngineThreads("vad", 1, nice=0)
