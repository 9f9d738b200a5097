"""The circuit breaker, in virtual time."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.breaker import FAILURES, LONGEST_REST_S, REST_S, Breaker


def opened(now: float = 0.0) -> Breaker:
    breaker = Breaker()
    for _ in range(FAILURES):
        assert breaker.admits(now)
        breaker.fail(now, probe=breaker.begin())
    return breaker


def test_failures_in_a_row_open_it() -> None:
    breaker = opened()
    assert breaker.state(0.0) == "open"
    assert not breaker.admits(REST_S - 0.01)


def test_a_success_between_them_keeps_it_closed() -> None:
    breaker = Breaker()
    for _ in range(10):
        breaker.fail(0.0, probe=False)
        breaker.fail(0.0, probe=False)
        breaker.succeed()
    assert breaker.state(0.0) == "closed"


def test_replies_that_begin_and_always_break_off_open_it() -> None:
    breaker = Breaker()
    for _ in range(FAILURES):
        breaker.works(probe=breaker.begin())
        breaker.fail(0.0, probe=False)
    assert breaker.state(0.0) == "open"


def test_after_its_rest_one_probe_is_let_in() -> None:
    breaker = opened()
    assert breaker.state(REST_S) == "half_open"
    assert breaker.admits(REST_S)
    assert breaker.begin()
    assert not breaker.admits(REST_S)


def test_the_first_token_of_a_probe_closes_it_on_probation() -> None:
    breaker = opened()
    breaker.works(probe=breaker.begin())
    assert breaker.state(REST_S) == "closed"
    breaker.fail(REST_S, probe=False)
    assert breaker.state(REST_S) == "open"


def test_a_failed_probe_opens_it_for_longer_each_time() -> None:
    breaker, now, rests = opened(), 0.0, []
    for _ in range(7):
        assert breaker.opened_until is not None
        rests.append(breaker.opened_until - now)
        now = breaker.opened_until
        breaker.fail(now, probe=breaker.begin())
    assert rests == [2, 4, 8, 16, 30, 30, 30]
    assert max(rests) == LONGEST_REST_S


def test_a_probe_that_its_user_cancels_says_nothing() -> None:
    breaker = opened()
    breaker.abandon(probe=breaker.begin())
    assert breaker.state(REST_S) == "half_open"
    assert breaker.admits(REST_S)  # the next one finds out


def test_a_call_begun_before_it_opened_does_not_close_it() -> None:
    breaker = Breaker()
    early = breaker.begin()
    for _ in range(FAILURES):
        breaker.fail(0.0, probe=breaker.begin())
    breaker.works(probe=early)
    breaker.succeed()
    assert breaker.state(0.0) == "open"
    breaker.fail(1.0, probe=early)
    assert breaker.opened_until == REST_S  # nor does it lengthen the rest


def test_once_well_the_next_rest_is_short_again() -> None:
    breaker = opened()
    breaker.fail(REST_S, probe=breaker.begin())
    breaker.works(probe=breaker.begin())
    breaker.succeed()
    for _ in range(FAILURES):
        breaker.fail(100.0, probe=breaker.begin())
    assert breaker.opened_until == pytest.approx(100.0 + REST_S)


@given(st.lists(st.sampled_from(["begin", "works", "succeed", "fail", "abandon", "wait"])))
def test_it_always_lets_somebody_in_again(events: list[str]) -> None:
    breaker, now, calls = Breaker(), 0.0, []
    for event in events:
        now += LONGEST_REST_S if event == "wait" else 0.01
        if event == "begin" and breaker.admits(now):
            calls.append(breaker.begin())
        elif calls and event == "fail":
            breaker.fail(now, probe=calls.pop())
        elif calls and event == "abandon":
            breaker.abandon(probe=calls.pop())
        elif calls and event in ("works", "succeed"):
            breaker.works(probe=calls.pop())
            breaker.succeed()
    for probe in calls:
        breaker.abandon(probe=probe)
    assert breaker.admits(now + LONGEST_REST_S)
