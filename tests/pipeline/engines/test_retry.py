"""How long to wait, and when to ask again."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.retry import (
    LONGEST_PAUSE_S,
    LONGEST_WAIT_S,
    PROBE_S,
    first_token_s,
    pause_s,
    retry_after_s,
)


def test_pauses_double_up_to_a_bound_and_half_of_each_is_chance() -> None:
    assert [pause_s(n, 0.0) for n in (1, 2, 3)] == [0.05, 0.1, 0.2]
    assert pause_s(20, 0.999) <= LONGEST_PAUSE_S


@given(st.integers(1, 50), st.floats(0, 1, exclude_max=True))
def test_a_pause_is_never_nothing_and_never_long(failures: int, chance: float) -> None:
    assert 0.0 < pause_s(failures, chance) <= LONGEST_PAUSE_S


def test_while_another_could_be_asked_a_try_takes_half_of_what_is_left() -> None:
    assert first_token_s(10.0, probe=False, others=True) == 5.0
    assert first_token_s(10.0, probe=False, others=False) == 10.0


def test_whoever_is_a_probe_does_not_pay_for_it() -> None:
    assert first_token_s(10.0, probe=True, others=True) == PROBE_S
    assert first_token_s(10.0, probe=True, others=False) == 10.0  # there is nothing to lose


@pytest.mark.parametrize(
    ("headers", "wait_s"),
    [
        ({"retry-after": "3"}, 3.0),
        ({"retry-after": " 1.5 "}, 1.5),
        ({"retry-after-ms": "250", "retry-after": "1"}, 0.25),
        ({"retry-after": "Thu, 01 Jan 1970 00:01:40 GMT"}, 90.0),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:05 GMT"}, 0.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "٣"}, None),
        ({"retry-after": "1.2.3"}, None),
        # No header switches a backend off for good, or tells a user of infinity.
        ({"retry-after": "9" * 400}, LONGEST_WAIT_S),
        ({"retry-after-ms": "9" * 400}, LONGEST_WAIT_S),
        ({"retry-after": "Thu, 01 Jan 2970 00:00:00 GMT"}, LONGEST_WAIT_S),
        ({}, None),
    ],
)
def test_reads_when_to_come_back(headers: dict[str, str], wait_s: float | None) -> None:
    assert retry_after_s(headers, wall_s=10.0) == wait_s
