"""People and engines in virtual time: what one alone hears is arithmetic, what many hear is not."""

from __future__ import annotations

import asyncio
import re

import pytest

from benchmarks.simulate import CHECK_S, CHECKED, TALKS, check, gateways
from benchmarks.simulation import S_PER_CHARACTER, Engines, Person, _cut, most_users, simulate
from tests.support import ROOT

QUICK = Engines(stt_s=0.1, llm_first_s=0.2, llm_word_s=0.01, tts_first_s=0.05, tts_rtf=0.1)
ALWAYS_SO = Person(varies=False)


def first_sound_s(engines: Engines) -> float:
    """From the end of speech, if nobody else is there."""
    clause = _cut(ALWAYS_SO.reply)[0].text
    words_s = engines.llm_first_s + engines.llm_word_s * (len(clause.split()) - 1)
    work_s = engines.tts_rtf * len(clause) * S_PER_CHARACTER
    return engines.stt_s + words_s + engines.tts_first_s + work_s


def test_one_alone_waits_for_the_engines_one_after_the_other() -> None:
    heard = simulate(QUICK, ALWAYS_SO, 1, 100.0, fixed_s=0.0)
    assert len(heard.waits_s) >= 4
    assert heard.waits_s == pytest.approx([first_sound_s(QUICK)] * len(heard.waits_s))
    assert heard.stalls_s == []


def test_no_answer_comes_before_the_turn_is_known_to_be_over() -> None:
    heard = simulate(QUICK, ALWAYS_SO, 1, 100.0, fixed_s=2.0)
    assert heard.waits_s == pytest.approx([2.0] * len(heard.waits_s))


def test_a_voice_slower_than_its_own_speech_stalls() -> None:
    slow = Engines(tts_rtf=1.5, tts_streams=True)
    assert len(simulate(slow, ALWAYS_SO, 1, 100.0, fixed_s=0.3).stalls_s) > 4


def test_more_people_wait_longer_and_more_seats_help() -> None:
    crowds = [simulate(QUICK, Person(), users, 300.0, fixed_s=0.3) for users in (2, 20, 60)]
    waits_s = [heard.wait_s(0.95) for heard in crowds]
    assert waits_s == sorted(waits_s)
    assert waits_s[-1] > 2 * waits_s[0]
    roomy = Engines(**{**_fields(QUICK), "tts_seats": 8, "stt_seats": 8})
    assert simulate(roomy, Person(), 60, 300.0, fixed_s=0.3).wait_s(0.95) < waits_s[-1] / 2


def test_the_most_is_where_one_more_is_too_many() -> None:
    most = most_users(QUICK, Person(), fixed_s=0.3, p95_s=1.0, seconds=200.0)
    assert 2 <= most < 60
    beyond = simulate(QUICK, Person(), most + 1, 200.0, fixed_s=0.3, settle_s=20.0)
    clauses = len(beyond.waits_s) * len(_cut(Person().reply))
    assert beyond.wait_s(0.95) > 1.0 or len(beyond.stalls_s) > 0.01 * clauses


def test_gateways_are_arithmetic() -> None:
    assert [gateways(users) for users in (1, 60, 61, 100_000)] == [1, 1, 2, 1_667]


MEASURED = re.findall(
    r"^\| (\d+)(, more [^|]*)? \| ([\d.]+), ([\d.]+) s \| ([\d.]+), ([\d.]+) s \|$",
    (ROOT / "docs" / "scale.md").read_text(),
    re.MULTILINE,
)
"""People, whether they are too many, and p50 and p95 as measured and as simulated then."""
ALONE_S = min(float(simulated_p50_s) for *_, simulated_p50_s, _ in MEASURED)
"""What the few wait, who have an engine whenever they want one."""


@pytest.mark.parametrize("row", MEASURED, ids=lambda row: row[0])
def test_what_is_simulated_is_near_what_was_measured(row: tuple[str, ...]) -> None:
    """By docs/scale.md: within 15 %, past what the engines bear within a third."""
    users, too_many, *figures = row
    measured_s, told_s = list(map(float, figures[:2])), list(map(float, figures[2:]))
    heard = simulate(CHECKED, TALKS, int(users), CHECK_S, fixed_s=ALONE_S, settle_s=TALKS.cycle_s)
    simulated_s = [heard.wait_s(0.5), heard.wait_s(0.95)]
    assert simulated_s == pytest.approx(measured_s, rel=0.33 if too_many else 0.15)
    assert simulated_s == pytest.approx(told_s, rel=0.1), "docs/scale.md is out of date"


def test_the_measured_runs_are_of_few_and_of_too_many() -> None:
    assert [bool(too_many) for _, too_many, *_ in MEASURED] == [False, False, False, True]


def test_a_measured_run_of_the_whole_server_is_what_was_simulated() -> None:
    """Of a machine that may be busy, here and now: only that they are the same kind of thing."""
    (level,) = asyncio.run(check((3,), 2.5 * TALKS.cycle_s))
    assert len(level.measured.waits_s) >= 3
    alone_s = CHECKED.stt_s + CHECKED.llm_first_s + CHECKED.tts_first_s
    assert alone_s < level.measured.wait_s(0.5) < 5 * level.simulated.wait_s(0.5)


def _fields(engines: Engines) -> dict[str, object]:
    return {name: getattr(engines, name) for name in engines.__dataclass_fields__}
