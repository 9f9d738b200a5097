"""What is left off under load, in virtual time."""

from __future__ import annotations

import heapq
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.scheduling import Purpose, Queue, Request
from session.shedding import ENTERED_AT, FALL_S, RISE_S, Level, Sample, Shedding

CALM = Sample(0.002, 0.0)
EVERY_S = 0.5


def levels(shedding: Shedding, sample: Sample, seconds: float, begin: float = 0.0) -> list[Level]:
    """The level after each of the samples, which come every half second."""
    count = round(seconds / EVERY_S) + 1
    return [shedding.note(sample, begin + number * EVERY_S) for number in range(count)]


@pytest.mark.parametrize("level", ENTERED_AT)
@pytest.mark.parametrize("which", ["lag_s", "late_s"])
def test_a_load_that_stays_leads_to_its_level_and_no_further(level: Level, which: str) -> None:
    at = ENTERED_AT[level]
    sample = Sample(at.lag_s, 0.0) if which == "lag_s" else Sample(0.0, at.late_s)
    assert levels(Shedding(), sample, 60.0)[-1] is level


def test_what_a_listener_misses_least_goes_first_one_thing_at_a_time() -> None:
    worst = Sample(2.0, 20.0)
    seen = levels(Shedding(), worst, 10.0)
    assert list(dict.fromkeys(seen)) == list(Level)
    assert seen[round(RISE_S / EVERY_S)] is Level.SPECULATION


def test_a_burst_sheds_nothing() -> None:
    shedding = Shedding()
    for number in range(100):
        sample = Sample(1.0, 9.0) if number % 4 else CALM  # 1.5 s of it, and a calm moment
        assert shedding.note(sample, number * EVERY_S) is Level.NOTHING


def test_when_it_is_calm_again_all_comes_back_slowly() -> None:
    shedding = Shedding()
    levels(shedding, Sample(2.0, 20.0), 10.0)
    seen = levels(shedding, CALM, 4 * FALL_S, begin=11.0)
    assert list(dict.fromkeys(seen)) == list(reversed(Level))
    assert seen[round(FALL_S / EVERY_S) - 1] is Level.NEWCOMERS


def test_one_bad_moment_keeps_a_level_for_another_while() -> None:
    shedding = Shedding()
    levels(shedding, Sample(0.05, 0.0), 3.0)
    levels(shedding, CALM, FALL_S - EVERY_S, begin=4.0)
    shedding.note(Sample(0.05, 0.0), 14.0)
    assert levels(shedding, CALM, FALL_S - EVERY_S, begin=14.5)[-1] is Level.SPECULATION


@given(st.floats(0, 1), st.floats(0, 10), st.sampled_from(Level))
def test_under_a_load_that_does_not_change_the_level_settles(
    lag_s: float, late_s: float, begun_at: Level
) -> None:
    shedding = Shedding()
    shedding.level = begun_at
    seen = levels(shedding, Sample(lag_s, late_s), 120.0)
    assert len(set(seen[-100:])) == 1
    assert sorted(seen) in (seen, seen[::-1])  # and it goes one way only


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 10)), max_size=200))
def test_the_level_moves_by_one_and_not_more_often_than_it_may(
    load: list[tuple[float, float]],
) -> None:
    shedding = Shedding()
    changes = [0.0]
    before = shedding.level
    for number, (lag_s, late_s) in enumerate(load):
        now = shedding.note(Sample(lag_s, late_s), number * EVERY_S)
        assert abs(now - before) <= 1
        if now != before:
            changes.append(number * EVERY_S)
        before = now
    assert all(b - a >= RISE_S for a, b in pairwise(changes))


# --- at how many users ----------------------------------------------------------------------------


def most_shed(users: int, work_s: float, seconds: float = 3_600.0) -> Level:
    """The highest level that so many people reach at one voice, in virtual time.

    Each asks for a first clause and, one after the other, three later ones; then it listens and
    speaks, some 12 s in all. A clause of 2 s of audio takes the voice `work_s`.
    """
    chance, queue, shedding = random.Random(1), Queue(), Shedding()
    asks = [(12 * chance.random(), user, 0, 0.0) for user in range(users)]
    heapq.heapify(asks)
    free_at, late_s, highest, at_voice = 0.0, [float("inf")], Level.NOTHING, None
    clauses: dict[str, tuple[int, float]] = {}
    for tick in range(round(seconds / 0.01)):
        now = tick * 0.01
        while asks and asks[0][0] <= now:
            _, user, clause, dry_at = heapq.heappop(asks)
            clauses[str(user)] = (clause, dry_at)
            purpose = Purpose.LATER_CLAUSE if clause else Purpose.FIRST_CLAUSE
            queue.add(Request(str(user), purpose, dry_at if clause else None), now)
        if at_voice is not None and now >= free_at:
            queue.left(at_voice, now)
            clause, dry_at = clauses[at_voice]
            dry_at = max(dry_at, now) + 2.0
            rest = (now, int(at_voice), clause + 1, dry_at)
            again = (dry_at + 8 * chance.random(), int(at_voice), 0, 0.0)
            heapq.heappush(asks, rest if clause < 3 else again)
            at_voice = None
        if at_voice is None and (chosen := queue.take(now)) is not None:
            at_voice, free_at = chosen.owner, now + work_s * (0.5 + chance.random())
        if tick % 10 == 0:
            late_s.append(queue.late_s(now))
        if tick % 50 == 0:
            highest = max(highest, shedding.note(Sample(0.004, min(late_s)), now))
            late_s = [float("inf")]
    return highest


@pytest.mark.parametrize("work_s", [0.1, 0.2])
def test_eight_ordinary_users_shed_nothing(work_s: float) -> None:
    """Piper's real-time factor, and twice that: 0.05 and 0.1 of the audio."""
    assert most_shed(8, work_s) is Level.NOTHING


def test_more_than_the_voice_can_do_is_shed() -> None:
    assert most_shed(16, 0.6) >= Level.PARTIALS
