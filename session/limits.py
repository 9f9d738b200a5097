"""What one session may spend. Pure: time is an argument."""

from __future__ import annotations

from collections import deque

AUDIO_CREDIT_S = 10.0
"""Audio that may run ahead of real time (a burst after a stall, a clip sent at once)."""
MANUAL_CREDIT_S = 60.0
"""The same in manual turns, where a client may send a whole recording before its commit."""
AUDIO_PATIENCE_S = 10.0
"""Audio that may be dropped for want of credit before the session is closed."""
MESSAGES_PER_S, MESSAGES_WINDOW_S = 100, 2.0
FRAMES_PER_S = 5_000
"""Audio frames: a minute of 20 ms frames may come at once, before a manual commit."""
MISTAKES, MISTAKES_WINDOW_S = 3, 10.0
TEXT_BYTES = 100_000
"""The largest text frame, and with it the longest typed turn or prompt."""
MOST_TOOLS = 128
TOOLS_BYTES = 65_536
"""All tools of a session, or of one response: they are in every prompt."""
FRAME_BYTES = 65_536
"""The largest audio frame."""


class AudioCredit:
    """A credit of audio seconds, refilled at real time."""

    def __init__(self, now: float) -> None:
        self._spent = 0.0
        self._as_of = now
        self.dropped_s = 0.0
        """Audio dropped of late; forgiven at the pace of real time."""

    def take(self, seconds: float, credit_s: float, now: float) -> bool:
        """Spend credit; False, and nothing spent, when there is not enough."""
        passed = now - self._as_of
        # What a more generous mode let pass is no debt in this one.
        self._spent = min(max(0.0, self._spent - passed), credit_s)
        self.dropped_s = max(0.0, self.dropped_s - passed)
        self._as_of = now
        if self._spent + seconds > credit_s:
            self.dropped_s += seconds
            return False
        self._spent += seconds
        return True


class Window:
    """How often something happened of late."""

    def __init__(self, limit: int, window_s: float) -> None:
        self._limit = limit
        self._window_s = window_s
        self._times: deque[float] | None = None  # most connections never need one

    def hit(self, now: float) -> bool:
        """Note one; True when it is the `limit`th within the window."""
        if self._times is None:
            self._times = deque(maxlen=self._limit)
        self._times.append(now)
        return len(self._times) == self._limit and now - self._times[0] < self._window_s
