"""A loudspeaker on paper: when each sample of a reply is heard by a client in real time. Pure.

Playback starts with the first frame's arrival (no jitter buffer) and runs at real time. A frame
that comes after the one before has been played out is a stall: silence in the middle of speech.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

AUDIBLE_DBFS = -50.0
"""A sample above this is heard. Kokoro's breath before a word lies below -60 dBFS."""

Int16 = NDArray[np.int16]


class Playback:
    """One reply's audio on the clock of its listener; times are seconds of that clock."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._pieces: list[Int16] = []
        self._samples = 0
        self._paused_at: float | None = None
        self.started_at: float | None = None
        self.first_audible_at: float | None = None
        self.ends_at = 0.0
        """When what has come so far is played out."""
        self.stalls_s: list[float] = []

    @property
    def audio(self) -> Int16:
        return np.concatenate(self._pieces) if self._pieces else np.zeros(0, np.int16)

    def add(self, piece: Int16, now: float) -> None:
        """The next samples of the reply arrive."""
        if self.started_at is None:
            self.started_at = self.ends_at = now
        elif now > self.ends_at and self._paused_at is None:
            self.stalls_s.append(now - self.ends_at)
            self.ends_at = now
        loud = np.flatnonzero(np.abs(piece.astype(np.int32)) > 32_768 * 10 ** (AUDIBLE_DBFS / 20))
        if self.first_audible_at is None and len(loud):
            self.first_audible_at = self.ends_at + loud[0] / self._rate_hz
        self._pieces.append(piece)
        self._samples += len(piece)
        self.ends_at += len(piece) / self._rate_hz

    def pause(self, now: float) -> None:
        """Someone may be cutting in: hold what is buffered."""
        if self._paused_at is None:
            self._paused_at = now

    def resume(self, now: float) -> None:
        """It was nothing: play on."""
        if self._paused_at is not None:
            self.ends_at += now - self._paused_at
            self._paused_at = None

    def flush(self, now: float) -> None:
        """Drop what is buffered: playback ends here, and `played_ms` stands from now on."""
        self._samples = self.played_ms(now) * self._rate_hz // 1_000
        self._paused_at = None
        self.ends_at = min(self.ends_at, now)

    def played_ms(self, now: float) -> int:
        """How much has left the loudspeaker; never more than has come."""
        at = now if self._paused_at is None else self._paused_at
        left_s = max(0.0, self.ends_at - at) if self.started_at is not None else 0.0
        return int(max(0.0, self._samples / self._rate_hz - left_s) * 1_000)
