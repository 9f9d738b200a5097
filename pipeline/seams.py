"""How clauses become one voice: silence trimmed, edges faded, one loudness, a pause by the mark.

Pure: text and samples in, samples out. It knows no engine.
"""

from __future__ import annotations

import numpy as np

from pipeline.audio import fade, level_dbfs
from pipeline.engines.ports import Float32
from pipeline.marks import MARKS, Strength, strength_of

QUIET = 10 ** (-50 / 20)
"""A sample below -50 dBFS is silence here: Kokoro and Piper voice nothing below it, and what they
leave around the words lies at -80 dBFS and less."""
LEAD_MS = 15
TAIL_MS = 40
"""Silence that stays before the first and after the last sample that is heard: a consonant's onset
and a vowel's decay. Kokoro and Piper leave up to 130 and 390 ms by themselves."""
FADE_MS = 5
"""At both ends, so that a clause begins and ends at zero, wherever the engine stopped."""

SENTENCE_PAUSE_S, CLAUSE_PAUSE_S = 0.24, 0.09
"""Added after a full stop and after a comma: with the edges, 300 and 150 ms of silence. Where a
clause was cut between two words nothing is added."""
_LONG_PAUSE = frozenset(":…")
"""Marks of a clause with a sentence's pause."""
_CLOSERS = " \"')]”’*_"

LOUDNESS_DBFS = -21.0
"""RMS of a clause's voiced blocks. Kokoro's and Piper's own lie between -17 and -25."""
MOST_DB = 6.0
"""A clause is made louder or softer by no more."""
PEAK = 0.95
"""No sample is louder: resampling may add a little to a peak, and full scale clips."""
_BLOCK_MS = 10
_ENOUGH_MS = 150
"""Less voice than this says little about its loudness."""


def pause_s(text: str) -> float:
    """The silence to add after a clause of this text."""
    last = text.rstrip(_CLOSERS)[-1:]
    if last in _LONG_PAUSE:
        return SENTENCE_PAUSE_S
    if last not in MARKS:
        return 0.0
    return SENTENCE_PAUSE_S if strength_of(last) is Strength.SENTENCE else CLAUSE_PAUSE_S


def line_break_s(before: str, after: str) -> float:
    """What a line break that opens the clause `after` adds to the pause that `before` got."""
    opening = after[: len(after) - len(after.lstrip())]
    return SENTENCE_PAUSE_S - pause_s(before) if before and "\n" in opening else 0.0


def loudness_dbfs(samples: Float32, rate_hz: int) -> float | None:
    """RMS of the voiced blocks of 10 ms, in dBFS; None with less than 150 ms of them."""
    block = rate_hz * _BLOCK_MS // 1000
    blocks = samples[: len(samples) // block * block].reshape(-1, block)
    voiced = blocks[np.abs(blocks).max(axis=1, initial=0.0) > QUIET]
    if len(voiced) * _BLOCK_MS < _ENOUGH_MS:
        return None
    return level_dbfs(voiced.reshape(-1))


def evening_gain(samples: Float32, rate_hz: int) -> float:
    """The factor, within 6 dB, that brings samples to `LOUDNESS_DBFS`; 1 when they are too few."""
    loudness = loudness_dbfs(samples, rate_hz)
    if loudness is None:
        return 1.0
    wanted_db = min(max(LOUDNESS_DBFS - loudness, -MOST_DB), MOST_DB)
    return float(10 ** (wanted_db / 20))


class ClauseShaper:
    """One clause's audio as it is to be heard: `feed` its chunks, then `finish`.

    The silence around the words goes but for `LEAD_MS` and `TAIL_MS`, both ends are faded, and the
    loudness is evened. What is not given yet is silence that may be the tail, and the last 5 ms.
    """

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._lead = rate_hz * LEAD_MS // 1000
        self._tail = rate_hz * TAIL_MS // 1000
        self._ramp = fade(np.ones(rate_hz * FADE_MS // 1000, np.float32), FADE_MS, 0, rate_hz)
        self._held = np.zeros(0, np.float32)
        self._quiet = 0
        """Samples at the end of `_held` since the last one that is heard."""
        self._begun = False
        self.left_out = 0
        """Samples of silence before the first word that are not given."""
        self._given = 0
        self._gain: float | None = None

    def feed(self, samples: Float32) -> Float32:
        """Take a chunk, shape (n,); give what is sure to be neither lead nor tail, shape (m,)."""
        samples = self._evened(samples)
        heard = np.flatnonzero(np.abs(samples) > QUIET)
        self._held = np.concatenate((self._held, samples))
        if len(heard):
            if not self._begun:
                first = len(self._held) - len(samples) + int(heard[0])
                self.left_out = max(0, first - self._lead)
                self._held = self._held[self.left_out :]
                self._begun = True
            self._quiet = len(samples) - 1 - int(heard[-1])
        else:
            self._quiet += len(samples)
        sure = len(self._held) - max(self._quiet, len(self._ramp)) if self._begun else 0
        return self._give(max(0, sure))

    def finish(self) -> Float32:
        """Give the rest. A clause in which nothing is heard keeps its length."""
        surplus = max(0, self._quiet - self._tail) if self._begun else 0
        self._held = self._held[: len(self._held) - surplus]
        return fade(self._give(len(self._held)), 0, FADE_MS, self._rate_hz)

    def _give(self, count: int) -> Float32:
        given, self._held = self._held[:count].copy(), self._held[count:].copy()
        rising = self._ramp[self._given : self._given + count]
        given[: len(rising)] *= rising
        self._given += count
        return given

    def _evened(self, samples: Float32) -> Float32:
        """The first chunk decides for the whole clause, so that the level does not pump."""
        if self._gain is None and np.abs(samples).max(initial=0.0) > QUIET:
            self._gain = evening_gain(samples, self._rate_hz)
        loudest = float(np.abs(samples).max(initial=0.0)) * (self._gain or 1.0)
        gain = (self._gain or 1.0) * min(1.0, PEAK / max(loudest, PEAK))
        return samples if gain == 1.0 else np.multiply(samples, gain, dtype=np.float32)
