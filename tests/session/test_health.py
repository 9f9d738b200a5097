"""What is stuck, and what only takes its time."""

from __future__ import annotations

from session.health import Progress


def test_what_gets_on_is_never_stuck_however_long_it_takes() -> None:
    progress = Progress(60.0)
    for minute in range(100):
        progress.note(("reply", minute), 59.0 * minute)
        assert not progress.stuck(59.0 * minute + 58.0)


def test_what_does_not_get_on_is_stuck_after_the_patience() -> None:
    progress = Progress(60.0)
    progress.note("reply", 10.0)
    progress.note("reply", 50.0)
    assert progress.due == 70.0
    assert not progress.stuck(69.9)
    assert progress.stuck(70.0)


def test_where_nothing_is_under_way_nothing_is_stuck() -> None:
    progress = Progress(60.0)
    progress.note("reply", 10.0)
    progress.note(None, 20.0)
    assert progress.due is None
    assert not progress.stuck(1e6)
    progress.note("reply", 1e6)
    assert not progress.stuck(1e6 + 59.0)
