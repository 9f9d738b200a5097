"""What one session may spend."""

from __future__ import annotations

import pytest

from session import limits
from session.limits import (
    AUDIO_CREDIT_S,
    AUDIO_FORGIVEN_S,
    AUDIO_PATIENCE_S,
    AudioCredit,
    Flood,
    Window,
)


def test_real_time_audio_never_runs_out_of_credit() -> None:
    credit = AudioCredit(0.0)
    assert all(credit.take(0.02, 10.0, frame * 0.02) for frame in range(100_000))


def test_a_burst_of_ten_seconds_is_taken_and_no_more() -> None:
    credit = AudioCredit(0.0)
    assert sum(credit.take(1.0, 10.0, 0.0) for _ in range(20)) == 10
    assert credit.dropped_s == 10.0


def test_credit_comes_back_at_real_time() -> None:
    credit = AudioCredit(0.0)
    for _ in range(10):
        credit.take(1.0, 10.0, 0.0)
    assert not credit.take(1.0, 10.0, 0.5)
    assert credit.take(1.0, 10.0, 1.6)


def test_what_was_dropped_is_forgiven_after_a_while_without_a_drop() -> None:
    credit = AudioCredit(0.0)
    for _ in range(15):
        credit.take(1.0, 10.0, 0.0)
    assert credit.dropped_s == 5.0
    assert credit.take(1.0, 10.0, AUDIO_FORGIVEN_S - 0.1)
    assert credit.dropped_s == 5.0
    assert credit.take(1.0, 10.0, AUDIO_FORGIVEN_S)
    assert credit.dropped_s == 0.0


@pytest.mark.parametrize("pace", [1.05, 1.5, 1.95, 4.0])
def test_audio_that_stays_too_fast_uses_up_the_patience(pace: float) -> None:
    credit = AudioCredit(0.0)
    sent_s = 0.0
    while credit.dropped_s <= AUDIO_PATIENCE_S:
        credit.take(0.02, AUDIO_CREDIT_S, sent_s / pace)
        sent_s += 0.02
        assert sent_s < 3_600
    # The credit, the patience, and what real time took.
    assert sent_s * (1 - 1 / pace) == pytest.approx(AUDIO_CREDIT_S + AUDIO_PATIENCE_S, abs=0.1)


def test_a_microphone_whose_clock_is_a_little_fast_is_never_out_of_patience() -> None:
    credit = AudioCredit(0.0)
    credit.take(AUDIO_CREDIT_S, AUDIO_CREDIT_S, 0.0)  # after a stall, say
    for frame in range(500_000):
        credit.take(0.02, AUDIO_CREDIT_S, frame * 0.02 / 1.001)
        assert credit.dropped_s < 0.1


def test_json_is_too_deep_past_its_bound_however_deep_it_is() -> None:
    objects: object = {}
    lists: object = []
    for depth in range(1, 3_000):
        assert limits.is_too_deep(objects) == (depth > limits.MOST_DEPTH)
        assert limits.is_too_deep([1, lists]) == (depth >= limits.MOST_DEPTH)
        objects, lists = {"a": 1, "b": objects}, [lists]
    assert not limits.is_too_deep(None)


def test_a_window_tells_the_nth_within_its_time() -> None:
    window = Window(3, 10.0)
    assert [window.hit(t) for t in (0.0, 1.0, 2.0)] == [False, False, True]
    window = Window(3, 10.0)
    assert [window.hit(t) for t in (0.0, 6.0, 12.0, 15.0, 30.0)] == [
        False, False, False, True, False,
    ]  # fmt: skip


@pytest.mark.parametrize("start", [0.0, 0.7, 12_345.9])
def test_a_flood_is_known_within_its_time_and_a_slower_stream_never_is(start: float) -> None:
    flood = Flood(5_000, 2.0)
    first = next(n for n in range(15_001) if flood.hit(start + n / 5_010))
    assert first <= 15_000  # two half windows, the first of which it may have come in the middle of
    calm = Flood(5_000, 2.0)
    assert not any(calm.hit(start + n / 4_990) for n in range(50_000))


def test_a_burst_as_large_as_a_whole_window_is_a_flood_and_a_rest_ends_it() -> None:
    flood = Flood(5_000, 2.0)
    assert [flood.hit(0.0) for _ in range(10_000)].index(True) == 9_999
    assert flood.hit(1.5)
    assert not flood.hit(3.5)
