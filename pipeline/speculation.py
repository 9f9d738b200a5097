"""A reply that is begun before its turn is surely over: which one, and how that went. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Speculation:
    """The one speculation that may be open, and the count of all."""

    begun: int = 0
    wasted: int = 0
    saved_ms: int = 0
    """Head start of the replies that left."""
    words: str | None = None
    """What the open one is an answer to; None: there is none."""
    kept: bool = False
    """Its turn is committed. It may yet be taken back."""
    _since: float = 0.0
    _head_start_ms: int = 0

    @property
    def open(self) -> bool:
        """Whether its turn may still go on."""
        return self.words is not None and not self.kept

    def begin(self, words: str, now: float) -> None:
        """A reply to these words is begun, held until the turn is committed."""
        self.begun += 1
        self.words, self._since = words, now

    def keep(self, now: float) -> None:
        """The turn is committed with just these words."""
        self.kept = True
        self._head_start_ms = round((now - self._since) * 1000)

    def waste(self) -> None:
        """The user went on, or meant other words: the open one, if any, was for nothing."""
        self.wasted += self.words is not None
        self._close()

    def settle(self) -> None:
        """The turn is over; nothing is open any more."""
        self.saved_ms += self._head_start_ms
        self._close()

    def _close(self) -> None:
        self.words, self.kept, self._head_start_ms = None, False, 0
