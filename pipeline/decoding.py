"""What FFmpeg decodes: any file that holds audio, to 16 kHz mono, piece by piece, which blocks; and
single packets of Opus, which take a fifteenth of a millisecond or less.

Files come from strangers: what one says of itself is not believed, it may name no other file or
address, and neither memory nor time is spent on it without a bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from fractions import Fraction
from functools import lru_cache
from typing import Any, BinaryIO

import av
import av.error
import numpy as np
from av.audio.codeccontext import AudioCodecContext
from av.audio.frame import AudioFrame
from av.audio.stream import AudioStream
from av.container import InputContainer

from pipeline.engines.ports import SPEECH_HZ, Float32
from pipeline.errors import BadAudio, TooMuchAudio
from pipeline.resampling import Resampler

RATES_HZ = range(4_000, 768_001)
"""Others are no recordings of speech: a file of 1 Hz would grow by 16,000 on its way in."""
MOST_CHANNELS = 32
PATIENCE_S = 10.0
"""Processor time without a second of audio, after which a file is given up."""

NOT_AUDIO = "the file is not audio that can be decoded"
NO_PACKET = "that is no Opus packet, or a damaged one"


class Decoder:
    """One file. Not safe for several threads at once; `close` it in the end."""

    def __init__(
        self,
        file: BinaryIO,
        most_s: float,
        *,
        clock: Callable[[], float] = time.thread_time,
    ) -> None:
        """Look through the whole file, without decoding it. `clock` counts the seconds it costs.

        Raises `BadAudio` when there is no audio in it, `TooMuchAudio` when it is longer than
        `most_s`.
        """
        self._most_s = most_s
        self._clock = clock
        self._file = file
        self._resampler: Resampler | None = None
        self._given = 0
        """Samples at 16 kHz."""
        with _our_words():
            self._container, self._stream = _open(file)
        try:
            with _our_words():
                self.duration_s = self._scan()
            self._check_length(self.duration_s)
            self._container.close()
            file.seek(0)
            with _our_words():
                self._container, self._stream = _open(file)
        except BaseException:
            self.close()
            raise
        self._frames = self._decoded()

    def close(self) -> None:
        """Free the decoder; the file stays open."""
        self._container.close()

    def read(self, samples: int) -> Float32:
        """About so many samples at 16 kHz, shape (n,), at least one; none when the file is over.

        What is damaged is left out. Raises `BadAudio` when nothing at all could be decoded,
        `TooMuchAudio` when it turns out to be too long after all.
        """
        pieces: list[Float32] = []
        wanted = samples
        for piece in self._frames:
            if len(piece):
                pieces.append(piece)
                wanted -= len(piece)
                if wanted <= 0:
                    break
        self._given += samples - wanted
        self._check_length(self._given / SPEECH_HZ)
        if not self._given:
            raise BadAudio(NOT_AUDIO)
        return np.concatenate(pieces) if pieces else np.zeros(0, np.float32)

    def _scan(self) -> float:
        """How long the file is by its packets, in seconds; 0.0 if they do not say."""
        began, end, first = self._clock(), Fraction(0), None
        with suppress(av.error.FFmpegError):  # cut short: up to there
            for packet in self._container.demux(self._stream):
                if packet.pts is not None and packet.time_base is not None:
                    first = packet.pts if first is None else min(first, packet.pts)
                    after = packet.pts - first + (packet.duration or 0)
                    end = max(end, after * packet.time_base)
                if self._clock() - began > PATIENCE_S:
                    raise BadAudio("the file takes too long to be read")
        return float(end)

    def _decoded(self) -> Iterator[Float32]:
        """Every piece, as small as the file has them."""
        began = self._clock()
        for packet in self._packets():
            with suppress(av.error.FFmpegError):  # damaged: what follows may be whole
                for frame in packet.decode():
                    if isinstance(frame, AudioFrame) and frame.samples:
                        began = self._clock()
                        yield self._mono(frame)
            if self._clock() - began > PATIENCE_S:
                raise BadAudio("the file takes too long to be decoded")
        if self._resampler is not None:
            yield self._resampler.flush()

    def _packets(self) -> Iterator[Any]:
        with suppress(av.error.FFmpegError):  # cut short: up to there
            yield from self._container.demux(self._stream)

    def _mono(self, frame: AudioFrame) -> Float32:
        """The mean of its channels, at 16 kHz."""
        channels, rate_hz = len(frame.layout.channels), frame.sample_rate
        if rate_hz not in RATES_HZ or not 0 < channels <= MOST_CHANNELS:
            raise BadAudio(f"audio of {channels} channels at {rate_hz} Hz cannot be decoded")
        mono = _samples(frame, channels).mean(axis=0, dtype=np.float32)
        before = np.zeros(0, np.float32)
        if self._resampler is None or self._resampler.rate_in != rate_hz:
            if self._resampler is not None:
                before = self._resampler.flush()
            self._resampler = Resampler(rate_hz, SPEECH_HZ)
        return np.concatenate((before, self._resampler.feed(mono)))

    def _check_length(self, seconds: float) -> None:
        if seconds > self._most_s:
            raise TooMuchAudio(f"the audio is longer than {self._most_s / 60:g} minutes")


class OpusPackets:
    """One stream of Opus packets, mono. What is lost between two of them it hears as a cut."""

    def __init__(self) -> None:
        self._codec = _new_opus()

    def decode(self, packet: bytes) -> bytes:
        """The packet's samples: 48 kHz, signed 16-bit little-endian.

        Raises `BadAudio` for one that cannot be decoded; the next one can.
        """
        if not packet:  # FFmpeg's word for the end of a stream
            raise BadAudio(NO_PACKET)
        try:
            return b"".join(
                frame.to_ndarray().astype("<i2", copy=False).tobytes()
                for frame in self._codec.decode(av.Packet(packet))
            )
        except (av.error.FFmpegError, ValueError) as error:
            self._codec = _new_opus()  # whatever state it is in
            raise BadAudio(NO_PACKET) from error


def _new_opus() -> AudioCodecContext:
    codec = av.CodecContext.create("libopus", "r")
    assert isinstance(codec, AudioCodecContext)
    codec.layout = "mono"
    codec.open()
    return codec


def _samples(frame: AudioFrame, channels: int) -> Float32:
    """A frame's samples in [-1, 1], shape (channels, n).

    By hand: PyAV's converter builds a filter graph for each new form, 0.4 ms with the interpreter.
    """
    with _our_words():  # a kind that numpy has no word for
        raw = frame.to_ndarray()
    if not frame.format.is_planar:
        raw = raw.reshape(-1, channels).T
    zero, full = _SCALES[raw.dtype.str]
    if raw.dtype.kind != "f":
        scaled: Float32 = (raw.astype(np.float32) - np.float32(zero)) / np.float32(full)
        return scaled
    finite = np.nan_to_num(raw.astype(np.float32), nan=0.0, posinf=1.0, neginf=-1.0)
    return np.clip(finite, -1.0, 1.0)


_SCALES = {
    "|u1": (128.0, 128.0),
    "<i2": (0.0, 2.0**15),
    "<i4": (0.0, 2.0**31),
    "<f4": (0.0, 1.0),
    "<f8": (0.0, 1.0),
}
"""Of each kind of sample: which value is silence, and how far above it is full scale."""


def _open(file: BinaryIO) -> tuple[InputContainer, AudioStream]:
    container = av.open(
        file,
        "r",
        metadata_errors="ignore",
        # Some formats are lists of other files. Nothing but this file is to be read; and no
        # decoder of pictures is to look at it.
        options={"protocol_whitelist": "none", "codec_whitelist": _audio_codecs()},
    )
    stream = container.streams.best("audio")
    if not isinstance(stream, AudioStream):
        container.close()
        raise BadAudio("there is no audio track in the file")
    stream.codec_context.thread_count = 1
    return container, stream


@lru_cache(maxsize=1)
def _audio_codecs() -> str:
    """The names of all decoders of sound, as FFmpeg takes lists."""
    names = []
    for name in av.codecs_available:
        with suppress(ValueError):  # encoders alone
            if av.Codec(name, "r").type == "audio":
                names.append(name)
    return ",".join(sorted(names))


class _our_words:  # noqa: N801
    """Whatever FFmpeg says of a file is one error of ours: its own words are for its authors."""

    def __enter__(self) -> None:
        """Nothing to do yet."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, (av.error.FFmpegError, ValueError, OverflowError)):
            raise BadAudio(NOT_AUDIO) from error
