"""What one session may spend. Pure: time is an argument."""

from __future__ import annotations

from typing import Any

AUDIO_CREDIT_S = 10.0
"""Audio that may run ahead of real time (a burst after a stall, a clip sent at once)."""
MANUAL_CREDIT_S = 60.0
"""The same in manual turns, where a client may send a whole recording before its commit."""
AUDIO_PATIENCE_S = 10.0
"""Audio that may be dropped for want of credit before the session is closed."""
AUDIO_FORGIVEN_S = 10.0
"""After so long without a drop, all that was dropped is forgiven. A microphone whose clock is fast
by a thousandth loses a frame of 20 ms every 20 s, for ever; one that sends too fast loses some
every second, whatever the credit gives back in between."""
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
MOST_DEPTH = 100
"""Objects and lists within one another, in what is kept, shown or sent on of a message."""
_WHOLES = (dict, list)


def is_too_deep(value: object) -> bool:
    """Whether JSON is that was read. It is looked at layer by layer: what goes down into it may end
    by `RecursionError` somewhere before 1,000, and where depends on who called it."""
    layer: list[Any] = [[value]]
    depth = 0
    while layer and depth <= MOST_DEPTH:
        inner = (whole.values() if isinstance(whole, dict) else whole for whole in layer)
        layer = [part for parts in inner for part in parts if isinstance(part, _WHOLES)]
        depth += 1
    return bool(layer)


def utf8_bytes(text: str) -> int:
    """How long a text is as it travels, half characters too."""
    return len(text.encode("utf-8", "surrogatepass"))


def is_too_large(text: str) -> bool:
    """Whether a text frame is. One of too many characters is not encoded to find out."""
    return len(text) > TEXT_BYTES or utf8_bytes(text) > TEXT_BYTES


class AudioCredit:
    """A credit of audio seconds, refilled at real time."""

    def __init__(self, now: float) -> None:
        self._spent = 0.0
        self._as_of = now
        self._dropped_at = now
        self.dropped_s = 0.0
        """Audio dropped since it was last forgiven."""

    def take(self, seconds: float, credit_s: float, now: float) -> bool:
        """Spend credit; False, and nothing spent, when there is not enough."""
        passed = now - self._as_of
        # What a more generous mode let pass is no debt in this one.
        self._spent = min(max(0.0, self._spent - passed), credit_s)
        self._as_of = now
        if now - self._dropped_at >= AUDIO_FORGIVEN_S:
            self.dropped_s = 0.0
        if self._spent + seconds > credit_s:
            self.dropped_s += seconds
            self._dropped_at = now
            return False
        self._spent += seconds
        return True


class Window:
    """How often something happened of late: exact, and so only for small limits."""

    def __init__(self, limit: int, window_s: float) -> None:
        self._limit = limit
        self._window_s = window_s
        self._times: list[float] = []  # most connections never need one: no deque of 760 bytes

    def hit(self, now: float) -> bool:
        """Note one; True when it is the `limit`th within the window."""
        self._times.append(now)
        del self._times[: -self._limit]
        return len(self._times) == self._limit and now - self._times[0] < self._window_s


class Flood:
    """Whether something comes too often for too long: two counts, however large the limit is."""

    def __init__(self, per_s: float, window_s: float) -> None:
        self._limit = per_s * window_s
        self._half_s = window_s / 2
        self._half = 0
        """The number of the half window that is counted now."""
        self._before = self._count = 0

    def hit(self, now: float) -> bool:
        """Note one; True when in this half window and the one before as many came as in a whole
        one may: always in one of that rate, never at less than it."""
        half = int(now // self._half_s)
        if half != self._half:
            self._before = self._count if half == self._half + 1 else 0
            self._half, self._count = half, 0
        self._count += 1
        return self._before + self._count >= self._limit
