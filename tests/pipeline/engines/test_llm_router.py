"""Which backend a reply is asked of; backends, sessions and time are numbers."""

from __future__ import annotations

import random

import pytest

from pipeline.engines.breaker import FAILURES, LONGEST_REST_S, REST_S
from pipeline.engines.llm_router import MARGIN, Router, Trial


def admitted(router: Router, session: str = "", now: float = 0.0) -> Trial:
    trial = router.admit(session, now)
    assert trial is not None
    return trial


def answered(router: Router, session: str, now: float = 0.0) -> int:
    """A reply from beginning to end; the backend that gave it."""
    trial = admitted(router, session, now)
    router.spoke(trial, now + 0.1)
    router.done(trial)
    return trial.backend


def break_down(router: Router, backend: int, now: float = 0.0) -> None:
    """Let it fail until its breaker opens."""
    others = {at for at in range(8) if at != backend}
    for _ in range(FAILURES):
        trial = router.admit("", now, avoid=others)
        assert trial is not None
        router.failed(trial, now, "down")


def breakers(router: Router, count: int, now: float) -> list[str]:
    return [router.status(at, "", "", now).breaker for at in range(count)]


def test_new_conversations_go_where_there_is_least_to_do() -> None:
    router = Router(3, slots=8)
    assert sorted(admitted(router).backend for _ in range(6)) == [0, 0, 1, 1, 2, 2]


def test_idle_backends_take_turns() -> None:
    router = Router(2, slots=8)
    assert [answered(router, f"s{n}") for n in range(4)] == [0, 1, 0, 1]


def test_a_conversation_stays_with_its_backend() -> None:
    router = Router(3, slots=8)
    answered(router, "else")
    home = answered(router, "anna")
    assert {answered(router, "anna", now) for now in range(1, 20)} == {home}


def test_it_moves_when_its_backend_is_busier_by_a_margin() -> None:
    router = Router(2, slots=8)
    home = answered(router, "anna")
    for _ in range(MARGIN):
        assert admitted(router, "anna").backend == home
    assert admitted(router, "anna").backend == home  # the margin itself is still worth it
    assert admitted(router, "anna").backend != home


def test_only_a_first_token_makes_a_home() -> None:
    router = Router(2, slots=8)
    trial = admitted(router, "anna")
    router.failed(trial, 1.0, "down")
    assert router.admit("anna", 1.0) is not None
    assert not router._homes


def test_a_full_backend_takes_no_more_until_one_is_done() -> None:
    router = Router(1, slots=2)
    first, _ = admitted(router), admitted(router)
    assert router.admit("", 0.0) is None
    assert router.well(0.0)  # all there is to wait for is a place
    router.left(first)
    assert router.admit("", 0.0) is not None


def test_the_one_that_has_just_failed_is_not_asked_again_while_there_is_another() -> None:
    router = Router(2, slots=8)
    trial = admitted(router)
    router.failed(trial, 0.0, "down")
    again = router.admit("", 0.0, avoid={trial.backend})
    assert again is not None
    assert again.backend != trial.backend
    assert not router.others(again, 0.0, avoid={trial.backend})


def test_a_failing_backend_is_left_alone_and_then_probed_once() -> None:
    router = Router(2, slots=8)
    break_down(router, 0)
    assert breakers(router, 2, 1.0) == ["open", "closed"]
    assert {admitted(router, now=1.0).backend for _ in range(6)} == {1}
    assert breakers(router, 2, REST_S) == ["half_open", "closed"]
    probe = admitted(router, now=REST_S)
    assert (probe.backend, probe.probe) == (0, True)
    assert admitted(router, now=REST_S).backend == 1
    router.spoke(probe, REST_S + 0.1)
    assert breakers(router, 2, REST_S + 0.1) == ["closed", "closed"]


def test_a_conversation_at_home_elsewhere_serves_as_a_probe_too() -> None:
    router = Router(2, slots=8)
    answered(router, "x")
    assert answered(router, "anna") == 1
    break_down(router, 0)
    probe = admitted(router, "anna", REST_S)
    assert probe.probe
    router.failed(probe, REST_S, "still down")
    assert admitted(router, "anna", REST_S).backend == 1


