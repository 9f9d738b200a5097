"""From one sample rate to another, chunk by chunk. Pure: samples in, samples out."""

from __future__ import annotations

from functools import lru_cache
from math import ceil, gcd
from typing import Protocol

import numpy as np
import samplerate
from numpy.lib.stride_tricks import as_strided

from pipeline.engines.ports import Float32

_STOPBAND_DB = 70.0
_ZERO_CROSSINGS = 32
"""Of the low-pass filter, on each side: with 70 dB, flat to 86% of the smaller Nyquist rate."""
_BLOCK_INPUTS = 48
"""A block of the polyphase matrix takes about so many input samples."""
_LONGEST_BLOCK_MS = 10
"""A longer block delays its stream (and its table is large): such ratios go to the library."""


class _Converter(Protocol):
    lookahead: int
    """Input samples that an output sample may have to wait for."""

    def process(self, samples: Float32) -> Float32: ...


class Resampler:
    """One stream's change of rate: mono, chunk by chunk, aligned in time with its input.

    For rates in simple ratio (all the usual ones) a polyphase Kaiser-windowed sinc of our own: at
    48 to 16 kHz in 20 ms chunks it took 0.4 ms of CPU per second of audio where libsamplerate's
    fastest sinc took 2.0 (one core of an AMD EPYC). libsamplerate does the odd ratios, which would
    want large tables. Equal rates pass through without a copy.
    """

    def __init__(self, rate_in: int, rate_out: int) -> None:
        if rate_in < 1 or rate_out < 1:
            raise ValueError("a rate is at least 1 Hz")
        self.rate_in, self.rate_out = rate_in, rate_out
        self._start()

    def _start(self) -> None:
        self._taken = 0
        self._given = 0
        self._converter = _converter(self.rate_in, self.rate_out)

    @property
    def latency_ms(self) -> float:
        """The longest that a sample waits for those after it."""
        return 1000 * self._converter.lookahead / self.rate_in if self._converter else 0.0

    def feed(self, samples: Float32) -> Float32:
        """Take samples at `rate_in`, shape (n,); give those at `rate_out` that are certain."""
        if self._converter is None:
            return samples
        self._taken += len(samples)
        out = self._converter.process(samples)
        self._given += len(out)
        return out

    def flush(self) -> Float32:
        """Give the rest, as if silence followed, and start over: the next `feed` is a new stream.

        In all, n samples become ceil(n * rate_out / rate_in).
        """
        if self._converter is None or self._taken == 0:
            return np.zeros(0, np.float32)
        wanted = -(-self._taken * self.rate_out // self.rate_in) - self._given
        tail = self._converter.process(np.zeros(2 * self._converter.lookahead, np.float32))
        self._start()
        return tail[:wanted]


def _converter(rate_in: int, rate_out: int) -> _Converter | None:
    if rate_in == rate_out:
        return None
    up, down = rate_out // gcd(rate_in, rate_out), rate_in // gcd(rate_in, rate_out)
    periods = max(1, _BLOCK_INPUTS // down)
    half = ceil(_ZERO_CROSSINGS * max(1.0, down / up))
    if 1000 * periods * down > _LONGEST_BLOCK_MS * rate_in:
        return _Libsamplerate(rate_in, rate_out)
    return _Polyphase(_polyphase_table(up, down, periods), half, periods * down)


@lru_cache(maxsize=16)
def _polyphase_table(up: int, down: int, periods: int) -> Float32:
    """The weight of each input sample in each output sample of a block.

    Shape (periods * down + 2 * half, periods * up). Kaiser's formulas for width and beta: Oppenheim
    and Schafer, Discrete-Time Signal Processing, 7.5.3.
    """
    narrowing = min(1.0, up / down)
    half = ceil(_ZERO_CROSSINGS / narrowing)
    # The stop band begins at the smaller Nyquist rate, so half the transition lies below it.
    transition = (_STOPBAND_DB - 8) / (14.36 * 2 * _ZERO_CROSSINGS)
    cutoff = narrowing * (1 - transition)
    beta = 0.1102 * (_STOPBAND_DB - 8.7)
    inputs = np.arange(periods * down + 2 * half) - half
    distance = inputs[:, None] - (np.arange(periods * up) * down / up)[None, :]
    near = np.abs(distance) < half
    table = np.zeros(distance.shape)
    t = distance[near]
    table[near] = np.sinc(cutoff * t) * np.i0(beta * np.sqrt(1 - (t / half) ** 2))
    # Each output's weights add up to one: a constant stays that constant, whatever the phase.
    table /= table.sum(axis=0)
    weights: Float32 = np.ascontiguousarray(table, np.float32)
    weights.setflags(write=False)
    return weights


class _Polyphase:
    """Whole blocks of input, each with its neighbours on both sides, times the table."""

    def __init__(self, table: Float32, half: int, block: int) -> None:
        self.lookahead = half + block
        self._table = table
        self._block = block
        self._held = np.zeros(half, np.float32)

    def process(self, samples: Float32) -> Float32:
        held = np.concatenate((self._held, samples))
        span = len(self._table)
        blocks = max(0, (len(held) - span) // self._block + 1)
        self._held = held[blocks * self._block :].copy()
        if not blocks:
            return np.zeros(0, np.float32)
        step = held.strides[0]
        windows = as_strided(held, (blocks, span), (self._block * step, step))
        # Copied, for BLAS takes no rows that overlap.
        out: Float32 = np.ascontiguousarray(windows) @ self._table
        return out.reshape(-1)


class _Libsamplerate:
    """The library's streaming converter, one state a stream."""

    def __init__(self, rate_in: int, rate_out: int) -> None:
        self.lookahead = ceil(32 * max(1.0, rate_in / rate_out))
        self._ratio = rate_out / rate_in
        self._resampler = samplerate.Resampler("sinc_fastest", channels=1)

    def process(self, samples: Float32) -> Float32:
        out: Float32 = self._resampler.process(samples, self._ratio, end_of_input=False)
        return out
