"""The room for the files of requests at work, all of them together: bounded in bytes. It counts;
whoever writes keeps the files."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import AtCapacity

RETRY_S = 30.0


class Scratch:
    """What all requests have taken of it, and may take."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self.bytes = 0
        """Taken now."""

    @contextmanager
    def share(self) -> Iterator[Share]:
        """One request's: what it takes is given back with the scope."""
        share = Share(self)
        try:
            yield share
        finally:
            self.bytes -= share.bytes

    def _take(self, size: int) -> None:
        if self.bytes + size > self._most:
            raise AtCapacity("there is no room for more files now", retry_after_s=RETRY_S)
        self.bytes += size


class Share:
    """What one request has taken."""

    def __init__(self, scratch: Scratch) -> None:
        self._scratch = scratch
        self.bytes = 0

    def take(self, size: int) -> None:
        """So many bytes more are about to be written. Raises `AtCapacity` when there is no room."""
        self._scratch._take(size)
        self.bytes += size
