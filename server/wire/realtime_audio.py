"""The Realtime protocol's audio: its formats <-> PCM of 24 kHz, as the sessions have it. Pure."""

from __future__ import annotations

from typing import Literal

import numpy as np

from pipeline.audio import Resampler, float_to_pcm16, pcm16_to_float
from pipeline.engines.ports import Float32
from pipeline.errors import BadAudio
from server.wire import g711

FormatName = Literal["audio/pcm", "audio/pcmu", "audio/pcma"]
PCM_HZ = 24_000
_LAWS: dict[str, g711.Law] = {"audio/pcmu": "mu", "audio/pcma": "a"}


def duration_s(data: bytes, name: FormatName) -> float:
    """Seconds of audio in these bytes."""
    return len(data) / (g711.RATE_HZ if name in _LAWS else 2 * PCM_HZ)


class AudioIn:
    """From the client: a stream in one of the formats, which may change in its middle."""

    def __init__(self) -> None:
        self._resampler = Resampler(g711.RATE_HZ, PCM_HZ)

    def decode(self, data: bytes, name: FormatName) -> bytes:
        """PCM of 24 kHz. Raises `BadAudio` for half a sample."""
        law = _LAWS.get(name)
        if law is None:
            if len(data) % 2:
                raise BadAudio("16-bit audio has an even number of bytes")
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
