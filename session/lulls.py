"""When nothing happens for too long: in the session, after a reply, or in one. Pure: time is an
argument."""

from __future__ import annotations

from collections.abc import Hashable

from .choices import Choices
from .health import Progress
from .records import SessionConfig
from .silence import Silence


class Lulls:
    """Three clocks: an idle session, a listener who waits for an answer, a reply that is stuck."""

    def __init__(self, choices: Choices, config: SessionConfig, now: float) -> None:
        self._choices = choices
        self._idle_s = config.idle_s
        self.stuck_s = config.stuck_s
        self._active_at = now
        self._silence = Silence()
        self._progress = Progress(config.stuck_s)

    def told(self, event: object, now: float) -> None:
        """Follow an event that the session sends."""
        self._silence.note(event, now, self._choices.patience_s)

    def stepped(self, *, active: bool, progress: Hashable | None, now: float) -> None:
        """The turn machine took a step. `active`: somebody speaks, or is answered; `progress`: as
        `Progress.note` takes it."""
        if active:
            self._active_at = now
        self._progress.note(progress, now)

    @property
    def due(self) -> float:
        """When the first of them will be over."""
        clocks = (self._progress.due, self._silence.due, self._active_at + self._idle_s)
        return min(at for at in clocks if at is not None)

    def unanswered_since(self, now: float) -> float | None:
        """Since when nobody has answered a reply, once, when that is too long; else None."""
        return self._silence.over(now)

    def idle(self, now: float) -> bool:
        """Nothing was said, typed or played for the idle time."""
        return now - self._active_at >= self._idle_s

    def stuck(self, now: float) -> bool:
        """What is under way gets nowhere."""
        return self._progress.stuck(now)
