"""Audio as arrays: PCM, frames, rates, the microphone's ring, levels and edges."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from pipeline.audio import (
    SILENCE_DBFS,
    AudioRing,
    FrameCutter,
    fade,
    float_to_pcm16,
    level_dbfs,
    pcm16_to_float,
)
from pipeline.engines.ports import Float32
from pipeline.errors import BadAudio

any_samples = arrays(
    np.float32, st.integers(0, 300), elements=st.floats(-1, 1, width=32, allow_subnormal=False)
)


def tone(hz: float, rate: int, seconds: float = 1.0) -> Float32:
    return np.sin(2 * np.pi * hz * np.arange(int(rate * seconds)) / rate).astype(np.float32)


def pcm(*values: float) -> list[int]:
    data = float_to_pcm16(np.array(values, np.float32))
    return [int.from_bytes(data[i : i + 2], "little", signed=True) for i in range(0, len(data), 2)]


# --- PCM ----------------------------------------------------------------------------------------


def test_pcm_is_little_endian_whatever_the_machine() -> None:
    assert pcm16_to_float(b"\x00\x40\x00\x80").tolist() == [0.5, -1.0]
    assert float_to_pcm16(np.array([0.5, -1.0], np.float32)) == b"\x00\x40\x00\x80"


@settings(deadline=None)
@given(arrays(np.dtype("<i2"), st.integers(0, 200)))
def test_pcm_survives_the_way_to_floats_and_back(samples: np.ndarray) -> None:
    data = samples.tobytes()
    assert float_to_pcm16(pcm16_to_float(data)) == data


def test_half_a_sample_is_bad_audio() -> None:
    with pytest.raises(BadAudio):
        pcm16_to_float(b"\x00\x00\x01")


def test_what_is_too_loud_is_clipped_and_never_wraps_round() -> None:
    assert pcm(1.0, 1.5, -1.5, np.inf, -np.inf) == [32767, 32767, -32768, 32767, -32768]


def test_a_sample_that_is_no_number_is_silent() -> None:
    assert pcm(np.nan, 0.25) == [0, 8192]


def test_halves_round_away_from_zero() -> None:
    lsb = 1 / 32768
    assert pcm(0.5 * lsb, -0.5 * lsb, 1.5 * lsb, 2.5 * lsb, -2.5 * lsb) == [1, -1, 2, 3, -3]
    assert pcm(float(np.nextafter(np.float32(0.5), np.float32(0))) * lsb) == [0]


# --- Frames -------------------------------------------------------------------------------------


@settings(deadline=None)
@given(st.integers(1, 50), st.lists(st.integers(0, 130), max_size=20))
def test_frames_hold_every_sample_in_order_however_it_came(size: int, chunks: list[int]) -> None:
    samples = np.arange(sum(chunks), dtype=np.float32)
    cutter, out, at = FrameCutter(size), [], 0
    for chunk in chunks:
        frames = cutter.feed(samples[at : at + chunk])
        at += chunk
        assert frames.shape == (frames.size // size, size)
        out.append(frames.reshape(-1))
        assert cutter.held_samples == at % size
    out.append(cutter.flush())
    assert np.concatenate(out).tolist() == samples.tolist()
    assert cutter.held_samples == 0


def test_frames_do_not_change_when_the_callers_buffer_is_used_again() -> None:
    cutter, buffer = FrameCutter(2), np.ones(3, np.float32)
    first = cutter.feed(buffer)
    buffer[:] = 7
    assert first.tolist() == [[1, 1]]
    assert cutter.flush().tolist() == [1]


def test_a_frame_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        FrameCutter(0)


# --- The microphone's ring ----------------------------------------------------------------------


@settings(deadline=None)
@given(
    st.integers(1, 40),
    st.lists(st.integers(0, 100), max_size=12),
    st.integers(-5, 500),
    st.integers(-5, 500),
)
def test_the_ring_gives_back_what_was_written_at_its_place(
    capacity: int, chunks: list[int], a: int, b: int
) -> None:
    written = np.arange(sum(chunks), dtype=np.float32) / np.float32(32768)
    ring, at = AudioRing(capacity), 0
    for chunk in chunks:
        ring.append(written[at : at + chunk])
        at += chunk
    assert (ring.start, ring.end) == (max(0, at - capacity), at)
    expected = written[max(a, ring.start) : max(b, 0)]
    assert ring.read(a, b).tolist() == expected.tolist()


def test_what_was_read_from_the_ring_is_a_copy() -> None:
    ring = AudioRing(4)
    ring.append(np.full(4, 0.5, np.float32))
    read = ring.read(0, 4)
    ring.append(np.zeros(4, np.float32))
    assert read.tolist() == [0.5] * 4


@settings(deadline=None)
@given(any_samples)
def test_the_ring_keeps_sound_to_within_half_a_step_of_16_bits(samples: Float32) -> None:
    ring = AudioRing(300)
    ring.append(samples)
    quiet = np.minimum(samples, 32767 / 32768)
    assert np.abs(ring.read(0, 300) - quiet).max(initial=0) <= 0.5 / 32768


def test_a_ring_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one sample"):
        AudioRing(0)


# --- Level and edges ----------------------------------------------------------------------------


def test_the_level_of_a_full_scale_sine_is_3_db_below_that_of_full_scale() -> None:
    assert level_dbfs(np.ones(100, np.float32)) == pytest.approx(0.0)
    assert level_dbfs(tone(1000, 16_000)) == pytest.approx(-3.01, abs=0.01)
    assert level_dbfs(0.1 * tone(1000, 16_000)) == pytest.approx(-23.01, abs=0.01)


def test_the_level_of_silence_is_a_number() -> None:
    assert level_dbfs(np.zeros(100, np.float32)) == SILENCE_DBFS
    assert level_dbfs(np.zeros(0, np.float32)) == SILENCE_DBFS
    assert level_dbfs(np.full(100, 1e-9, np.float32)) == SILENCE_DBFS


def test_a_fade_rises_and_falls_and_leaves_the_middle_alone() -> None:
    samples = np.ones(1000, np.float32)
    faded = fade(samples, in_ms=10, out_ms=20, rate=10_000)
    assert (np.diff(faded[:100]) > 0).all()
    assert (np.diff(faded[800:]) < 0).all()
    assert (faded[100:800] == 1).all()
    assert faded[0] < 0.001
    assert faded[-1] < 0.001
    assert faded[50] == pytest.approx(0.5, abs=0.02)
    assert (samples == 1).all()


@settings(deadline=None)
@given(any_samples, st.floats(0, 50), st.floats(0, 50))
def test_a_fade_never_makes_louder(samples: Float32, in_ms: float, out_ms: float) -> None:
    faded = fade(samples, in_ms, out_ms, 16_000)
    assert faded.shape == samples.shape
    assert (np.abs(faded) <= np.abs(samples)).all()
