"""Recordings for tests: sound as samples, and as files of many formats."""

from __future__ import annotations

import io
import wave

import av
import numpy as np

from pipeline.engines.ports import SPEECH_HZ, Float32


def tone(seconds: float, rate_hz: int = SPEECH_HZ, level: float = 0.3) -> Float32:
    time_s = np.arange(round(seconds * rate_hz)) / rate_hz
    return (level * np.sin(2 * np.pi * 440 * time_s)).astype(np.float32)


def silence(seconds: float, rate_hz: int = SPEECH_HZ) -> Float32:
    return np.zeros(round(seconds * rate_hz), np.float32)


def talk(*seconds: float) -> Float32:
    """By turns something to be heard and nothing: `talk(2, 1, 2)` has a pause of 1 s."""
    return np.concatenate(
        [silence(length) if number % 2 else tone(length) for number, length in enumerate(seconds)]
    )


def wav(samples: Float32, rate_hz: int = SPEECH_HZ, channels: int = 1) -> bytes:
    """16-bit, every channel the same."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(channels)
        out.setframerate(rate_hz)
        out.setsampwidth(2)
        pcm = (np.clip(samples, -1, 1) * 32_767).astype("<i2")
        out.writeframes(np.repeat(pcm, channels).tobytes())
    return file.getvalue()


def encoded(
    form: str, codec: str, samples: Float32, rate_hz: int = 48_000, pictures: bool = False
) -> bytes:
    """The same in stereo, by FFmpeg; with a film beside it, or not."""
    file = io.BytesIO()
    with av.open(file, "w", format=form) as container:
        film = container.add_stream("mpeg4", rate=10) if pictures else None
        if film is not None:
            film.width = film.height = 64
            film.pix_fmt = "yuv420p"
        stream = container.add_stream(codec, rate=rate_hz, layout="stereo")
        if film is not None:
            black = av.VideoFrame.from_ndarray(np.zeros((64, 64, 3), np.uint8), "rgb24")
            container.mux([*film.encode(black), *film.encode(None)])
        frame = av.AudioFrame.from_ndarray(np.stack([samples, samples]), "fltp", "stereo")
        frame.sample_rate = rate_hz
        size = stream.codec_context.frame_size or 1_024
        resampler = av.AudioResampler(stream.codec_context.format, "stereo", rate_hz, size)
        for piece in [*resampler.resample(frame), *resampler.resample(None)]:
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return file.getvalue()
