"""Every format: decoders read it, all samples are in it, and little of it is kept back."""

from __future__ import annotations

import io
import tracemalloc
import wave
from pathlib import Path

import av
import numpy as np
import pytest

from pipeline.audio import float_to_pcm16
from pipeline.reading import ENDING_S
from pipeline.resampling import Resampler
from pipeline.seams import ClauseShaper
from pipeline.voicing import REPLY_HZ, silence
from server.encoding import CONTENT_TYPES, Format, encoder, wav_header

SLICE = 4_800
EXACT: dict[Format, bool] = {
    "mp3": False, "opus": False, "aac": False, "flac": True, "wav": True, "pcm": True
}  # fmt: skip
MOST_DELAY_S = 0.1
"""What a codec may add at both ends: MP3 1,105 samples and its last frame, AAC two frames."""
FORMATS = list(EXACT)


def speechlike(seconds: float) -> bytes:
    """A tone that swells, so that a shift would be seen."""
    time_s = np.arange(round(seconds * REPLY_HZ)) / REPLY_HZ
    tone = np.sin(2 * np.pi * 220 * time_s) * np.sin(np.pi * time_s / seconds)
    return (10_000 * tone).astype("<i2").tobytes()


def encoded(name: Format, pcm: bytes) -> list[bytes]:
    stream = encoder(name)
    pieces = [stream.feed(pcm[at : at + SLICE]) for at in range(0, len(pcm), SLICE)]
    return [*pieces, stream.finish()]


def decoded(name: Format, data: bytes, form: str = "s16") -> np.ndarray:
    """Samples at 24 kHz, as FFmpeg's decoders give them; as "flt" they may be over full scale."""
    if name == "pcm":
        samples = np.frombuffer(data, "<i2")
        return samples if form == "s16" else samples / np.float32(32_768)
    with av.open(io.BytesIO(data)) as container:
        resampler = av.AudioResampler(format=form, layout="mono", rate=REPLY_HZ)
        frames = [*container.decode(audio=0), None]
        return np.concatenate(
            [out.to_ndarray()[0] for frame in frames for out in resampler.resample(frame)]
        )


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("seconds", [0.3, 1.0, 7.3])
def test_all_of_it_is_there_and_can_be_read(name: Format, seconds: float) -> None:
    pcm = speechlike(seconds)
    samples = decoded(name, b"".join(encoded(name, pcm)))
    before = np.frombuffer(pcm, "<i2")
    if EXACT[name]:
        assert np.array_equal(samples, before)
    else:
        assert 0 <= len(samples) - len(before) < MOST_DELAY_S * REPLY_HZ


@pytest.mark.parametrize("name", FORMATS)
def test_it_sounds_the_same(name: Format) -> None:
    before = np.frombuffer(speechlike(2.0), "<i2").astype(float)
    after = decoded(name, b"".join(encoded(name, speechlike(2.0)))).astype(float)
    best = max(
        float(np.corrcoef(before, after[lag : lag + len(before)])[0, 1])
        for lag in range(len(after) - len(before) + 1)
    )
    assert best > 0.99


def assert_clean(name: Format, data: bytes) -> None:
    """No sample clips in a player, and in the last 50 ms it has faded to silence: below -54 dBFS,
    and below -60 in the last one."""
    samples = decoded(name, data, "flt")
    assert np.abs(samples).max() <= 1.0
    ending = samples[-REPLY_HZ // 20 :]
    assert np.sqrt(np.mean(np.square(ending))) < 0.002
    assert np.abs(ending[-24:]).max() < 0.001


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("clip", ["LJ001-0013.wav", "jfk.wav"])
def test_a_clause_in_any_format_has_a_clean_end_and_does_not_clip(name: Format, clip: str) -> None:
    with wave.open(str(Path(__file__).parents[1] / "speech" / clip)) as reader:
        spoken = np.frombuffer(reader.readframes(10**9), "<i2").astype(np.float32) / 32_768
        resampler = Resampler(reader.getframerate(), REPLY_HZ)
    shaper = ClauseShaper(REPLY_HZ)
    voice = np.concatenate((resampler.feed(spoken), resampler.flush()))
    shaped = np.concatenate((shaper.feed(voice), shaper.finish(), silence(ENDING_S)))
    assert_clean(name, b"".join(encoded(name, float_to_pcm16(shaped))))


@pytest.mark.parametrize("name", FORMATS)
def test_audio_leaves_soon_after_it_came(name: Format) -> None:
    pieces = encoded(name, speechlike(3.0))
    assert pieces[0]
    told = np.cumsum([len(piece) for piece in pieces])
    halfway = len(pieces) // 2
    assert told[halfway] > 0.3 * told[-1]
    longest_quiet = max(len(run) for run in "".join("x" if p else "." for p in pieces).split("x"))
    assert longest_quiet <= 3


@pytest.mark.parametrize("name", FORMATS)
def test_an_encoder_keeps_no_more_after_a_hundred_seconds_than_after_ten(name: Format) -> None:
    stream, second = encoder(name), speechlike(1.0)

    def feed(seconds: int) -> int:
        for _ in range(seconds):
            for at in range(0, len(second), SLICE):
                stream.feed(second[at : at + SLICE])
        return tracemalloc.get_traced_memory()[0]

    tracemalloc.start()
    try:
        early = feed(10)
        assert feed(90) - early < 100_000
    finally:
        tracemalloc.stop()
    stream.finish()


@pytest.mark.parametrize("name", FORMATS)
def test_nothing_encoded_is_no_failure(name: Format) -> None:
    assert isinstance(encoder(name).finish(), bytes)


def test_the_wave_module_reads_a_stream_and_a_whole() -> None:
    pcm = speechlike(0.5)
    streamed = b"".join(encoded("wav", pcm))
    for data in (streamed, wav_header(len(pcm)) + pcm):
        with wave.open(io.BytesIO(data)) as reader:
            assert (reader.getnchannels(), reader.getsampwidth()) == (1, 2)
            assert reader.getframerate() == REPLY_HZ
            assert reader.readframes(10**9) == pcm


def test_every_format_has_a_content_type() -> None:
    assert list(CONTENT_TYPES) == FORMATS
