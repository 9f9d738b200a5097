"""Whether what is under way in a session gets anywhere. Pure: time is an argument."""

from __future__ import annotations

from collections.abc import Hashable


class Progress:
    """Watches a mark that changes with every step forward; None: nothing is under way."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._mark: Hashable | None = None
        self._since = 0.0

    def note(self, mark: Hashable | None, now: float) -> None:
        """The mark as it is now."""
        if mark != self._mark:
            self._mark, self._since = mark, now

    @property
    def due(self) -> float | None:
        """When it will be stuck if nothing changes before."""
        return None if self._mark is None else self._since + self._patience_s

    def stuck(self, now: float) -> bool:
        """Something is under way, and nothing has come of it for longer than one may wait."""
        return self.due is not None and now >= self.due
