"""Who shares a batch: clauses (or windows of speech) that wait gather for a moment, the most urgent
one goes first, and takes with it those of about its length."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from pipeline.engine_faults import forget_values
from pipeline.engines.errands import CURRENT
from pipeline.engines.ports import Stop

C = TypeVar("C")
R = TypeVar("R")

WINDOW_S = 0.008
"""How long a lone clause waits for others: users whose turns end at once come within it, and nobody
hears it."""
BUCKETS = (16, 32, 64, 128, 256, 512)
"""Lengths in tokens. A batch takes as long as its longest clause, so none is more than twice as
long as another."""


@dataclass(eq=False, slots=True)
class Waiting(Generic[C, R]):
    """A clause, how long it is, when it is due (monotonic seconds), and where its result goes."""

    clause: C
    length: int
    due: float
    result: asyncio.Future[R | None]

    def hurry(self) -> None:
        """It was speculation, and has come true."""
        self.due = min(self.due, time.monotonic())


def bucket_of(length: int) -> int:
    """Which of the buckets a length belongs to."""
    return sum(length > most for most in BUCKETS)


def choose(
    waiting: Sequence[Waiting[C, R]], most: int, bucket: Callable[[int], int] = bucket_of
) -> list[Waiting[C, R]]:
    """The next batch: the one that is due first, and those of its bucket that are due next. Pure.

    Equal ones in order of arrival.
    """
    if not waiting:
        return []
    urgent = sorted(waiting, key=lambda one: one.due)
    shared = bucket(urgent[0].length)
    return [one for one in urgent if bucket(one.length) == shared][:most]


def each_alone(render: Callable[[C], R], clauses: Sequence[C]) -> list[R | Exception]:
    """One after the other, after all at once could not be done: what each came to, so that only
    what cannot be done by itself fails. Blocks."""
    done: list[R | Exception] = []
    for clause in clauses:
        try:
            done.append(render(clause))
        except Exception as error:
            forget_values(error)  # the next one needs the memory
            done.append(error)
    return done


class ClauseBatcher(Generic[C, R]):
    """Runs `render` on batches, one after the other. Whoever leaves is taken out of the queue."""

    def __init__(
        self,
        render: Callable[[list[C]], Awaitable[Sequence[R | Exception]]],
        most: int,
        window_s: float = WINDOW_S,
        bucket: Callable[[int], int] = bucket_of,
    ) -> None:
        """`render` gives what each clause of a batch came to, or raises for all of them. `most` may
        be lowered before it runs. `bucket`: what lengths in a batch must have in common."""
        self._bucket = bucket
        self._render = render
        self.most = most
        self._window_s = window_s
        self._waiting: list[Waiting[C, R]] = []
        self._came = asyncio.Event()

    async def submit(
        self, clause: C, length: int, due: float, stop: Stop | None = None
    ) -> R | None:
        """The clause's result; None for one that is stopped before its batch begins. Raises what
        `render` raises for it."""
        loop = asyncio.get_running_loop()
        result: asyncio.Future[R | None] = loop.create_future()
        one: Waiting[C, R] = Waiting(clause, length, due, result)

        def leave() -> None:
            if one in self._waiting and not result.done():
                self._waiting.remove(one)
                result.set_result(None)

        def leave_soon() -> None:  # from whatever thread
            loop.call_soon_threadsafe(leave)

        stopped = (stop or Stop()).calling(leave_soon)
        self._waiting.append(one)
        self._came.set()
        try:
            with stopped, CURRENT.get().promoting(one.hurry):
                return await result
        finally:
            if one in self._waiting:
                self._waiting.remove(one)

    async def run(self) -> None:
        """Batch after batch, until cancelled; those that still wait are cancelled with it."""
        try:
            while True:
                await self._came.wait()
                if len(self._waiting) < self.most:
                    await asyncio.sleep(self._window_s)
                batch = choose(self._waiting, self.most, self._bucket)
                self._waiting = [one for one in self._waiting if one not in batch]
                if not self._waiting:
                    self._came.clear()
                if batch:
                    await self._serve(batch)
        finally:
            for one in self._waiting:
                one.result.cancel()

    async def _serve(self, batch: list[Waiting[C, R]]) -> None:
        try:
            results = await self._render([one.clause for one in batch])
            rendered = list(zip(batch, results, strict=True))
        except Exception as error:
            for one in batch:
                if not one.result.done():
                    one.result.set_exception(error)
            return
        except asyncio.CancelledError:
            for one in batch:
                one.result.cancel()
            raise
        for one, result in rendered:
            if one.result.done():
                continue
            if isinstance(result, Exception):
                one.result.set_exception(result)
            else:
                one.result.set_result(result)
