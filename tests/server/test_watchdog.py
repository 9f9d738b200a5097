"""A blocked event loop is found, and every thread's stack is written down, once a blockage."""

from __future__ import annotations

import asyncio
import threading
import time

import structlog
from structlog.testing import capture_logs

from server.watchdog import BLOCKED_S, Pulse, Watchdog
from tests.support import live_server


def test_a_blockage_is_told_once_and_its_end_once() -> None:
    pulse = Pulse(1.0)
    told = [pulse.judge(beat_at=10.0, now=now) for now in (10.2, 10.9, 11.1, 12.0, 60.0)]
    assert told == [None, None, "blocked", None, None]
    assert [pulse.judge(beat_at=60.1, now=now) for now in (60.2, 60.5)] == ["runs again", None]
    assert pulse.judge(beat_at=60.1, now=61.2) == "blocked"


def test_a_loop_that_beats_is_left_alone() -> None:
    pulse = Pulse(1.0)
    assert not any(pulse.judge(beat_at=tenth / 10, now=tenth / 10 + 0.5) for tenth in range(100))


def dig_in(told: threading.Event) -> None:
    """Stand still until the watchdog has told of it."""
    assert told.wait(10)


def test_the_stack_of_what_blocks_is_in_the_log() -> None:
    told, over = threading.Event(), threading.Event()

    def notice(_: object, __: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        (told if event["event"] == "event_loop_blocked" else over).set()
        return event

    with capture_logs(processors=[notice]) as logs, Watchdog(0.05) as watchdog:
        dig_in(told)
        while not over.wait(0.01):
            watchdog.beat()
    blocked = [entry for entry in logs if entry["event"] == "event_loop_blocked"]
    assert len(blocked) == 1
    assert "in dig_in" in blocked[0]["stacks"].split("--- ")[1]
    assert "watchdog" in blocked[0]["stacks"]
    assert [entry["event"] for entry in logs][-1] == "event_loop_runs_again"


def test_its_thread_ends_with_it() -> None:
    before = threading.active_count()
    with Watchdog():
        assert threading.active_count() == before + 1
    assert threading.active_count() == before


def test_a_loop_that_is_not_blocked_brings_no_log() -> None:
    with capture_logs() as logs, Watchdog(5.0):
        time.sleep(0)
    assert logs == []


async def test_a_servers_loop_that_stands_still_is_told_of() -> None:
    async with live_server():
        with capture_logs() as logged:
            time.sleep(BLOCKED_S + 0.5)  # noqa: ASYNC251 - that is what it is there for
            await asyncio.sleep(0)
        (told,) = [entry for entry in logged if entry["event"] == "event_loop_blocked"]
        assert "test_a_servers_loop_that_stands_still" in str(told["stacks"])
