"""Passes: tokens for one session. Who gets one, what it lets in with, and when it is over."""

from __future__ import annotations

import pytest

from pipeline.errors import RateLimited, Unauthorized
from server.passes import MOST_OF_ONE, MOST_PASSES, Pass, Passes, is_pass
from session.budgets import Allowance
from tests.tokens import token

NOBODY = Pass(None)


class Clock:
    now = 1_000.0

    def __call__(self) -> float:
        return self.now


def refused(passes: Passes, value: str) -> str:
    with pytest.raises(Unauthorized) as error:
        passes.use(value)
    return error.value.why


def test_it_lets_its_user_in_with_all_that_was_kept_with_it() -> None:
    passes = Passes(Clock())
    kept = Pass("anna", Allowance(sessions=2), {"instructions": "Be brief."})
    value, expires_at = passes.give("ek_", kept, 60)
    assert expires_at == 1_060
    assert passes.use(value) == kept


def test_it_serves_once() -> None:
    passes = Passes(Clock())
    value, _ = passes.give("st_", NOBODY, 60)
    passes.use(value)
    assert refused(passes, value) == "token_used"


def test_who_used_it_is_known_for_a_while_but_of_no_other() -> None:
    passes = Passes(Clock())
    value, _ = passes.give("st_", Pass("anna", session={"voice": "ash"}), 60)
    assert passes.used(value) is None
    passes.use(value)
    assert passes.used(value) == Pass("anna")
    for _ in range(MOST_PASSES):
        passes.use(passes.give("st_", NOBODY, 60)[0])
    assert passes.used(value) is None


def test_it_expires() -> None:
    passes = Passes(clock := Clock())
    value, _ = passes.give("st_", NOBODY, 60)
    clock.now += 60
    assert refused(passes, value) == "token_expired"


def test_one_that_never_was_is_refused() -> None:
    assert refused(Passes(), "st_made-up") == "token_used"


def test_none_is_kept_as_it_is() -> None:
    passes = Passes()
    value, _ = passes.give("st_", NOBODY, 60)
    assert value not in repr(passes.__dict__)


def test_a_user_holds_so_many_unused_ones_and_others_are_not_concerned() -> None:
    passes = Passes(clock := Clock())
    values = [passes.give("st_", Pass("anna"), 60)[0] for _ in range(MOST_OF_ONE)]
    with pytest.raises(RateLimited):
        passes.give("st_", Pass("anna"), 60)
    passes.give("st_", Pass("bert"), 60)
    passes.use(values[0])
    passes.give("st_", Pass("anna"), 60)
    clock.now += 61
    passes.give("st_", Pass("anna"), 60)
    assert refused(passes, values[1]) == "token_used"  # forgotten, not kept for ever


def test_the_oldest_go_first_when_there_are_too_many() -> None:
    passes = Passes()
    first, _ = passes.give("ek_", NOBODY, 60)
    for _ in range(MOST_PASSES):
        last, _ = passes.give("ek_", NOBODY, 60)
    assert refused(passes, first) == "token_used"
    assert passes.use(last) == NOBODY


def test_a_signed_token_is_never_taken_for_one() -> None:
    assert not is_pass(token())


def test_whoever_is_forgotten_leaves_none_behind() -> None:
    passes = Passes(Clock())
    annas = [passes.give("ek_", Pass("anna"), 60)[0] for _ in range(2)]
    bens, _ = passes.give("st_", Pass("ben"), 60)
    passes.forget_user("anna")
    assert {refused(passes, one) for one in annas} == {"token_used"}
    assert passes.use(bens).user == "ben"
    for _ in range(100):  # and nothing counts against whoever comes again
        passes.give("st_", Pass("anna"), 60)
