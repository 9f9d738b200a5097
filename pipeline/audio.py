"""Audio as plain arrays: PCM, frames, rates, a ring, levels. Pure: samples in, samples out."""

from __future__ import annotations

import mmap
from functools import lru_cache
from math import ceil, gcd, log10
from typing import Protocol

import numpy as np
import samplerate
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from pipeline.engines.ports import Float32
from pipeline.errors import BadAudio

SILENCE_DBFS = -120.0
"""The level of digital silence: a floor, so that a level is always a finite number."""
_PER_STEP = np.float32(1 / 32768)
"""Of a 16-bit sample: a power of two, so that the product is exact."""


def pcm16_to_float(data: bytes) -> Float32:
    """Signed 16-bit little-endian bytes -> float32 in [-1, 1), shape (len(data) // 2,).

    Raises `BadAudio` when half a sample is missing.
    """
    if len(data) % 2:
        raise BadAudio("audio must be 16-bit PCM: the number of bytes is odd")
    return np.frombuffer(data, dtype="<i2") * _PER_STEP


def float_to_pcm16(samples: Float32) -> bytes:
    """float32 -> signed 16-bit little-endian bytes: clipped, halves away from zero, NaN silent."""
    return _to_int16(samples).astype("<i2", copy=False).tobytes()


def _to_int16(samples: Float32) -> NDArray[np.int16]:
    # In float64, where adding a half to the sample below 0.5 does not round up to 1.
    scaled = np.multiply(samples, 32768.0, dtype=np.float64)
    np.maximum(scaled, -32768, out=scaled)
    np.minimum(scaled, 32767, out=scaled)
    if np.isnan(scaled.sum()):  # one look for all, cheaper than one each
        np.nan_to_num(scaled, copy=False)
    scaled += np.copysign(0.5, scaled)
    return scaled.astype(np.int16)  # towards zero


# --- Frames -------------------------------------------------------------------------------------


class FrameCutter:
    """Regroups chunks of any length in frames of `frame_samples`; what is over waits.

    Each sample is copied twice at most, however small the chunks are.
    """

    def __init__(self, frame_samples: int) -> None:
        if frame_samples < 1:
            raise ValueError("a frame has at least one sample")
        self._held = np.zeros(frame_samples, np.float32)
        self._count = 0

    @property
    def held_samples(self) -> int:
        """Samples that wait for their frame to be full."""
        return self._count

    def feed(self, samples: Float32) -> Float32:
        """Take samples, shape (m,); give the frames that are full, shape (k, frame_samples)."""
        size = len(self._held)
        total = self._count + len(samples)
        frames = np.empty((total // size, size), np.float32)
        taken = 0
        if len(frames):
            flat = frames.reshape(-1)
            taken = len(flat) - self._count
            flat[: self._count] = self._held[: self._count]
            flat[self._count :] = samples[:taken]
            self._count = 0
        rest = samples[taken:]
        self._held[self._count : self._count + len(rest)] = rest
        self._count += len(rest)
        return frames

    def flush(self) -> Float32:
        """Give and forget the samples that wait, shape (held_samples,)."""
        rest = self._held[: self._count].copy()
        self._count = 0
        return rest


# --- Rates --------------------------------------------------------------------------------------

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


# --- The microphone's ring, levels, edges -------------------------------------------------------


class AudioRing:
    """The last `capacity_samples` of a stream, by their absolute positions.

    Kept as int16, which is what a microphone sends: half of float32's memory (30 s at 16 kHz are
    960,000 bytes), and exact unless the samples were resampled on the way.
    """

    def __init__(self, capacity_samples: int) -> None:
        if capacity_samples < 1:
            raise ValueError("a ring holds at least one sample")
        # Pages of its own, each of which costs nothing before it is written to. malloc, once such
        # a block was freed, takes the next ones from its heap and clears some 130 kB of each.
        pages = mmap.mmap(-1, 2 * capacity_samples, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
        self._ring = np.frombuffer(pages, np.int16)
        self._end = 0

    @property
    def end(self) -> int:
        """Samples ever written: the position of the next one."""
        return self._end

    @property
    def start(self) -> int:
        """The position of the oldest sample still held; `end` when none is."""
        return max(0, self._end - len(self._ring))

    def append(self, samples: Float32) -> int:
        """Write samples; give how many old (or, of a chunk too long, new) ones fell out."""
        return self.append_pcm(_to_int16(samples[-len(self._ring) :]), len(samples))

    def append_pcm(self, kept: NDArray[np.int16], came: int | None = None) -> int:
        """The same for samples that are 16-bit already; of `came` in all, these are the last."""
        ring, before = self._ring, self.start
        self._end += len(kept) if came is None else came
        if len(kept) > len(ring):
            kept = kept[-len(ring) :]
        place = (self._end - len(kept)) % len(ring)
        first = len(ring) - place
        if len(kept) <= first:
            ring[place : place + len(kept)] = kept
        else:
            ring[place:] = kept[:first]
            ring[: len(kept) - first] = kept[first:]
        return self.start - before

    def read(self, a: int, b: int) -> Float32:
        """Copy [a, b), clipped to what is held: shape (m,), m <= b - a."""
        a, b = max(a, self.start), min(b, self._end)
        if a >= b:
            return np.zeros(0, np.float32)
        place = a % len(self._ring)
        samples = self._ring[place : place + b - a]
        if len(samples) < b - a:
            samples = np.concatenate((samples, self._ring[: b - a - len(samples)]))
        return samples * _PER_STEP


def level_dbfs(samples: Float32) -> float:
    """RMS level in dB of full scale 1.0 (a full-scale sine: -3.0); silence: `SILENCE_DBFS`."""
    power = float(np.dot(samples, samples)) / max(1, len(samples))
    return max(SILENCE_DBFS, 10 * log10(power)) if power > 0 else SILENCE_DBFS


def fade(samples: Float32, in_ms: float, out_ms: float, rate: int) -> Float32:
    """Copy with raised-cosine edges, so that sound that is cut does not click.

    An edge longer than the samples is shortened to them.
    """
    faded = samples.astype(np.float32, copy=True)
    rise = min(round(in_ms * rate / 1000), len(faded))
    fall = min(round(out_ms * rate / 1000), len(faded))
    faded[:rise] *= _raised_cosine(rise)
    faded[len(faded) - fall :] *= _raised_cosine(fall)[::-1]
    return faded


def _raised_cosine(count: int) -> Float32:
    # At half positions: the edge neither begins with a lost zero nor ends with a wasted one.
    positions = (np.arange(count) + 0.5) / max(1, count)
    rising: Float32 = (0.5 - 0.5 * np.cos(np.pi * positions)).astype(np.float32)
    return rising
