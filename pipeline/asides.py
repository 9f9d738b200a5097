"""Replies beside the conversation: asked for, told to the client, and no part of it. Pure.

They have no turn, leave no trace in the history, and stand in nobody's way: no voice ends them, and
the reply that is being heard goes on. `MOST_ASIDES` are made at once; the others wait.
"""

from __future__ import annotations

from collections.abc import Iterator

from .latency import Marks
from .playback import Playback
from .replies import News, Replies
from .reply import Numbers
from .signals import Ask, Effect
from .turn_config import TurnConfig

MOST_ASIDES = 2
"""At once. They share their session's claim to the engines with the reply that somebody waits
for."""
MOST_WAITING = 16
"""Whoever asks for more is refused before it comes here."""


class Asides:
    """One conversation's."""

    def __init__(self, numbers: Numbers) -> None:
        self._slots = [Replies(numbers) for _ in range(MOST_ASIDES)]
        self._waiting: list[Ask] = []

    @property
    def waiting(self) -> int:
        """How many were asked for and are not begun."""
        return len(self._waiting)

    @property
    def under_way(self) -> bool:
        """One is being made, or waits."""
        return bool(self._waiting) or any(slot.started for slot in self._slots)

    def ask(self, ask: Ask) -> None:
        """One is wanted."""
        if len(self._waiting) < MOST_WAITING:
            self._waiting.append(ask)

    def begin(self, config: TurnConfig, now: float) -> Iterator[Effect]:
        """Begin as many as may be made at once."""
        for slot in self._slots:
            if self._waiting and slot.current is None:
                ask = self._waiting.pop(0)
                # Nobody says how far it is played: that is told of what is heard.
                playback = Playback(config.rate_hz, config.send_ahead_s, followed=False)
                yield from slot.draft(
                    0, "", Marks.unspoken(now), playback,
                    silent=ask.silent, ask=ask.ask, aside=True,
                )  # fmt: skip
                yield from slot.start()

    def note(self, news: News, now: float) -> Iterator[Effect]:
        """News of a draft: one of these, or not."""
        for slot in self._slots:
            yield from slot.note(news, now)

    def play(self, now: float) -> Iterator[Effect]:
        """Send what is due, and end what is whole."""
        for slot in self._slots:
            if slot.current is not None:  # seldom, and this is asked at every frame
                yield from slot.play(now)

    def has(self, reply: int) -> bool:
        """It is one of these, and has not ended."""
        return any(slot.started and slot.started.number == reply for slot in self._slots)

    def cancel(self, now: float, reply: int = 0) -> Iterator[Effect]:
        """The client stops one; 0: nobody wants any of them, nor what waits."""
        if not reply:
            self._waiting.clear()
        for slot in self._slots:
            if slot.started is not None and reply in (0, slot.started.number):
                yield from slot.cancel(now)

    def next_wake(self, now: float) -> float | None:
        """When `play` is due if nothing happens before."""
        wakes = [slot.next_wake(now) for slot in self._slots if slot.current is not None]
        return min((wake for wake in wakes if wake is not None), default=None) if wakes else None