def test_a_probe_whose_reply_goes_on_while_it_breaks_again_does_not_close_it() -> None:
    router = Router(1, slots=8)
    break_down(router, 0)
    probe = admitted(router, now=REST_S)
    router.spoke(probe, REST_S)
    router.failed(admitted(router, now=REST_S), REST_S, "down again")
    router.done(probe)
    assert breakers(router, 1, REST_S + 0.1) == ["open"]


def test_users_who_cancel_open_no_breaker() -> None:
    router = Router(1, slots=8)
    for now in range(50):
        router.left(admitted(router, now=now))
    assert breakers(router, 1, 50) == ["closed"]


def test_a_refused_prompt_is_no_failure_of_the_backend() -> None:
    router = Router(1, slots=8)
    for now in range(10):
        router.done(admitted(router, now=now))
    assert breakers(router, 1, 10) == ["closed"]


def test_one_that_asks_for_patience_rests_for_so_long() -> None:
    router = Router(2, slots=8)
    trial = admitted(router)
    router.limited(trial, 10.0, 3.0, "asked too often")
    assert {admitted(router, now=12.9).backend for _ in range(4)} == {1 - trial.backend}
    assert router.status(trial.backend, "", "", 12.0).retry_in_s == 1.0
    assert trial.backend in {admitted(router, now=13.0).backend for _ in range(4)}


def test_when_all_rest_it_says_when_the_first_comes_back() -> None:
    router = Router(2, slots=8)
    for wait_s in (7.0, 3.0):
        router.limited(admitted(router, now=10.0), 10.0, wait_s, "asked too often")
    assert router.admit("", 12.0) is None
    assert not router.well(12.0)
    assert router.rested_at(12.0) == 13.0
    assert router.back_at(12.0) == 13.0


def test_a_breaker_is_not_waited_for_but_it_is_known_when_it_lets_somebody_in() -> None:
    router = Router(1, slots=8)
    break_down(router, 0, now=5.0)
    assert router.rested_at(5.0) is None
    assert router.back_at(5.0) == 5.0 + REST_S


def test_a_slow_backend_gets_a_smaller_share() -> None:
    router = Router(2, slots=64)
    for now in range(20):
        trials = [admitted(router, now=10.0 * now) for _ in range(12)]
        for trial in trials:
            if trial.backend == 0:
                router.missed(trial, 10.0 * now + 5, "no token")
            else:
                router.spoke(trial, 10.0 * now + 0.1)
                router.done(trial)
    slow, quick = router.status(0, "", "", 1e6), router.status(1, "", "", 1e6)
    assert slow.limit < quick.limit


@pytest.mark.parametrize("seed", range(5))
def test_a_long_day_leaves_nothing_behind(seed: int) -> None:
    chance, router, now = random.Random(seed), Router(3, slots=5), 0.0
    under_way: list[Trial] = []
    for _ in range(20_000):
        now += chance.expovariate(20)
        if under_way and chance.random() < 0.5:
            trial = under_way.pop(chance.randrange(len(under_way)))
            match chance.randrange(6):
                case 0 | 1 | 2:
                    router.spoke(trial, now)
                    router.done(trial)
                case 3:
                    router.left(trial)
                case 4:
                    router.missed(trial, now, "late")
                case _:
                    router.limited(trial, now, chance.random(), "busy")
        elif (begun := router.admit(f"s{chance.randrange(30)}", now)) is not None:
            under_way.append(begun)
    for trial in under_way:
        router.left(trial)
    now += LONGEST_REST_S  # a breaker rests so long at most, and nobody asked for more
    states = [router.status(at, "", "", now) for at in range(3)]
    assert [state.outstanding for state in states] == [0, 0, 0]
    assert all(1 <= state.limit <= 5 for state in states)
    assert router.admit("", now) is not None
