"""When a listener hears what: the loudspeaker on paper."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.playback import Int16, Playback

RATE_HZ = 1_000


def tone(seconds: float) -> Int16:
    return np.full(round(seconds * RATE_HZ), 5_000, np.int16)


def quiet(seconds: float) -> Int16:
    return np.full(round(seconds * RATE_HZ), 20, np.int16)  # -64 dBFS


def test_playback_runs_from_the_first_frame_at_real_time() -> None:
    playback = Playback(RATE_HZ)
    playback.add(tone(1.0), now=10.0)
    playback.add(tone(1.0), now=10.1)
    assert playback.ends_at == pytest.approx(12.0)
    assert playback.played_ms(10.5) == 500
    assert playback.played_ms(99.0) == 2_000
    assert playback.stalls_s == []


def test_the_first_audible_sample_is_when_it_is_played_not_when_it_comes() -> None:
    playback = Playback(RATE_HZ)
    playback.add(quiet(0.3), now=10.0)
    assert playback.first_audible_at is None
    playback.add(np.concatenate((quiet(0.1), tone(0.1))), now=10.01)
    assert playback.first_audible_at == pytest.approx(10.4)


def test_a_frame_that_comes_too_late_is_a_stall() -> None:
    playback = Playback(RATE_HZ)
    playback.add(tone(0.5), now=10.0)
    playback.add(tone(0.5), now=10.7)
    assert playback.stalls_s == [pytest.approx(0.2)]
    assert playback.ends_at == pytest.approx(11.2)


def test_a_pause_holds_playback_and_is_no_stall() -> None:
    playback = Playback(RATE_HZ)
    playback.add(tone(1.0), now=10.0)
    playback.pause(10.4)
    assert playback.played_ms(15.0) == 400
    playback.resume(15.0)
    assert playback.ends_at == pytest.approx(15.6)
    playback.add(tone(1.0), now=15.5)
    assert playback.stalls_s == []


def test_what_is_flushed_is_never_played() -> None:
    playback = Playback(RATE_HZ)
    playback.add(tone(2.0), now=10.0)
    playback.flush(10.75)
    assert playback.played_ms(20.0) == 750
