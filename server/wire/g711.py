"""G.711, the telephone's audio: mu-law and A-law bytes <-> 16-bit samples, by tables. Pure.

ITU-T G.711 (11/88): one byte a sample, 8 kHz; a sign, three bits of exponent, four of mantissa.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Law = Literal["mu", "a"]
RATE_HZ = 8_000

_BYTES = np.arange(256)
_BIAS = 132
"""Of mu-law, at 16 bits: 33 of its 14 bits."""


def _decode_mu() -> NDArray[np.int16]:
    inverted = ~_BYTES & 0xFF
    exponent, mantissa = inverted >> 4 & 7, inverted & 15
    magnitude = ((mantissa << 3) + _BIAS << exponent) - _BIAS
    return np.where(inverted & 0x80, -magnitude, magnitude).astype(np.int16)


def _decode_a() -> NDArray[np.int16]:
    toggled = _BYTES ^ 0x55  # every other bit is sent inverted
    exponent, mantissa = toggled >> 4 & 7, toggled & 15
    step = (mantissa << 4) + 8
    magnitude = np.where(exponent, step + 256 << np.maximum(exponent - 1, 0), step)
    return np.where(toggled & 0x80, magnitude, -magnitude).astype(np.int16)


def _nearest(decoded: NDArray[np.int16]) -> NDArray[np.uint8]:
    """For every 16-bit sample, from -32768 on, the byte whose value is nearest to it."""
    order = np.argsort(decoded, kind="stable")
    values = decoded[order].astype(np.int32)
    between = (values[1:] + values[:-1] + 1) // 2
    at = np.searchsorted(between, np.arange(-32_768, 32_768), side="right")
    return order[at].astype(np.uint8)


_DECODED: dict[Law, NDArray[np.int16]] = {"mu": _decode_mu(), "a": _decode_a()}
_ENCODED: dict[Law, NDArray[np.uint8]] = {law: _nearest(_DECODED[law]) for law in _DECODED}


def decode(data: bytes, law: Law) -> NDArray[np.int16]:
    """(n) bytes -> (n,) samples."""
    return _DECODED[law][np.frombuffer(data, np.uint8)]


def encode(samples: NDArray[np.int16], law: Law) -> bytes:
    """(n,) samples -> (n) bytes: each the nearest value there is."""
    return _ENCODED[law][samples.astype(np.int32) + 32_768].tobytes()
