"""Worker threads for engines: named, counted, and polite to the event loop's thread."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

NICE = 10
"""Engine threads yield to the event loop: at nice 10 its lag p99 stays under 2 ms with all engines
busy (docs/decisions/0003-threads.md)."""


class EngineThreads:
    """A small pool of threads for one engine's blocking calls.

    The native libraries under it release the GIL, so these threads do not hold up the loop.
    """

    def __init__(self, name: str, count: int, *, nice: int = NICE) -> None:
        self._nice = nice
        self._executor = ThreadPoolExecutor(
            max_workers=count, thread_name_prefix=name, initializer=self._be_polite
        )

    def _be_polite(self) -> None:
        # On Linux a thread has a nice value of its own, addressed by its native id. Threads that
        # a native library starts from here (OpenMP, onnxruntime) inherit it.
        if hasattr(os, "setpriority"):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._nice)

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Run a blocking call on one of the threads and return what it returns."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, lambda: function(*args, **kwargs))

    async def close(self) -> None:
        """Wait for running calls to end, then end the threads."""
        await asyncio.to_thread(self._executor.shutdown, wait=True, cancel_futures=True)
