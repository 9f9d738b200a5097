"""An engine's threads: they answer, they end, and one that hangs does not hold up the rest."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest

from pipeline.engines.threads import EngineThreads


async def test_a_call_runs_on_a_thread_of_that_name_and_its_answer_or_error_comes_back() -> None:
    threads = EngineThreads("singer", 1)
    assert (await threads.run(lambda: threading.current_thread().name)).startswith("singer")
    with pytest.raises(ZeroDivisionError):
        await threads.run(lambda: 1 // 0)
    assert await threads.run(max, 1, 2) == 2
    await threads.close()
    with pytest.raises(RuntimeError):
        await threads.run(max, 1, 2)


async def test_as_many_calls_at_once_as_there_are_threads() -> None:
    threads = EngineThreads("choir", 3)
    together = threading.Barrier(3, timeout=20)
    assert sorted(await asyncio.gather(*(threads.run(together.wait) for _ in range(3)))) == [
        0,
        1,
        2,
    ]
    await threads.close()


async def test_closing_waits_for_the_running_call_and_cancels_those_that_have_not_begun() -> None:
    threads = EngineThreads("singer", 1)
    entered, go, done = threading.Event(), threading.Event(), []

    def sing(name: str) -> None:
        entered.set()
        go.wait(20)
        done.append(name)

    first = asyncio.ensure_future(threads.run(sing, "first"))
    second = asyncio.ensure_future(threads.run(sing, "second"))
    while not entered.is_set():
        await asyncio.sleep(0.001)
    closing = asyncio.ensure_future(threads.close())
    await asyncio.sleep(0)
    go.set()
    await closing
    assert done == ["first"]
    await first
    with pytest.raises(asyncio.CancelledError):
        await second


def test_a_call_that_hangs_does_not_keep_the_process_from_ending() -> None:
    program = """
import asyncio, threading
from pipeline.engines.threads import EngineThreads

async def main():
    threads = EngineThreads("stuck", 1)
    entered = threading.Event()
    def hang():
        entered.set()
        threading.Event().wait()
    call = asyncio.ensure_future(threads.run(hang))
    while not entered.is_set():
        await asyncio.sleep(0.001)
    try:
        async with asyncio.timeout(0.05):
            await threads.close()
    except TimeoutError:
        print("left behind")
    call.cancel()

asyncio.run(main())
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "left behind\n"), done.stderr
