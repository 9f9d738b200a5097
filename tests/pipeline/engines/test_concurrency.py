"""A backend's limit, learned from its time to first token; the backends here are arithmetic."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.concurrency import COMFORT_S, FIRST_LIMIT, AdaptiveLimit


def round_of(limit: AdaptiveLimit, now: float, ttft_s: float, room: int) -> float:
    """As many calls at once as the limit allows; past `room` of them each has to wait longer."""
    crowd = limit.limit
    took = ttft_s * max(1.0, crowd / room)
    for _ in range(crowd):
        limit.first_token(now, now + took, crowd)
    return now + took


def settled(limit: AdaptiveLimit, ttft_s: float, room: int, rounds: int = 300) -> list[int]:
    """The limits it takes on in the end."""
    now, seen = 0.0, []
    for _ in range(rounds):
        now = round_of(limit, now, ttft_s, room)
        seen.append(limit.limit)
    return seen[rounds // 2 :]


def test_it_begins_small_and_grows_while_first_tokens_come_in_time() -> None:
    limit = AdaptiveLimit(64)
    assert limit.limit == FIRST_LIMIT
    now = 0.0
    for _ in range(6):
        now = round_of(limit, now, 0.1, room=1_000)
    assert limit.limit == 64


def test_it_never_passes_its_slots_nor_falls_below_one() -> None:
    limit = AdaptiveLimit(4)
    assert limit.limit == 4
    for at in range(100):
        limit.first_token(at, at + 0.1, crowd=4)
    assert limit.limit == 4
    for at in range(100, 200):
        limit.missed(at, at + 0.5)
    assert limit.limit == 1


@pytest.mark.parametrize("room", [3, 10, 25])
def test_it_settles_about_where_first_tokens_take_twice_as_long(room: int) -> None:
    limits = settled(AdaptiveLimit(200), ttft_s=0.4, room=room)
    assert 0.7 * 2 * room <= min(limits)
    assert max(limits) <= 2.5 * room


def test_a_quick_backend_is_not_held_back_for_being_twice_as_slow() -> None:
    limit = AdaptiveLimit(32)
    limits = settled(limit, ttft_s=COMFORT_S / 10, room=8)
    assert min(limits) == 32  # four times as slow, and still comfortable


def test_a_limit_that_nobody_comes_near_does_not_grow() -> None:
    limit = AdaptiveLimit(64)
    for at in range(100):
        limit.first_token(at, at + 0.1, crowd=1)
    assert limit.limit == FIRST_LIMIT


def test_one_crowd_that_was_late_counts_once() -> None:
    limit = AdaptiveLimit(10)
    limit.first_token(0.0, 0.2, crowd=1)
    before = limit.limit
    for at in range(8):
        limit.missed(began=1.0, now=6.0 + at / 100)
    assert limit.limit == before // 2


def test_a_backend_that_has_room_again_is_used_again() -> None:
    limit = AdaptiveLimit(40)
    crowded = settled(limit, ttft_s=0.4, room=4)
    assert max(crowded) <= 10
    free = settled(limit, ttft_s=0.1, room=100)
    assert free[-1] == 40


@given(
    st.lists(
        st.tuples(st.booleans(), st.floats(0, 30), st.integers(1, 50)), min_size=1, max_size=200
    ),
    st.integers(1, 50),
)
def test_whatever_happens_it_stays_in_its_bounds(
    calls: list[tuple[bool, float, int]], most: int
) -> None:
    limit, now = AdaptiveLimit(most), 0.0
    for came, took, crowd in calls:
        if came:
            limit.first_token(now, now + took, crowd)
        else:
            limit.missed(now, now + took)
        now += took
        assert 1 <= limit.limit <= most
