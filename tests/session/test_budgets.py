"""What a user may spend, in virtual time."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import RateLimited
from session import budgets
from session.buckets import Allowance
from session.budgets import Budget, Budgets


class Clock:
    """Time that stands still until it is set."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def turn(budget: Budget, now: float) -> None:
    budget.check_turn(now)
    budget.spend_turn()


def come_back_s(act: Callable[[], None]) -> float:
    with pytest.raises(RateLimited) as limited:
        act()
    assert limited.value.retry_after_s is not None
    return limited.value.retry_after_s


def test_a_minutes_worth_of_turns_may_be_taken_at_once() -> None:
    budget = Budget(Allowance(turns_per_minute=6), 0.0)
    for _ in range(6):
        turn(budget, 0.0)
    assert come_back_s(lambda: turn(budget, 0.0)) == pytest.approx(10.0)


def test_whoever_comes_back_when_told_is_served() -> None:
    budget = Budget(Allowance(turns_per_minute=6), 0.0)
    for _ in range(6):
        turn(budget, 0.0)
    wait_s = come_back_s(lambda: turn(budget, 4.0))
    turn(budget, 4.0 + wait_s)


def test_looking_whether_a_turn_is_left_costs_nothing() -> None:
    budget = Budget(Allowance(turns_per_minute=1), 0.0)
    for _ in range(100):
        budget.check_turn(0.0)
    turn(budget, 0.0)


def test_what_is_refused_is_not_spent() -> None:
    budget = Budget(Allowance(characters_per_minute=600), 0.0)
    budget.take_characters(500, 0.0)
    assert come_back_s(lambda: budget.take_characters(200, 0.0)) == pytest.approx(10.0)
    budget.take_characters(100, 0.0)


def test_a_text_longer_than_a_minutes_worth_wants_a_full_bucket_and_leaves_a_debt() -> None:
    budget = Budget(Allowance(characters_per_minute=600), 0.0)
    budget.take_characters(900, 0.0)
    assert come_back_s(lambda: budget.take_characters(1, 0.0)) == pytest.approx(30.1)


def test_audio_in_real_time_in_every_session_a_user_may_have_is_always_taken() -> None:
    budget = Budget(Allowance(audio_s_per_minute=120, sessions=2), 0.0)
    for frame in range(20_000):
        for _ in range(2):
            budget.take_audio(0.02, frame * 0.02)


def test_the_sessions_of_one_user_spend_from_one_budget() -> None:
    clock = Clock()
    house = Budgets(Allowance(turns_per_minute=6), 10, clock)
    with house.session("anna") as first, house.session("anna") as second:
        for _ in range(3):
            turn(first, 0.0)
            turn(second, 0.0)
        come_back_s(lambda: turn(first, 0.0))
        with house.session("ben") as other:
            turn(other, 0.0)


def test_a_new_session_is_no_new_budget() -> None:
    clock = Clock()
    house = Budgets(Allowance(turns_per_minute=2), 10, clock)
    with house.session("anna") as budget:
        turn(budget, 0.0)
        turn(budget, 0.0)
    clock.now = 15.0
    with house.session("anna") as budget:
        come_back_s(lambda: turn(budget, clock.now))
    clock.now = 90.0
    with house.session("anna") as budget:
        turn(budget, clock.now)


def test_sessions_of_nobody_in_particular_are_users_of_their_own() -> None:
    house = Budgets(Allowance(turns_per_minute=1, sessions=1), 10, Clock())
    with house.session(None) as one, house.session(None) as other:
        turn(one, 0.0)
        turn(other, 0.0)


def test_nobody_gets_more_than_all_may_by_coming_again_and_again() -> None:
    house = Budgets(Allowance(turns_per_minute=2), 3, Clock())
    for _ in range(3):
        with house.session(None) as budget:
            turn(budget, 0.0)
            turn(budget, 0.0)
    with house.session(None) as budget:
        come_back_s(lambda: turn(budget, 0.0))


def test_who_comes_again_and_again_uses_up_nobodys_steady_pace() -> None:
    clock = Clock()
    house = Budgets(Allowance(turns_per_minute=6), 3, clock)
    with house.session(None) as anna:
        for again in range(1, 61):  # ten minutes of it
            clock.now = 10.0 * again
            for _ in range(4):
                with house.session(None) as abuser, suppress(RateLimited):
                    for _ in range(6):
                        turn(abuser, clock.now)
            turn(anna, clock.now)


def test_a_newcomer_in_such_a_storm_is_told_when_its_own_pace_allows_it() -> None:
    clock = Clock()
    house = Budgets(Allowance(turns_per_minute=6), 3, clock)
    for _ in range(3):
        with house.session(None) as abuser:
            for _ in range(6):
                turn(abuser, 0.0)
    with house.session(None) as ben:
        wait_s = come_back_s(lambda: turn(ben, 0.0))
        assert 0 < wait_s <= 10.0
        house._all._turns.spend(18)  # the storm goes on
        wait_s = come_back_s(lambda: turn(ben, 0.0))
        assert wait_s == pytest.approx(10.0)
        turn(ben, wait_s)


def test_a_user_has_so_many_sessions_at_once_and_no_more() -> None:
    house = Budgets(Allowance(sessions=2), 10, Clock())
    with house.session("anna"):
        with house.session("anna"), pytest.raises(RateLimited), house.session("anna"):
            pass
        with house.session("anna"):
            pass


