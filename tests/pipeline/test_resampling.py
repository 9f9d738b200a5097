"""Changes of rate: true to the sound, to its place in time, and to its length."""

from __future__ import annotations

import numpy as np
import pytest

from pipeline.audio import level_dbfs, pcm16_to_float
from pipeline.engines.ports import Float32
from pipeline.resampling import Resampler
from tests.pipeline.test_audio import tone

USUAL_RATES = [(48_000, 16_000), (44_100, 16_000), (8_000, 16_000), (24_000, 16_000)]
ODD_RATES = [(47_999, 16_000), (11_025, 16_000)]
OTHER_WAYS = [(24_000, 48_000), (24_000, 8_000)]
ALL_RATES = USUAL_RATES + ODD_RATES + OTHER_WAYS


def resample(samples: Float32, rates: tuple[int, int], chunk: int) -> Float32:
    resampler = Resampler(*rates)
    out = [resampler.feed(samples[i : i + chunk]) for i in range(0, len(samples), chunk)]
    return np.concatenate([*out, resampler.flush()])


@pytest.mark.parametrize("rates", ALL_RATES)
def test_a_sine_keeps_its_pitch_its_level_and_its_place_in_time(rates: tuple[int, int]) -> None:
    out = resample(tone(1000, rates[0]), rates, rates[0] // 50)
    inside = slice(rates[1] // 20, -rates[1] // 20)
    assert np.abs(out - tone(1000, rates[1]))[inside].max() < 1e-3


@pytest.mark.parametrize("rates", USUAL_RATES + OTHER_WAYS)
def test_the_speech_band_passes_unchanged(rates: tuple[int, int]) -> None:
    hz = 0.8 * min(rates) / 2
    out = resample(tone(hz, rates[0]), rates, rates[0] // 50)[rates[1] // 20 : -rates[1] // 20]
    assert level_dbfs(out) == pytest.approx(level_dbfs(tone(hz, rates[0])), abs=0.05)


@pytest.mark.parametrize("above", [1.02, 1.2, 1.4])
@pytest.mark.parametrize("rates", [r for r in ALL_RATES if r[0] > 1.45 * r[1]])
def test_what_the_new_rate_cannot_hold_is_60_db_down(rates: tuple[int, int], above: float) -> None:
    out = resample(tone(above * rates[1] / 2, rates[0]), rates, rates[0] // 50)
    assert level_dbfs(out[rates[1] // 20 : -rates[1] // 20]) < level_dbfs(tone(1000, 8000)) - 60


@pytest.mark.parametrize("rates", [r for r in ALL_RATES if r[0] < r[1]])
def test_a_higher_rate_brings_no_mirror_of_the_sound(rates: tuple[int, int]) -> None:
    out = resample(tone(0.75 * rates[0] / 2, rates[0]), rates, rates[0] // 50).astype(np.float64)
    spectrum = np.abs(np.fft.rfft(out * np.blackman(len(out))))
    mirror = spectrum[int(1.01 * len(spectrum) * rates[0] / rates[1]) :]
    assert mirror.max() < spectrum.max() / 1000


@pytest.mark.parametrize("rates", ALL_RATES)
@pytest.mark.parametrize("chunk", [1, 7, 441, 960, 100_000])
def test_the_size_of_the_chunks_does_not_matter(rates: tuple[int, int], chunk: int) -> None:
    noise = np.random.default_rng(1).uniform(-1, 1, 3000).astype(np.float32)
    assert np.allclose(resample(noise, rates, chunk), resample(noise, rates, 160), atol=1e-5)


@pytest.mark.parametrize("rates", ALL_RATES)
@pytest.mark.parametrize("count", [1, 2, 100, 12_345])
def test_no_sample_is_lost_or_added(rates: tuple[int, int], count: int) -> None:
    out = resample(np.ones(count, np.float32), rates, 960)
    assert len(out) == -(-count * rates[1] // rates[0])


@pytest.mark.parametrize("rates", ALL_RATES)
def test_a_sample_waits_no_longer_than_the_stated_latency(rates: tuple[int, int]) -> None:
    resampler = Resampler(*rates)
    given_ = 0
    for taken in range(1, 3001):
        given_ += len(resampler.feed(np.zeros(1, np.float32)))
        waiting_ms = 1000 * (taken / rates[0] - given_ / rates[1])
        assert waiting_ms <= resampler.latency_ms + 1000 / rates[1]
    assert resampler.latency_ms < 13


@pytest.mark.parametrize("rates", [(48_000, 16_000), (47_999, 16_000)])
def test_after_a_flush_a_new_stream_begins_with_nothing_of_the_old(rates: tuple[int, int]) -> None:
    resampler = Resampler(*rates)
    resampler.feed(np.ones(5000, np.float32))
    resampler.flush()
    assert resampler.flush().size == 0
    silence = np.concatenate([resampler.feed(np.zeros(5000, np.float32)), resampler.flush()])
    assert not silence.any()


@pytest.mark.parametrize("rates", [(48_000, 16_000), (47_999, 16_000)])
def test_an_empty_chunk_changes_nothing(rates: tuple[int, int]) -> None:
    resampler, noise = Resampler(*rates), pcm16_to_float(bytes(range(256)) * 40)
    out = [resampler.feed(noise[:0]), resampler.feed(noise), resampler.feed(noise[:0])]
    assert np.allclose(np.concatenate([*out, resampler.flush()]), resample(noise, rates, 960))


def test_equal_rates_pass_through_without_a_copy() -> None:
    resampler, samples = Resampler(16_000, 16_000), np.ones(320, np.float32)
    assert resampler.feed(samples) is samples
    assert resampler.flush().size == 0
    assert resampler.latency_ms == 0


def test_a_rate_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1 Hz"):
        Resampler(0, 16_000)
