"""What crosses between a gateway and a replica: errors, deadlines, and a clause in two renders."""

from __future__ import annotations

import pickle
from dataclasses import make_dataclass
from enum import Enum
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.errands import Errand
from pipeline.engines.ports import Float32
from pipeline.engines.ray_plan import wanted
from pipeline.engines.ray_wire import Continuation, Failure, form_of
from pipeline.errors import (
    AntiphonError,
    EngineError,
    GpuOutOfMemory,
    LlmStalled,
    NotFound,
    PoolTimeout,
    TtsFailed,
    Unspeakable,
)
from pipeline.scheduling import Purpose

RATE_HZ = 24_000


def tone(samples: int, level: float = 0.3) -> Float32:
    wave: Float32 = (level * np.sin(np.arange(samples) / 20)).astype(np.float32)
    return wave


@given(
    st.lists(st.integers(1, 400), min_size=1, max_size=8),
    st.lists(st.integers(1, 400), min_size=1, max_size=8),
)
def test_a_clause_that_is_voiced_again_goes_on_where_it_was_cut(
    before: list[int], again: list[int]
) -> None:
    whole = tone(sum(before) + sum(again))
    audio, heard, at = Continuation(RATE_HZ), [], 0
    for length in before:
        heard.append(audio.feed(whole[at : at + length]))
        at += length
    audio.begin_again()
    heard += [audio.feed(whole[start : start + 300]) for start in range(0, len(whole), 300)]
    np.testing.assert_array_equal(np.concatenate(heard), whole)


def test_a_step_between_two_renders_is_let_out_over_5_ms() -> None:
    first, second = tone(2_400), tone(4_800) + np.float32(0.2)
    audio = Continuation(RATE_HZ)
    begun = audio.feed(first)
    audio.begin_again()
    joined = np.concatenate([begun, audio.feed(second)])
    assert len(joined) == len(second)
    assert np.abs(np.diff(joined)).max() < 0.02
    np.testing.assert_array_equal(joined[2_400 + 120 :], second[2_400 + 120 :])


def test_a_second_render_that_is_shorter_than_what_was_heard_adds_nothing() -> None:
    audio = Continuation(RATE_HZ)
    audio.feed(tone(1_000))
    audio.begin_again()
    assert len(audio.feed(tone(900))) == 0


@pytest.mark.parametrize(
    "error",
    [
        TtsFailed("no sound"), Unspeakable("nothing"), NotFound("no such voice"),
        GpuOutOfMemory("full"), PoolTimeout("waited", retry_after_s=5.0),
    ],
)  # fmt: skip
def test_an_error_is_the_same_on_the_other_side(error: AntiphonError) -> None:
    there = Failure.of(error).error()
    assert type(there) is type(error)
    assert str(there) == str(error)
    assert there.retry_after_s == error.retry_after_s


def test_an_error_that_the_other_side_need_not_know_becomes_its_nearest_kind() -> None:
    assert type(Failure.of(LlmStalled("no token")).error()) is EngineError
    assert type(Failure("Unheard", "of").error()) is EngineError


def test_a_deadline_travels_as_time_that_is_left() -> None:
    order = Errand("ann", Purpose.LATER_CLAUSE, deadline=107.5).order(now=100.0)
    assert order.deadline(now=20_000.0) == 20_007.5
    assert Errand("ann").order(now=100.0).deadline(now=1.0) is None


class TestHowManyReplicas:
    def test_as_many_as_the_calls_need(self) -> None:
        assert wanted(ongoing=0, late_s=0, count=3, per_replica=2) == 0
        assert wanted(ongoing=5, late_s=0, count=1, per_replica=2) == 3

    def test_one_more_while_what_is_due_comes_late(self) -> None:
        assert wanted(ongoing=2, late_s=0.15, count=4, per_replica=2) == 5
        assert wanted(ongoing=20, late_s=0.15, count=4, per_replica=2) == 10


def kind(name: str, **fields: Any) -> type:
    made = make_dataclass(name, fields.items(), frozen=True, slots=True)
    made.__module__ = __name__
    return made


def test_a_value_of_another_version_is_read_without_a_word_and_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Why a gateway and a replica compare the form of what they say before they say it."""
    newer = kind("Request", text=str, again=str, voice=str)
    monkeypatch.setitem(globals(), "Request", newer)
    sent = pickle.dumps(newer("hello", "and again", "tone"))
    monkeypatch.setitem(globals(), "Request", kind("Request", text=str, voice=str))
    assert pickle.loads(sent).voice == "and again"


@pytest.mark.parametrize(
    "other",
    [
        kind("Request", text=str, voice=str, due=float),
        kind("Request", voice=str, text=str),
        kind("Request", text=str, voice=int),
        kind("Call", text=str, voice=str),
    ],
)
def test_whatever_is_added_moved_or_named_otherwise_is_another_form(other: type) -> None:
    one = kind("Request", text=str, voice=str)
    assert form_of(one) == form_of(kind("Request", text=str, voice=str))
    assert form_of(one) != form_of(other)


def test_what_is_in_it_counts_too_however_deep() -> None:
    def holding(*members: str) -> type:
        purpose = Enum("Purpose", members)  # type: ignore[misc]
        return kind("Outer", words=tuple[kind("Inner", why=purpose | None), ...])  # type: ignore[misc]

    assert form_of(holding("FINAL")) == form_of(holding("FINAL"))
    assert form_of(holding("FINAL")) != form_of(holding("FINAL", "PARTIAL"))
