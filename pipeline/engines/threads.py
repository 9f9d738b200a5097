"""Worker threads for engines: named, counted, and polite to the event loop's thread."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import os
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

NICE = 10
"""Engine threads yield to the event loop: at nice 10 its lag p99 stays under 2 ms with all engines
busy (docs/decisions/0003-threads.md)."""


class EngineThreads:
    """A small pool of threads for one engine's blocking calls.

    The native libraries under it release the GIL, so these threads do not hold up the loop. They
    are daemons, which the standard library's executor cannot make: one that hangs in a native
    library cannot be killed, and must not keep the process from ending.
    """

    def __init__(self, name: str, count: int, *, nice: int = NICE) -> None:
        self._name = name
        self._count = count
        self._nice = nice
        self._jobs: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        self._ends: list[Future[None]] = []
        """One a thread, done when it has ended. Made at the first call."""
        self._closed = False

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a blocking call on one of the threads and return what it returns."""
        return await asyncio.wrap_future(self.submit(function, *args, **kwargs))

    def submit(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> Future[R]:
        """Have a blocking call run on one of the threads, and go on meanwhile.

        It runs in a copy of the caller's context: what it logs carries the ids that are bound here.
        """
        if self._closed:
            raise RuntimeError(f"the threads of {self._name} have ended")
        answer: Future[R] = Future()
        while len(self._ends) < self._count:
            self._start_thread()
        here = contextvars.copy_context()
        self._jobs.put((answer, functools.partial(here.run, function, *args, **kwargs)))
        return answer

    async def close(self) -> None:
        """Wait for running calls to end, then end the threads; what has not begun is cancelled.

        Waits as long as a call hangs; cancelled, it leaves that thread behind.
        """
        self.end()
        for end in self._ends:
            await asyncio.wrap_future(end)

    def end(self) -> None:
        """As `close`, and wait for nothing: each thread ends when its call does."""
        self._closed = True
        with suppress(Empty):
            while True:
                if (job := self._jobs.get_nowait()) is not None:
                    job[0].cancel()
        for _ in self._ends:
            self._jobs.put(None)

    def _start_thread(self) -> None:
        end: Future[None] = Future()
        end.set_running_or_notify_cancel()  # from here on it cannot be cancelled
        self._ends.append(end)
        name = f"{self._name}_{len(self._ends)}"
        threading.Thread(target=self._work, args=(end,), name=name, daemon=True).start()

    def _work(self, end: Future[None]) -> None:
        self._be_polite()
        while (job := self._jobs.get()) is not None:
            answer, call = job
            if answer.set_running_or_notify_cancel():
                try:
                    answer.set_result(call())
                except BaseException as error:
                    answer.set_exception(error)
            del job, answer, call  # a thread that waits holds on to no audio
        end.set_result(None)

    def _be_polite(self) -> None:
        # On Linux a thread has a nice value of its own, addressed by its native id. Threads that
        # a native library starts from here (OpenMP, onnxruntime) inherit it.
        if hasattr(os, "setpriority"):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._nice)
