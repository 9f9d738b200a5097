"""Files of strangers, decoded: whole, damaged, hostile."""

from __future__ import annotations

import io
from contextlib import suppress
from itertools import count
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import decoding
from pipeline.decoding import Decoder
from pipeline.engines.ports import SPEECH_HZ, Float32
from pipeline.errors import BadAudio, TooMuchAudio
from tests.recordings import encoded, tone, wav

HOUR_S = 3_600.0


def decoded(data: bytes, most_s: float = HOUR_S, piece: int = SPEECH_HZ) -> Float32:
    decoder = Decoder(io.BytesIO(data), most_s)
    try:
        pieces = []
        while len(samples := decoder.read(piece)):
            pieces.append(samples)
        return np.concatenate(pieces)
    finally:
        decoder.close()


def peak(samples: Float32) -> float:
    return float(np.abs(samples).max())


@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize("rate_hz", [8_000, 16_000, 44_100, 48_000])
def test_a_wav_file_is_heard_to_the_sample(rate_hz: int, channels: int) -> None:
    samples = decoded(wav(tone(1.0, rate_hz), rate_hz, channels))
    assert len(samples) == SPEECH_HZ
    assert np.corrcoef(samples, tone(1.0))[0, 1] > 0.99
    assert peak(samples) == pytest.approx(0.3, abs=0.01)


FORMATS = [
    ("mp3", "libmp3lame"),
    ("ogg", "libopus"),
    ("webm", "libopus"),
    ("mp4", "aac"),
    ("adts", "aac"),
    ("flac", "flac"),
    ("mpegts", "aac"),
    ("matroska", "pcm_s24le"),
    ("aiff", "pcm_s16be"),
]


@pytest.mark.parametrize(("form", "codec"), FORMATS)
def test_every_usual_format_is_decoded(form: str, codec: str) -> None:
    data = encoded(form, codec, tone(3.0, 48_000))
    samples = decoded(data)
    assert len(samples) / SPEECH_HZ == pytest.approx(3.0, abs=0.06)  # a codec's own delay
    assert peak(samples) == pytest.approx(0.3, abs=0.05)


@pytest.mark.parametrize("kind", ["u8", "s16le", "s24le", "s32le", "f32le", "f64le"])
def test_every_kind_of_sample_is_as_loud(kind: str) -> None:
    samples = decoded(encoded("wav", f"pcm_{kind}", tone(1, 48_000)))
    assert abs(float(samples.mean())) < 0.005
    assert peak(samples) == pytest.approx(0.3, abs=0.02)


def test_a_kind_of_sample_that_nobody_records_with_is_refused() -> None:
    with pytest.raises(BadAudio):
        decoded(encoded("nut", "pcm_s64le", tone(1, 48_000)))


