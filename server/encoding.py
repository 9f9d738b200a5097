"""PCM to the formats that can be asked for, as it comes: mono 16-bit at 24 kHz in, bytes out.

The encoders are FFmpeg's, through PyAV, which comes with faster-whisper
(docs/decisions/0011-speech-over-http.md). What an encoder keeps is a frame or two.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, Protocol

import av
import numpy as np
from av.audio.codeccontext import AudioCodecContext

from pipeline.voicing import REPLY_HZ

Format = Literal["mp3", "opus", "aac", "flac", "wav", "pcm"]

CONTENT_TYPES: dict[Format, str] = {
    "mp3": "audio/mpeg",
    "opus": "audio/ogg",
    "aac": "audio/aac",
    "flac": "audio/flac",
    "wav": "audio/wav",
    "pcm": "audio/pcm",
}
UNKNOWN = 0xFFFFFFFF
"""The size of a WAV that is still being made: players read on to the end of the stream."""


class Encoder(Protocol):
    """One stream. `feed` samples as they come, then `finish` once; both give what is ready."""

    def feed(self, pcm: bytes) -> bytes: ...

    def finish(self) -> bytes: ...


def encoder(name: Format) -> Encoder:
    """A new stream of this format."""
    return _MAKERS[name]()


def wav_header(data_bytes: int = UNKNOWN) -> bytes:
    """The 44 bytes before so much PCM."""
    whole = UNKNOWN if data_bytes == UNKNOWN else data_bytes + 36
    return struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF", whole, b"WAVE", b"fmt ", 16, 1, 1, REPLY_HZ, 2 * REPLY_HZ, 2, 16,
        b"data", data_bytes,
    )  # fmt: skip


class _Pcm:
    """Samples as they are, after a header or none."""

    def __init__(self, header: bytes = b"") -> None:
        self._header = header

    def feed(self, pcm: bytes) -> bytes:
        header, self._header = self._header, b""
        return header + pcm

    def finish(self) -> bytes:
        return self.feed(b"")


@dataclass(frozen=True, slots=True)
class _Codec:
    """An encoder of FFmpeg's and the container around it."""

    container: str
    codec: str
    bit_rate: int | None = None
    options: dict[str, str] = field(default_factory=dict)


class _Av:
    """One of FFmpeg's encoders, writing to memory that is emptied at every call."""

    def __init__(self, kind: _Codec) -> None:
        self._sink = _Sink()
        # What is muxed is handed on at once: a buffer of 32 kB is seconds of speech.
        options = {**kind.options, "flush_packets": "1"}
        self._container = av.open(self._sink, "w", format=kind.container, options=options)
        stream = self._container.add_stream(kind.codec, rate=REPLY_HZ, layout="mono")
        assert isinstance(stream, av.AudioStream)
        self._stream = stream
        if kind.bit_rate is not None:
            self._stream.bit_rate = kind.bit_rate
        self._samples = 0

    def feed(self, pcm: bytes) -> bytes:
        if pcm:
            samples = np.frombuffer(pcm, "<i2")
            frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
            frame.sample_rate = REPLY_HZ
            frame.pts = self._samples
            self._samples += len(samples)
            self._container.mux(self._stream.encode(frame))
        return self._sink.take()

    def finish(self) -> bytes:
        if self._samples:
            self._container.mux(self._stream.encode(None))
        self._container.close()
        return self._sink.take()


class _Sink:
    """A file that can only be written to: FFmpeg then writes headers that need no second look."""

    def __init__(self) -> None:
        self._written = bytearray()

    def write(self, data: bytes) -> int:
        self._written += data
        return len(data)

    def take(self) -> bytes:
        taken, self._written = bytes(self._written), bytearray()
        return taken


# Bit rates for one voice at 24 kHz. Without its Xing header, which counts frames that are still to
# come, an MP3 can be written in one go; an Ogg page is sent when it is full, and holds 0.1 s.
_MP3 = _Codec("mp3", "libmp3lame", 64_000, {"write_xing": "0", "id3v2_version": "0"})
_OPUS = _Codec("ogg", "libopus", 32_000, {"page_duration": "100000"})
_AAC = _Codec("adts", "aac", 64_000)
_FLAC = _Codec("flac", "flac")

_MAKERS: dict[Format, Callable[[], Encoder]] = {
    "mp3": lambda: _Av(_MP3),
    "opus": lambda: _Av(_OPUS),
    "aac": lambda: _Av(_AAC),
    "flac": lambda: _Av(_FLAC),
    "wav": lambda: _Pcm(wav_header()),
    "pcm": _Pcm,
}


PACKET_SAMPLES = REPLY_HZ // 50
"""20 ms, of which a packet is made."""
LOOKAHEAD_SAMPLES = 156
"""What libopus keeps back: 6.5 ms (RFC 6716, 2)."""
_LIVE = {"application": "audio", "compression_level": "5", "frame_duration": "20"}
"""`audio` costs less than half of `voip`, and a synthesizer makes no noise that would want it."""


class OpusPackets:
    """One reply as Opus packets of 20 ms, without a container."""

    def __init__(self) -> None:
        codec = av.CodecContext.create("libopus", "w")
        assert isinstance(codec, AudioCodecContext)
        codec.sample_rate, codec.layout, codec.format = REPLY_HZ, "mono", "s16"
        codec.bit_rate, codec.options = 32_000, dict(_LIVE)
        self._codec = codec
        self._held = b""

    def feed(self, pcm: bytes) -> list[bytes]:
        """The packets that are full; what is over waits."""
        self._held += pcm
        size = 2 * PACKET_SAMPLES
        full = len(self._held) // size * size
        pieces, self._held = self._held[:full], self._held[full:]
        return [packet for at in range(0, full, size) for packet in self._encode(pieces, at)]

    def finish(self) -> list[bytes]:
        """The rest of it, with silence to fill the last packet."""
        missing = -(len(self._held) // 2 + LOOKAHEAD_SAMPLES) % PACKET_SAMPLES
        return self.feed(bytes(2 * (LOOKAHEAD_SAMPLES + missing)))

    def _encode(self, pcm: bytes, at: int) -> list[bytes]:
        samples = np.frombuffer(pcm, "<i2", PACKET_SAMPLES, at)
        frame = av.AudioFrame.from_ndarray(samples[None, :], format="s16", layout="mono")
        frame.sample_rate = REPLY_HZ
        return [bytes(packet) for packet in self._codec.encode(frame)]
