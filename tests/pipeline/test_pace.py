"""How much a voice may say next, by how far it is ahead."""

from __future__ import annotations

import pytest

from pipeline.pace import MARGIN, Pace


def test_before_anything_was_made_nobody_knows() -> None:
    assert Pace().most() is None


def test_a_voice_that_takes_no_time_may_say_anything() -> None:
    pace = Pace()
    pace.made(12, 0.0, 0.7)
    assert pace.most() is None


def test_it_may_say_what_it_voices_while_the_first_clause_is_played() -> None:
    pace = Pace()
    pace.made(12, 0.6, 0.8)  # 0.05 s a letter: 16 letters in 0.8 s
    assert pace.most() == int(MARGIN * 16)


def test_what_is_ahead_adds_up() -> None:
    pace = Pace()
    pace.made(12, 0.6, 0.8)
    pace.made(12, 0.6, 0.8)  # 0.2 s of the first are left: a second is ahead
    assert pace.most() == int(MARGIN * 20)


@pytest.mark.parametrize("rtf", [0.3, 0.6, 0.9, 0.95])
def test_faster_than_real_time_it_never_falls_behind(rtf: float) -> None:
    pace, ahead_s = Pace(), 12 * 0.06
    pace.made(12, rtf * ahead_s, ahead_s)
    for _ in range(200):
        size = pace.most()
        assert size is not None
        assert size * 0.06 * rtf <= ahead_s
        ahead_s += size * 0.06 * (1 - rtf)
        pace.made(size, size * 0.06 * rtf, size * 0.06)
    assert size > 24


def test_who_loses_ground_by_short_clauses_is_given_longer_ones() -> None:
    pace = Pace()
    pace.made(12, 1.0, 0.7)
    assert pace.most() == 24
    pace.made(24, 1.1, 1.4)  # it gains by them, but stood still before: 1.4 s are ahead
    assert pace.most() == int(MARGIN * 1.4 * 36 / 2.1)
