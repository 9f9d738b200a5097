"""How far a voice is ahead of whoever plays what it makes, and so what it may say next. Pure."""

from __future__ import annotations

MARGIN = 0.95
"""Of what it may say it is asked for so much: no clause takes exactly as long as was foreseen."""


class Pace:
    """One text's. Sizes are those of clauses (`Clause.size`).

    What counts is the voice's own time. That others had their turn in between, or that the audio
    was not taken at once, is no reason to say less at a time: shorter clauses would not mend it.
    """

    def __init__(self) -> None:
        self._size = 0
        self._took_s = 0.0
        self._ahead_s = 0.0
        self._first = self._last = 0
        """The sizes of two clauses."""
        self._gains = True
        """Whether the last one lasts longer than it took."""

    def made(self, size: int, took_s: float, audio_s: float) -> None:
        """A clause of this size was voiced in so long, and lasts so long, its pause included."""
        if self._first:  # from its end on, somebody plays
            self._ahead_s = max(0.0, self._ahead_s - took_s)
        self._ahead_s += audio_s
        self._size += size
        self._took_s += took_s
        self._first, self._last = self._first or size, size
        self._gains = took_s < audio_s

    def most(self) -> int | None:
        """The size that is voiced while what was made is played; None: nobody knows yet.

        It goes by the time that a letter took so far. Some of that is the same for each clause,
        so a longer one takes less than foreseen. A voice that loses ground, or is left with less
        than the first clause was, is not asked for shorter ones, in which a word takes it longer:
        it is given twice as much to say, as it would be if it were fast, and stands still once.
        """
        if not self._took_s:
            return None
        most = self._ahead_s * self._size / self._took_s
        keeps_up = self._gains and most >= self._first
        return int(MARGIN * most) if keeps_up else 2 * self._last
