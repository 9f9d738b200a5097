"""Long audio in windows: where it is cut, and that nothing said is left out."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engines.ports import SPEECH_HZ, Float32
from pipeline.windows import MOST_S, PAD_S, Window, WindowCutter, halves

FRAME = 512
FRAME_S = FRAME / SPEECH_HZ
SPEECH, SILENCE = 0.9, 0.01


def recording(*seconds: float) -> tuple[Float32, Float32]:
    """Frames and probabilities of by turns speech and silence; every sample is its own number."""
    probabilities = [
        SILENCE if number % 2 else SPEECH
        for number, length in enumerate(seconds)
        for _ in range(round(length / FRAME_S))
    ]
    samples = np.arange(len(probabilities) * FRAME, dtype=np.float32)
    return samples.reshape(-1, FRAME), np.array(probabilities, np.float32)


def cut(frames: Float32, probabilities: Float32, wanted_s: float = 10.0) -> list[Window]:
    cutter = WindowCutter(wanted_s)
    return [*cutter.feed(frames, probabilities), *cutter.flush()]


def lengths(windows: list[Window]) -> list[float]:
    return [window.seconds for window in windows]


def near(*seconds: float) -> object:
    return pytest.approx(list(seconds), abs=3 * FRAME_S)


def test_a_short_recording_is_one_window() -> None:
    assert lengths(cut(*recording(4))) == near(4)


def test_silence_around_speech_is_left_out_but_for_a_little() -> None:
    (window,) = cut(*recording(0, 60, 3, 60))
    assert window.seconds == pytest.approx(3 + 2 * PAD_S, abs=3 * FRAME_S)
    assert window.start / SPEECH_HZ == pytest.approx(60 - PAD_S, abs=2 * FRAME_S)


def test_an_hour_of_silence_is_no_window() -> None:
    assert cut(*recording(0, 3_600)) == []


def test_a_short_pause_does_not_end_a_short_window() -> None:
    assert len(cut(*recording(3, 0.5, 3))) == 1


def test_a_long_window_ends_in_the_middle_of_the_next_pause() -> None:
    assert lengths(cut(*recording(11, 0.5, 5))) == near(11.15, 5.35)


def test_a_long_pause_ends_any_window() -> None:
    assert lengths(cut(*recording(1, 5, 1))) == near(1 + PAD_S, PAD_S + 1)


def test_who_never_stops_is_cut_where_there_was_a_pause() -> None:
    first, second = cut(*recording(18, 0.2, 20))
    assert first.seconds == pytest.approx(18.1, abs=3 * FRAME_S)
    assert second.seconds == pytest.approx(20.1, abs=3 * FRAME_S)


def test_without_any_pause_the_cut_is_where_it_is_quietest() -> None:
    frames, probabilities = recording(40)
    frames = np.ones_like(frames)
    quiet = round(20 / FRAME_S)
    frames[quiet : quiet + 5] = 0.01
    first = cut(frames, probabilities)[0]
    assert first.end // FRAME == pytest.approx(quiet + 2, abs=1)


def test_a_window_knows_where_somebody_speaks() -> None:
    (window,) = cut(*recording(0, 3, 2, 1, 2, 3))
    spoken = [(a / SPEECH_HZ, b / SPEECH_HZ) for a, b in window.voiced]
    assert [time for span in spoken for time in span] == near(3, 5, 6, 8)


SPANS = st.lists(st.floats(0.0, 35.0), max_size=6)


@settings(deadline=None)
@given(SPANS, st.sampled_from([5.0, 10.0, 20.0]), st.integers(1, 2_000))
def test_everything_spoken_is_in_exactly_one_window(
    seconds: list[float], wanted_s: float, at_once: int
) -> None:
    frames, probabilities = recording(*seconds)
    cutter = WindowCutter(wanted_s)
    windows = []
    for start in range(0, len(frames), at_once):
        piece = slice(start, start + at_once)
        windows += cutter.feed(frames[piece], probabilities[piece])
    windows += cutter.flush()
    found = np.concatenate([window.audio for window in windows] or [np.zeros(0, np.float32)])
    assert (np.diff(found) > 0).all()  # in order, nothing twice
    spoken = frames[probabilities == np.float32(SPEECH)].reshape(-1)
    assert np.isin(spoken, found).all()
    for window in windows:
        assert window.seconds <= MOST_S
        assert window.voiced
        if window.start < 2**24:  # float32 counts so far
            assert window.audio[0] == window.start


@settings(deadline=None)
@given(st.floats(4.0, 25.0), st.integers(0, 9))
def test_halves_are_the_whole(seconds: float, seed: int) -> None:
    (window,) = cut(*recording(seconds))
    noise = np.random.default_rng(seed).uniform(-1, 1, len(window.audio)).astype(np.float32)
    whole = Window(100, noise, ((100, 100 + len(noise)),))
    first, second = halves(whole)
    np.testing.assert_array_equal(np.concatenate((first.audio, second.audio)), noise)
    assert (first.start, first.end, second.end) == (whole.start, second.start, whole.end)
    assert min(first.seconds, second.seconds) >= seconds / 5
    assert [*first.voiced, *second.voiced] == [(100, first.end), (first.end, whole.end)]
