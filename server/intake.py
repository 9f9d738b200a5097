"""What one client may send: how large, how fast, how many mistakes; and what follows."""

from __future__ import annotations

import time
from collections.abc import Callable

from pipeline.errors import BadAudio, BadMessage, ClientError, TooManyMessages, TooMuchAudio
from session import limits

WARN_EVERY_S = 1.0
REFUSED_EVERY_S = 0.25
TOO_MUCH_AUDIO = TooMuchAudio("audio came faster than real time for too long; it was dropped")


class Fatal(Exception):
    """The client went too far: the session ends with this error."""

    def __init__(self, error: ClientError) -> None:
        super().__init__(str(error))
        self.error = error


class Intake:
    """The bounds of one connection, and what is left of them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        window_s = limits.MESSAGES_WINDOW_S
        self._clock = clock
        self._mistakes = limits.Window(limits.MISTAKES, limits.MISTAKES_WINDOW_S)
        self._texts = limits.Window(round(limits.MESSAGES_PER_S * window_s), window_s)
        self._frames = limits.Flood(limits.FRAMES_PER_S, window_s)
        self._credit = limits.AudioCredit(clock())
        self._warned_at = self._refused_at = float("-inf")

    def check_frame(self, data: bytes) -> None:
        """A binary frame came. Raises `Fatal` for one too large, or too many."""
        if self._frames.hit(self._clock()):
            raise Fatal(TooManyMessages(f"more than {limits.FRAMES_PER_S} audio frames a second"))
        if len(data) > limits.FRAME_BYTES:
            raise Fatal(BadAudio(f"an audio frame has at most {limits.FRAME_BYTES} bytes"))

    def take_audio(self, seconds: float, credit_s: float) -> bool:
        """Spend credit; False, and the audio is to be dropped, when there is not enough.

        Raises `Fatal` when that goes on.
        """
        if self._credit.take(seconds, credit_s, self._clock()):
            return True
        if self._credit.dropped_s > limits.AUDIO_PATIENCE_S:
            raise Fatal(TOO_MUCH_AUDIO)
        return False

    def warns_of_drops(self) -> bool:
        """Whether to tell of dropped audio: once a second is enough."""
        now = self._clock()
        if now - self._warned_at < WARN_EVERY_S:
            return False
        self._warned_at = now
        return True

    def tells_refused_audio(self) -> bool:
        """Whether to tell of a frame that was not taken: a flood of them is one mistake."""
        now = self._clock()
        if now - self._refused_at < REFUSED_EVERY_S:
            return False
        self._refused_at = now
        return True

    def check_text(self) -> None:
        """A text frame came. Raises `Fatal` in a flood."""
        if self._texts.hit(self._clock()):
            raise Fatal(TooManyMessages(f"more than {limits.MESSAGES_PER_S} messages a second"))

    def note_mistake(self) -> None:
        """A message was not of the protocol. Raises `Fatal` at the third within 10 s."""
        if self._mistakes.hit(self._clock()):
            raise Fatal(BadMessage("three messages that are not of the protocol in 10 s"))
