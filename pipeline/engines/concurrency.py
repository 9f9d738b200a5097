"""How many replies a backend is asked for at once, learned from its time to first token. Pure.

Additive increase, multiplicative decrease, as TCP does it (Jacobson 1988): while first tokens come
in good time the limit grows, by one a reply at the start and then by one a round; a late one takes
a tenth of it, a missed one half.
"""

from __future__ import annotations

FIRST_LIMIT = 8
COMFORT_S = 0.4
"""A first token by then is never late: with less nobody would notice."""
TOLERANCE = 2.0
"""Late is what takes so many times as long as when the backend has little to do."""
LATE, MISSED = 0.9, 0.5
"""What is left of the limit after a late first token, and after one that never came."""
_LEARN = 0.1
"""The weight of a new sample in the baseline."""


class AdaptiveLimit:
    """The limit of one backend: between 1 and `most`. Times are seconds."""

    def __init__(self, most: int) -> None:
        self._most = float(max(1, most))
        self._limit = min(float(FIRST_LIMIT), self._most)
        self._starting = True
        self._cut_at = float("-inf")
        self.baseline_s: float | None = None
        """Time to first token while the backend was at most half full."""

    @property
    def limit(self) -> int:
        return int(self._limit)

    def first_token(self, began: float, now: float, crowd: int) -> None:
        """The first token came of a call that had `crowd` calls under way, itself counted."""
        ttft_s = now - began
        if crowd <= max(1, self.limit // 2):
            known = self.baseline_s
            self.baseline_s = ttft_s if known is None else known + _LEARN * (ttft_s - known)
        if ttft_s > max(COMFORT_S, TOLERANCE * (self.baseline_s or 0.0)):
            self._cut(LATE, began, now)
        elif 2 * crowd >= self.limit:  # a limit that nobody comes near has proved nothing
            self._limit = min(self._most, self._limit + (1 if self._starting else 1 / self._limit))

    def missed(self, began: float, now: float) -> None:
        """No first token came in time, or the backend said that it is overloaded."""
        self._cut(MISSED, began, now)

    def _cut(self, share: float, began: float, now: float) -> None:
        self._starting = False
        if began < self._cut_at:
            return  # asked before the last cut: the same crowd's news, told again
        self._cut_at = now
        self._limit = max(1.0, self._limit * share)
