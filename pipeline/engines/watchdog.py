"""Ends a read that takes too long, or that nobody waits for any more, without cancelling a task.

Cancelling a task that reads an httpx stream leaks its connection for good. So the socket under the
response is shut down instead: the read ends at once, by an error of its own, in its own task.
"""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import suppress

import httpx


class Watchdog:
    """Watches one response whose head has come; use it in a `with`, in the task that reads it."""

    def __init__(self, response: httpx.Response) -> None:
        self.late = False
        """What it allowed ran out."""
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        stream = response.extensions.get("network_stream")
        under = stream.get_extra_info("socket") if stream is not None else None
        # A copy of our own: the connection's number may be another's by the time we need it.
        self._socket = None if under is None else socket.socket(fileno=os.dup(under.fileno()))

    def __enter__(self) -> Watchdog:
        return self

    def __exit__(self, *_: object) -> None:
        self.rest()
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def allow(self, seconds: float) -> None:
        """From now on what is read may take so long; the former allowance is void."""
        self.rest()
        self._timer = self._loop.call_later(max(0.0, seconds), self._bark)

    def rest(self) -> None:
        """Nobody reads just now: that takes as long as it takes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def cut(self) -> None:
        """End the read; from any thread."""
        with suppress(RuntimeError):  # the loop is closed, and with it the connection
            self._loop.call_soon_threadsafe(self._shut_down)

    def _bark(self) -> None:
        self.late = True
        self._shut_down()

    def _shut_down(self) -> None:
        if self._socket is not None:
            with suppress(OSError):  # it has closed already
                self._socket.shutdown(socket.SHUT_RDWR)
