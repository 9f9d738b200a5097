"""How many instances: one more when all wait, one less when they were never all needed."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from pipeline.sizing import GROW_AFTER_S, LATE_S, SHRINK_AFTER_S, Sizing


def test_one_more_when_everybody_has_waited_for_a_while() -> None:
    sizing = Sizing(1, 2)
    sizing.served(0.3, 10.0)
    assert sizing.wanted(1, 10.1) == 1
    sizing.served(0.4, 10.0 + GROW_AFTER_S)
    assert sizing.wanted(1, 10.0 + GROW_AFTER_S) == 2


def test_a_burst_that_drains_is_no_reason() -> None:
    sizing = Sizing(1, 2)
    sizing.served(0.9, 10.0)
    sizing.served(LATE_S / 2, 10.5)  # somebody was served at once: the queue does not stand
    sizing.served(0.9, 11.0)
    assert sizing.wanted(1, 11.0) == 1


def test_who_goes_before_it_is_due_says_nothing_about_the_others() -> None:
    sizing = Sizing(1, 2)
    sizing.served(0.3, 10.0)
    sizing.served(-4.0, 10.5)
    sizing.served(0.3, 11.0)
    assert sizing.wanted(1, 11.0) == 2
    sizing = Sizing(1, 2)
    sizing.served(-4.0, 10.0)
    assert sizing.wanted(1, 20.0) == 1


def test_a_queue_that_was_late_once_an_hour_ago_does_not_stand() -> None:
    sizing = Sizing(1, 2)
    sizing.served(0.15, 10.0)
    sizing.served(-1.0, 11.0)  # nobody says that the queue is gone: it is empty
    assert sizing.wanted(1, 3_610.0) == 1
    sizing.served(0.15, 3_610.0)
    assert sizing.wanted(1, 3_610.0) == 1


def test_one_who_alone_waited_that_long_is_a_reason() -> None:
    sizing = Sizing(1, 2)
    sizing.served(2 * GROW_AFTER_S, 10.0)
    assert sizing.wanted(1, 10.0) == 2


def test_never_more_than_the_most() -> None:
    sizing = Sizing(1, 2)
    sizing.served(0.5, 10.0)
    sizing.served(0.5, 20.0)
    assert sizing.wanted(2, 20.0) == 2


def test_one_less_when_for_a_minute_they_were_never_all_in_use() -> None:
    sizing = Sizing(1, 3)
    sizing.changed(0.0)
    sizing.seen(full=True, now=5.0)
    sizing.seen(full=False, now=30.0)
    assert sizing.wanted(3, 5.0 + SHRINK_AFTER_S - 1) == 3
    assert sizing.next_look(3) == 5.0 + SHRINK_AFTER_S
    assert sizing.wanted(3, 5.0 + SHRINK_AFTER_S) == 2
    sizing.changed(5.0 + SHRINK_AFTER_S)
    assert sizing.wanted(2, 6.0 + SHRINK_AFTER_S) == 2  # and the next only after another minute


def test_never_less_than_the_least() -> None:
    sizing = Sizing(2, 3)
    sizing.seen(full=True, now=0.0)
    assert sizing.wanted(2, 1e6) == 2
    assert sizing.next_look(2) is None


@given(
    st.lists(st.tuples(st.floats(0, 2), st.floats(0, 90), st.booleans()), max_size=60),
    st.integers(1, 3),
    st.integers(0, 3),
)
def test_the_number_moves_by_one_between_its_bounds_and_not_to_and_fro(
    steps: list[tuple[float, float, bool]], least: int, more: int
) -> None:
    sizing, count, now = Sizing(least, least + more), least, 0.0
    changes: list[tuple[float, int]] = []
    for waited_s, pause_s, full in steps:
        now += pause_s
        sizing.served(waited_s, now)
        sizing.seen(full=full, now=now)
        wanted = sizing.wanted(count, now)
        assert abs(wanted - count) <= 1
        assert least <= wanted <= least + more
        if wanted != count:
            changes.append((now, wanted - count))
            count = wanted
            sizing.changed(now)
    for (before, grew), (after, shrank) in pairwise(changes):
        if grew > 0 > shrank:
            assert after - before >= SHRINK_AFTER_S


def test_none_at_all_when_nobody_needed_any_for_long_enough() -> None:
    sizing = Sizing(2, 3, rest_after_s=600.0)
    assert sizing.next_look(2) is None
    sizing.seen(full=True, now=0.0)
    assert sizing.next_look(2) == 600.0
    sizing.seen(full=False, now=500.0)  # one of them was needed
    assert (sizing.wanted(2, 1_099.0), sizing.wanted(2, 1_100.0)) == (2, 0)
    assert sizing.wanted(3, 1_100.0) == 2  # one after the other
    assert sizing.next_look(0) is None
    sizing.changed(1_200.0)
    assert (sizing.next_look(2), sizing.wanted(2, 1_300.0)) == (1_800.0, 2)


def test_the_last_stay_unless_the_operator_says_so() -> None:
    sizing = Sizing(1, 1)
    sizing.seen(full=True, now=0.0)
    assert (sizing.wanted(1, 1e9), sizing.next_look(1)) == (1, None)
