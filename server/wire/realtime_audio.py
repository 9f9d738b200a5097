"""The Realtime protocol's audio: its formats <-> PCM of 24 kHz, as the sessions have it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from pipeline.audio import float_to_pcm16, pcm16_to_float
from pipeline.engines.ports import Float32
from pipeline.errors import BadAudio
from pipeline.resampling import Resampler
from server.wire import g711

FormatName = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
PCM_HZ = 24_000
_LAWS: dict[str, g711.Law] = {"audio/pcmu": "mu", "audio/pcma": "a"}


def second_bytes(name: FormatName) -> int:
    """How many bytes a second of audio is."""
    return g711.RATE_HZ if name in _LAWS else 2 * PCM_HZ


def check_whole(data: bytes, name: FormatName) -> None:
    """Raises `BadAudio` for half a sample."""
    if name not in _LAWS and len(data) % 2:
        raise BadAudio("16-bit audio has an even number of bytes")


@dataclass(frozen=True, slots=True)
class Audio:
    """Microphone audio, as it came. To be decoded in pieces: 15 MiB may be half an hour of it."""

    data: bytes
    name: FormatName = "audio/pcm"

    def pieces(self) -> Iterator[bytes]:
        """A second each, the last one less."""
        size = second_bytes(self.name)
        for start in range(0, len(self.data), size):
            yield self.data[start : start + size]


class AudioIn:
    """From the client: a stream in one of the formats, which may change in its middle."""

    def __init__(self) -> None:
        self._resampler = Resampler(g711.RATE_HZ, PCM_HZ)

    def decode(self, data: bytes, name: FormatName) -> bytes:
        """PCM of 24 kHz, of whole samples."""
        law = _LAWS.get(name)
        if law is None:
            return data
        samples = g711.decode(data, law).tobytes()
        return float_to_pcm16(self._resampler.feed(pcm16_to_float(samples)))


class AudioOut:
    """To the client: one reply's audio."""

    def __init__(self, name: FormatName) -> None:
        self._law = _LAWS.get(name)
        self._resampler = Resampler(PCM_HZ, g711.RATE_HZ)

    def encode(self, pcm: bytes) -> bytes:
        """The next piece, in the client's format; "" while the resampler holds it back."""
        if self._law is None:
            return pcm
        return self._written(self._resampler.feed(pcm16_to_float(pcm)))

    def finish(self) -> bytes:
        """What the resampler held back."""
        return b"" if self._law is None else self._written(self._resampler.flush())

    def _written(self, audio: Float32) -> bytes:
        assert self._law is not None
        return g711.encode(np.frombuffer(float_to_pcm16(audio), "<i2"), self._law)