def test_users_who_left_are_forgotten_once_they_have_all_they_could_have() -> None:
    clock = Clock()
    house = Budgets(Allowance(), 10, clock)
    for number in range(50):
        with house.session(f"user {number}"):
            pass
    clock.now = budgets.MINUTE_S
    with house.session("another"):
        assert not house._resting
        assert list(house._users) == ["another"]


def test_a_debt_is_not_forgiven_to_whoever_stays_away_for_a_minute() -> None:
    clock = Clock()
    house = Budgets(Allowance(audio_s_per_minute=480), 10, clock)
    for minutes in (0, 8, 16):  # an hour's recording is what may be heard in seven and a half
        clock.now = minutes * budgets.MINUTE_S
        with house.request("anna") as budget:
            budget.take_audio(3_600, clock.now)
        for later in range(1, 8):
            clock.now = (minutes + later) * budgets.MINUTE_S
            with house.request("anna") as budget, pytest.raises(RateLimited):
                budget.take_audio(3_600, clock.now)


def test_those_remembered_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "MOST_RESTING", 20)
    house = Budgets(Allowance(), 10, Clock())
    for number in range(100):
        with house.session(f"user {number}"):
            pass
    assert len(house._resting) <= 22


@given(st.lists(st.sampled_from([0.0, 0.0, 60.0]) | st.floats(0, 30), min_size=1, max_size=100))
def test_over_any_stretch_no_more_is_taken_than_the_minute_allows(pauses_s: list[float]) -> None:
    budget = Budget(Allowance(turns_per_minute=10), 0.0)
    now, times = 0.0, []
    for pause_s in pauses_s:
        now += pause_s
        try:
            turn(budget, now)
        except RateLimited:
            continue
        times.append(now)
    for first, begin in enumerate(times):
        for last in range(first, len(times)):
            assert last - first + 1 <= 10 + (times[last] - begin) / 6 + 1e-6


def test_a_request_spends_what_the_sessions_of_its_user_have_left() -> None:
    house = Budgets(Allowance(characters_per_minute=600), 10, Clock())
    with house.session("anna") as talking, house.request("anna") as reading:
        talking.take_characters(500, 0.0)
        with pytest.raises(RateLimited):
            reading.take_characters(200, 0.0)
    with house.request("bert") as other:
        other.take_characters(200, 0.0)


def test_requests_are_no_sessions() -> None:
    house = Budgets(Allowance(sessions=1), 10, Clock())
    with house.request("anna"), house.request("anna"), house.session("anna"):
        pass


def test_what_a_token_allows_holds_for_all_that_its_user_has_open() -> None:
    house = Budgets(Allowance(turns_per_minute=2), 10, Clock())
    with house.session("anna") as budget:
        budget.check_turn(0.0)
        budget.spend_turn()
        with house.session("anna", Allowance(turns_per_minute=20, sessions=3)):
            assert budget.allowance.turns_per_minute == 20
            for _ in range(10):  # half of it was left
                budget.check_turn(0.0)
                budget.spend_turn()
            with pytest.raises(RateLimited):
                budget.check_turn(0.0)


def test_to_and_fro_between_two_tokens_gains_nothing() -> None:
    small, large = Allowance(turns_per_minute=6), Allowance(turns_per_minute=60)
    budget = Budget(large, 0.0)
    for _ in range(30):
        budget.check_turn(0.0)
        budget.spend_turn()
    for allowance in (small, large) * 10:
        budget.allow(allowance)
    for _ in range(30):
        budget.check_turn(0.0)
        budget.spend_turn()
    with pytest.raises(RateLimited):
        budget.check_turn(0.0)


def test_a_user_with_a_session_too_many_is_refused_by_what_its_token_says() -> None:
    house = Budgets(Allowance(), 10, Clock())
    one = Allowance(sessions=1)
    with house.session("anna", one):
        with pytest.raises(RateLimited), house.session("anna", one):
            pass
        with house.session("bert"):
            pass
    with house.session("anna", one):
        pass


# --- over several servers -------------------------------------------------------------------------


def test_what_is_spent_elsewhere_is_missing_here() -> None:
    budget = Budget(Allowance(turns_per_minute=10), now=0.0)
    budget.check_turn(0.0)
    budget.spend_turn()
    assert budget.told() == (0.1, 0.0, 0.0)
    assert budget.told() == (0.0, 0.0, 0.0)
    budget.settle((0.1, 1.0, 1.0))  # eight were spent elsewhere
    budget.check_turn(0.0)
    budget.spend_turn()
    with pytest.raises(RateLimited):
        budget.check_turn(0.0)


def test_what_is_left_elsewhere_gives_nothing_back_and_forgets_nothing_untold() -> None:
    budget = Budget(Allowance(characters_per_minute=100), now=0.0)
    budget.take_characters(60, 0.0)
    budget.settle((1.0, 1.0, 1.0))  # Redis was not told yet, or lost it all
    with pytest.raises(RateLimited):
        budget.take_characters(60, 0.0)
    told = budget.told()
    budget.untold(told)  # nobody was reached
    assert budget.told() == told == (0.0, 0.6, 0.0)
