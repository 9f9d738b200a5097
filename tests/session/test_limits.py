"""What one session may spend."""

from __future__ import annotations

from session.limits import AudioCredit, Window


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


def test_what_was_dropped_is_forgiven_with_time() -> None:
    credit = AudioCredit(0.0)
    for _ in range(15):
        credit.take(1.0, 10.0, 0.0)
    assert credit.dropped_s == 5.0
    credit.take(0.02, 10.0, 3.0)
    assert credit.dropped_s == 2.0


def test_a_window_tells_the_nth_within_its_time() -> None:
    window = Window(3, 10.0)
    assert [window.hit(t) for t in (0.0, 1.0, 2.0)] == [False, False, True]
    window = Window(3, 10.0)
    assert [window.hit(t) for t in (0.0, 6.0, 12.0, 15.0, 30.0)] == [
        False, False, False, True, False,
    ]  # fmt: skip
