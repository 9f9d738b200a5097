"""What fetching tells whoever watches, and how a source says that it cannot serve."""

from __future__ import annotations

from typing import Protocol


class Progress(Protocol):
    """Told of one transfer at a time: `begin`, any number of `advance`, `end`."""

    def begin(self, label: str) -> None:
        """A transfer starts; its size is not known yet."""
        ...

    def advance(self, done_bytes: int, total_bytes: int) -> None:
        """So much of it is here."""
        ...

    def end(self) -> None:
        """It is over, well or not."""
        ...

    def say(self, line: str) -> None:
        """Something worth a line between transfers."""
        ...


class SourceFailed(Exception):
    """A source cannot serve a file; caught here, where the next source is tried.

    `whole_kind`: no other source of that kind can serve either (no network, no npm).
    """

    def __init__(self, reason: str, *, whole_kind: bool = False) -> None:
        super().__init__(reason)
        self.whole_kind = whole_kind
