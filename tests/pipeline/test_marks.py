"""What a mark means, by itself and its neighbours."""

from __future__ import annotations

import pytest

from pipeline.marks import (
    Mark,
    Strength,
    Verdict,
    clings,
    is_flag_half,
    is_solid,
    is_wide,
    last_word,
    leans,
    strength_of,
    verdict_on,
)


def mark(word: str = "", **given: object) -> Mark:
    return Mark(
        **{
            "end": 5, "strength": Strength.SENTENCE, "word": word, "opens_line": False,
            "wide": False, "in_number": False, "full_stop": True, **given,
        }  # type: ignore[arg-type]
    )  # fmt: skip


@pytest.mark.parametrize(
    ("word", "verdict"),
    [
        ("noon", Verdict.ENDS),
        ("Ms", Verdict.INSIDE),
        ("ms", Verdict.ENDS),
        ("J", Verdict.INSIDE),
        ("I", Verdict.UNLESS_LOWER),
        ("e.g", Verdict.INSIDE),
        ("U.S", Verdict.INSIDE),
        ("a.m", Verdict.UNLESS_LOWER),
        ("etc", Verdict.UNLESS_LOWER),
        ("oz", Verdict.UNLESS_LOWER),
        ("No", Verdict.UNLESS_DIGIT),
        ("12", Verdict.ENDS),
    ],
)
def test_what_a_full_stop_after_a_word_is(word: str, verdict: Verdict) -> None:
    assert verdict_on(word, opens_line=False) is verdict


def test_a_number_that_opens_a_line_counts_a_list() -> None:
    assert verdict_on("12", opens_line=True) is Verdict.INSIDE


def test_the_last_word_is_free_of_what_stands_around_it() -> None:
    assert last_word("at (10 a.m") == "a.m"
    assert last_word("(") == ""


def test_a_run_of_marks_is_as_strong_as_its_last_but_dots_are_a_pause() -> None:
    run = mark("noon")
    run.extend(".")
    assert (run.strength, run.word, run.end) == (Strength.CLAUSE, "", 6)
    run.extend("?")
    assert run.strength is Strength.SENTENCE
    run.extend('"')
    assert (run.strength, run.full_stop) == (Strength.SENTENCE, False)
    run.extend("。")
    assert run.wide


@pytest.mark.parametrize(
    ("after", "joins"), [("c", True), ("5", True), ("/", True), ("中", False), (" ", False)]
)
def test_what_goes_on_right_after_a_mark_is_the_same_word(after: str, joins: bool) -> None:
    assert mark("example").joins(after) is joins


def test_after_a_wide_mark_only_a_number_goes_on() -> None:
    assert mark(wide=True, in_number=True).joins("5")
    assert not mark(wide=True, in_number=True).joins("a")
    assert not mark(wide=True).joins("5")


def test_the_next_word_tells_whether_a_mark_ended_the_sentence() -> None:
    number = mark("No", waits_for=Verdict.UNLESS_DIGIT)
    assert [number.ends_before(ch) for ch in "5aA"] == [False, True, True]
    list_end = mark("etc", waits_for=Verdict.UNLESS_LOWER)
    assert [list_end.ends_before(ch) for ch in "5aA"] == [False, False, True]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("\r", "\n"),
        ("e", "\u0301"),
        ("👩", "\u200d"),
        ("\u200d", "💻"),
        ("ک", "\u200c"),
        ("\u094d", "ष"),
        ("가", "\u11a8"),
        ("ก", "\u0e33"),
        ("👍", "\U0001f3fd"),
        ("🏴", "\U000e0067"),
        ("\ud83d", "\udc4d"),
    ],
)
def test_what_is_one_character_to_a_reader_is_not_parted(before: str, after: str) -> None:
    assert clings(before, after)


@pytest.mark.parametrize(("before", "after"), [("a", "b"), ("中", "国"), ("\n", "\r"), ("م", "ا")])
def test_two_characters_may_be_parted(before: str, after: str) -> None:
    assert not clings(before, after)


def test_characters_by_their_kind() -> None:
    assert is_wide("中")
    assert not is_wide("a")
    assert not is_wide("、")
    assert is_flag_half("🇩🇪"[0])
    assert not is_flag_half("d")
    assert [is_solid(ch) for ch in ("a", "/", "é", "中", "—")] == [True, True, True, False, False]
    assert strength_of("？") is Strength.SENTENCE
    assert strength_of("、") is Strength.CLAUSE


@pytest.mark.parametrize(
    "word", ["the", "(The", "“of", "mio", "10", "9:00", "$1.5", "で", "は", "и", "और"]
)
def test_what_is_said_in_one_breath_with_the_next_word_leans_on_it(word: str) -> None:
    assert leans(word)


@pytest.mark.parametrize("word", ["cat", "Sun", "map", "1867", "時計", "город"])
def test_a_word_of_its_own_does_not_lean(word: str) -> None:
    assert not leans(word)
