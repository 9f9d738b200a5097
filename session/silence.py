"""How long nobody has answered a reply. Pure: time is an argument."""

from __future__ import annotations

from pipeline.events import ReplyDone, ReplyStarted, SpeechStarted, UserTranscript


class Silence:
    """Begins when a whole reply has been heard, and ends when anybody says anything."""

    def __init__(self) -> None:
        self._since = 0.0
        self.due: float | None = None
        """When it has been too long; None: nobody waits."""

    def note(self, event: object, now: float, patience_s: float) -> None:
        """Follow an event that the session sends; with a patience of 0 nobody waits."""
        match event:
            case ReplyStarted(aside=True) | ReplyDone(aside=True):
                pass  # nobody is asked anything
            case ReplyDone(status="completed", unheard_ms=unheard_ms) if patience_s:
                self._since = now + unheard_ms / 1000
                self.due = self._since + patience_s
            case ReplyDone() | ReplyStarted() | SpeechStarted() | UserTranscript():
                self.due = None
            case _:
                pass

    def over(self, now: float) -> float | None:
        """Since when it has been silent, once, when that is too long; else None."""
        if self.due is None or now < self.due:
            return None
        self.due = None
        return self._since