@pytest.mark.parametrize(("form", "codec"), [each for each in FORMATS if each[0] != "mp4"])
def test_of_a_file_cut_short_all_that_is_there_is_heard(form: str, codec: str) -> None:
    data = encoded(form, codec, tone(3.0, 48_000))
    assert 1.5 < len(decoded(data[: len(data) * 2 // 3])) / SPEECH_HZ < 2.2


@pytest.mark.parametrize("form", ["mp3", "adts", "flac"])
def test_what_is_damaged_does_not_take_the_rest_with_it(form: str) -> None:
    codec = dict(FORMATS)[form]
    data = bytearray(encoded(form, codec, tone(3.0, 48_000)))
    middle = len(data) // 2
    data[middle : middle + 2_000] = np.random.default_rng(1).bytes(2_000)
    assert 2.5 < len(decoded(bytes(data))) / SPEECH_HZ < 3.2


@pytest.mark.parametrize("form", ["mp4", "matroska"])
def test_of_a_film_the_sound_is_heard(form: str) -> None:
    samples = decoded(encoded(form, "aac", tone(3.0, 48_000), pictures=True))
    assert len(samples) / SPEECH_HZ == pytest.approx(3.0, abs=0.06)


PAGE = Path(__file__).parents[2] / "docs" / "images" / "page.png"
NOT_AUDIO = {
    "empty": b"",
    "text": b"These are words already. " * 1_000,
    "zeros": bytes(100_000),
    "a header alone": wav(tone(1))[:44],
    "half a header": wav(tone(1))[:20],
    "a film's index that is missing": encoded("mp4", "aac", tone(3, 48_000))[:30_000],
    "a picture": PAGE.read_bytes(),
}


@pytest.mark.parametrize("data", NOT_AUDIO.values(), ids=NOT_AUDIO)
def test_what_is_no_audio_is_said_to_be_none(data: bytes) -> None:
    with pytest.raises(BadAudio):
        decoded(data)


@given(st.binary(max_size=2_000))
def test_rubbish_is_refused_in_our_own_words(data: bytes) -> None:
    for start in (b"", b"RIFF\xff\xff\xff\xffWAVE", b"OggS", b"fLaC", b"ID3\x04", b"\x1aE\xdf\xa3"):
        with suppress(BadAudio, TooMuchAudio):
            decoded(start + data, most_s=60)


@pytest.mark.parametrize(
    "list_of_files",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n{path}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile '{path}'\n",
        "ffconcat version 1.0\nfile '{name}'\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=audio 9 RTP/AVP 0\n",
    ],
)
def test_a_list_of_other_files_leads_nowhere(
    list_of_files: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wav(tone(2)))
    monkeypatch.chdir(tmp_path)
    with pytest.raises(BadAudio):
        decoded(list_of_files.format(path=secret, name=secret.name).encode())


def test_a_file_too_long_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(TooMuchAudio, match="1 minutes"):
        Decoder(io.BytesIO(wav(tone(61))), 60)


def test_what_a_file_says_of_its_length_is_not_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Decoder, "_scan", lambda self: 0.0)
    decoder = Decoder(io.BytesIO(wav(tone(3))), 2)
    assert len(decoder.read(SPEECH_HZ))
    with pytest.raises(TooMuchAudio):
        decoder.read(2 * SPEECH_HZ)
    decoder.close()


def test_a_small_file_that_would_grow_to_hours_is_refused() -> None:
    # 100 kB of one sample a second: 14 hours.
    with pytest.raises(TooMuchAudio):
        decoded(wav(silence_of_a_slow_clock(50_000), rate_hz=1))
    with pytest.raises(BadAudio, match="1 Hz"):
        decoded(wav(silence_of_a_slow_clock(50), rate_hz=1))
    with pytest.raises(BadAudio, match="64 channels"):
        decoded(wav(tone(0.1), channels=64))


def silence_of_a_slow_clock(samples: int) -> Float32:
    return np.zeros(samples, np.float32)


def test_hours_of_silence_in_a_few_kilobytes_are_refused_at_the_limit() -> None:
    data = encoded("flac", "flac", np.zeros(48_000 * 120, np.float32))
    assert len(data) < 30_000
    with pytest.raises(TooMuchAudio):
        decoded(data, most_s=60)


def test_a_file_that_costs_too_much_time_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = count(step=decoding.PATIENCE_S + 1)
    with pytest.raises(BadAudio, match="too long"):
        Decoder(io.BytesIO(wav(tone(1))), HOUR_S, clock=lambda: next(ticks))


def test_samples_that_are_no_numbers_are_silent() -> None:
    sound = tone(1.0, 48_000)
    sound[1_000:2_000] = np.nan
    sound[3_000] = np.inf
    samples = decoded(encoded("matroska", "pcm_f32le", sound))
    assert np.isfinite(samples).all()
    assert peak(samples) <= 1.5  # the filter's own overshoot


def test_it_is_decoded_no_further_than_it_is_read() -> None:
    file = io.BytesIO(wav(tone(60)))
    decoder = Decoder(file, HOUR_S)
    assert SPEECH_HZ <= len(decoder.read(SPEECH_HZ)) < 2 * SPEECH_HZ
    assert file.tell() < 1_000_000 < len(file.getvalue())
    decoder.close()


def test_the_file_is_left_open(tmp_path: Path) -> None:
    path = tmp_path / "clip.wav"
    path.write_bytes(wav(tone(1)))
    with path.open("rb") as file:
        Decoder(file, HOUR_S).close()
        assert not file.closed
