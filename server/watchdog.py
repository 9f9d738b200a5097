"""A thread that watches the event loop, and writes down what every thread does when it stands
still: whatever blocks it is on top of one of these stacks.
"""

from __future__ import annotations

import sys
import threading
import time
import traceback
from typing import Literal

import structlog

log = structlog.get_logger(__name__)

BLOCKED_S = 1.0
"""Playback runs about a second ahead: a loop that stands longer is heard."""
STACK_FRAMES = 30


class Pulse:
    """Tells a blockage from its heartbeats, once, and its end. Pure."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._blocked = False

    def judge(self, beat_at: float, now: float) -> Literal["blocked", "runs again"] | None:
        """What is new, when the last beat was at `beat_at`."""
        blocked = now - beat_at >= self._limit_s
        if blocked is self._blocked:
            return None
        self._blocked = blocked
        return "blocked" if blocked else "runs again"


class Watchdog:
    """Use it as a context manager in the loop's thread, and let the loop call `beat`.

    It needs the interpreter to look: a blockage that holds the GIL is seen when it lets go.
    """

    def __init__(self, limit_s: float = BLOCKED_S) -> None:
        self._limit_s = limit_s
        self._pulse = Pulse(limit_s)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)
        self._loop_thread = 0
        self._beat_at = 0.0

    def beat(self) -> None:
        """The loop runs."""
        self._beat_at = time.monotonic()

    def __enter__(self) -> Watchdog:
        self._loop_thread = threading.get_ident()
        self.beat()
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        blocked_since = 0.0
        while not self._stop.wait(self._limit_s / 4):
            beat_at, now = self._beat_at, time.monotonic()
            match self._pulse.judge(beat_at, now):
                case "blocked":
                    blocked_since = beat_at
                    log.error(
                        "event_loop_blocked",
                        seconds=round(now - beat_at, 1),
                        stacks=stacks(self._loop_thread),
                    )
                case "runs again":
                    log.warning("event_loop_runs_again", seconds=round(now - blocked_since, 1))
                case None:
                    pass


def stacks(first: int) -> str:
    """What every thread is doing: lines of code, no values. The thread `first` comes first."""
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    frames = sys._current_frames()
    parts = []
    for ident in sorted(frames, key=lambda ident: ident != first):
        lines = traceback.format_stack(frames[ident], STACK_FRAMES)
        parts.append(f"--- {names.get(ident, ident)}\n{''.join(lines)}")
    return "".join(parts)
