"""Binary frames of the native protocol, raw and tagged, and what can be told of an Opus packet
without decoding it. Pure."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Literal

from pipeline.errors import BadAudio

OPUS_HZ = 48_000
"""What a decoder gives, whatever went in (RFC 6716, 2.1.1)."""
LONGEST_PACKET_S = 0.12
"""RFC 6716, 3.2.5."""
_TAG = struct.Struct("<II")
_WRAP = 1 << 32


@dataclass(frozen=True, slots=True)
class AudioForm:
    """How audio goes over one connection, both ways."""

    rate_hz: int = 16_000
    """The microphone's: its samples are counted at it."""
    codec: Literal["pcm16", "opus"] = "pcm16"
    framing: Literal["raw", "tagged"] = "raw"


def tag(reply: int, offset: int, payload: bytes) -> bytes:
    """A tagged frame: whose audio it is, which of its samples comes first, the audio."""
    return _TAG.pack(reply % _WRAP, offset % _WRAP) + payload


def untag(frame: bytes) -> bytes:
    """The audio of a tagged frame of the microphone's. Raises `BadAudio`.

    Its offset is not looked at: a gap in a microphone is a pause, whoever made it.
    """
    if len(frame) < _TAG.size:
        raise BadAudio("a tagged frame begins with 8 bytes: two numbers")
    reply, _ = _TAG.unpack_from(frame)
    if reply:
        raise BadAudio("the frames of a microphone are of reply 0")
    return frame[_TAG.size :]


def packet_s(packet: bytes) -> float:
    """How much sound an Opus packet says it is, in seconds (RFC 6716, 3.1). Raises `BadAudio`."""
    if not packet:
        raise BadAudio("an Opus packet has at least one byte")
    config, code = packet[0] >> 3, packet[0] & 3
    if code < 3:
        count = 1 if code == 0 else 2
    elif len(packet) > 1:
        count = packet[1] & 63
    else:
        raise BadAudio("an Opus packet ends in its head")
    seconds = count * _frame_s(config)
    if not 0 < seconds <= LONGEST_PACKET_S + 1e-9:
        raise BadAudio("an Opus packet is 2.5 to 120 ms of audio")
    return seconds


def _frame_s(config: int) -> float:
    """Of a frame, by the configuration number of RFC 6716, table 2."""
    if config < 12:  # SILK
        return (0.01, 0.02, 0.04, 0.06)[config % 4]
    if config < 16:  # both
        return (0.01, 0.02)[config % 2]
    return (0.0025, 0.005, 0.01, 0.02)[config % 4]  # CELT
