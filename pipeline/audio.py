"""Audio as plain arrays: PCM, frames, a ring, levels. Pure: samples in, samples out."""

from __future__ import annotations

import mmap
from math import log10

import numpy as np
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

    def append(self, samples: Float32) -> None:
        """Write samples; as many old (or, of a chunk too long, new) ones fall out."""
        self.append_pcm(_to_int16(samples[-len(self._ring) :]), len(samples))

    def append_pcm(self, kept: NDArray[np.int16], came: int | None = None) -> None:
        """The same for samples that are 16-bit already; of `came` in all, these are the last."""
        ring = self._ring
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
