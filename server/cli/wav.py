"""WAV files for the command line: any plain PCM in, the reply's PCM out."""

from __future__ import annotations

import wave
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pipeline.errors import BadAudio

Int16 = NDArray[np.int16]

LOWEST_HZ, HIGHEST_HZ = 8_000, 48_000
"""The rates that `hello` takes."""


@dataclass(frozen=True, slots=True)
class Recording:
    """Mono speech: `samples` of shape (n,), n > 0, at `rate_hz`."""

    samples: Int16
    rate_hz: int

    @property
    def seconds(self) -> float:
        return len(self.samples) / self.rate_hz


def read_wav(path: Path) -> Recording:
    """Read 8, 16, 24 or 32-bit PCM at 8,000 to 48,000 Hz; several channels are averaged.

    Raises `BadAudio`, with one line that names the file, for anything else.
    """
    try:
        with wave.open(str(path), "rb") as file:
            channels, width, rate_hz = file.getnchannels(), file.getsampwidth(), file.getframerate()
            data = file.readframes(file.getnframes())
    except (wave.Error, EOFError) as error:
        reason = str(error) or "it ends too soon"
        raise BadAudio(f"{path} is not a PCM WAV file ({reason})") from error
    except OSError as error:
        raise BadAudio(f"cannot read {path}: {error.strerror}") from error
    if not LOWEST_HZ <= rate_hz <= HIGHEST_HZ:
        raise BadAudio(f"{path} is at {rate_hz} Hz; {LOWEST_HZ} to {HIGHEST_HZ} Hz is taken")
    if width > 4:
        raise BadAudio(f"{path} has {8 * width} bits a sample; 8, 16, 24 or 32 are taken")
    whole = len(data) - len(data) % (channels * width)
    if not whole:
        raise BadAudio(f"{path} has no audio in it")
    mono = _to_int32(data[:whole], width).reshape(-1, channels).mean(axis=1)
    return Recording((mono / 65_536).round().clip(-32_768, 32_767).astype(np.int16), rate_hz)


def _to_int32(data: bytes, width: int) -> NDArray[np.int32]:
    """PCM of 1 to 4 bytes a sample, scaled to the full 32 bits. WAV's 8-bit is unsigned."""
    raw = np.frombuffer(data, np.uint8).reshape(-1, width)
    if width == 1:
        raw = raw ^ np.uint8(0x80)
    wide = np.zeros((len(raw), 4), np.uint8)
    wide[:, 4 - width :] = raw
    return wide.view("<i4").reshape(-1)


def write_wav(path: Path, pcm: bytes, rate_hz: int) -> None:
    """Write mono 16-bit little-endian PCM. Raises `OSError`."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(rate_hz)
        file.writeframes(pcm)
