"""How long nobody has answered a reply. Pure: time is an argument."""

from __future__ import annotations

from pipeline.events import ReplyDone, ReplyStarted, SpeechStarted, UserTranscript


class Silence:
    """Begins when a whole reply has been heard, and ends when anybody says anything. What turns out
    to be noise has only put it off: it begins anew."""

    def __init__(self) -> None:
        self._since = 0.0
        self._put_off = False
        """A voice began in it, of whom it is not known yet whether it says anything."""
        self.due: float | None = None
        """When it has been too long; None: nobody waits."""

    def note(self, event: object, now: float, patience_s: float) -> None:
        """Follow an event that the session sends; with a patience of 0 nobody waits."""
        match event:
            case ReplyStarted(aside=True) | ReplyDone(aside=True):
                pass  # nobody is asked anything
            case ReplyDone(status="completed", unheard_ms=unheard_ms) if patience_s:
                self._begin(now + unheard_ms / 1000, patience_s)
            case UserTranscript(discarded=True, ended=False) if self._waits and patience_s:
                self._begin(now, patience_s)
            case SpeechStarted() | UserTranscript(final=False):
                self._put_off, self.due = self._waits, None
            case ReplyDone() | ReplyStarted() | UserTranscript():
                self._put_off, self.due = False, None
            case _:
                pass

    @property
    def _waits(self) -> bool:
        return self._put_off or self.due is not None

    def _begin(self, since: float, patience_s: float) -> None:
        self._put_off, self._since, self.due = False, since, since + patience_s

    def over(self, now: float) -> float | None:
        """Since when it has been silent, once, when that is too long; else None."""
        if self.due is None or now < self.due:
            return None
        self.due = None
        return self._since
