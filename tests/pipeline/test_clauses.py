"""A reply's text, cut for speech: nothing lost, nothing torn, whatever the stream does."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.clause_policy import ClausePolicy
from pipeline.clauses import Clause, ClauseCutter
from pipeline.marks import NEWLINES, is_wide
from pipeline.spoken import spoken

EAGER = ClausePolicy(limits=(200,), min_letters=(1,), first_min_words=1, first_max_words=1000)
"""Ends a clause at each sentence, however short."""
TIGHT = ClausePolicy(limits=(12, 15), min_letters=(2, 3), first_min_words=1, first_max_words=2)

SENTENCES = (
    "Sure, I can help. ",
    "Dr. Smith of the U.S. Army paid $3.14 at 10:30, i.e. late. ",
    "No. 5 is alive etc. and so on. No. Not I. ",
    "See https://example.com/a.b?c=d, or write to a.b@example.org! ",
    "Well... \"Really?!\" he asked. 'Yes.' (She did.) ",
    "# Plan\n\n- **one** thing\r\n1. `two` | 3 * 4\n",
    "你好！今天是2024年，天气很好。「是吗？」",
    "مرحبا، كيف حالك؟ ",
    "वह घर गया। क्षत्रिय। ",
    "สวัสดีครับน้ำ",
    "👨‍👩‍👧‍👦 👍🏽 🇩🇪🇫🇷 e\u0301\u0327 ",
    "각하\u1100\u1161\u11a8",
)

any_text = st.text(st.characters(exclude_categories=()), max_size=400)
mixed_text = st.lists(
    st.one_of(
        st.sampled_from(SENTENCES),
        st.text(
            st.sampled_from(" \n.,:;!?…—-–\"')*_#|/@aA1。，、你🇩👍\u200d\u0301\ud83d"), max_size=8
        ),
        st.text(st.sampled_from("abcdefg"), min_size=30, max_size=90),
        st.text(max_size=8),
    ),
    max_size=12,
).map("".join)
texts = st.one_of(any_text, mixed_text)
policies = st.sampled_from([ClausePolicy(), EAGER, TIGHT])


def cut(pieces: Iterable[str], policy: ClausePolicy | None = None) -> list[Clause]:
    cutter = ClauseCutter(policy)
    clauses = [clause for piece in pieces for clause in cutter.feed(piece)]
    return clauses + cutter.finish()


def cut_texts(text: str, policy: ClausePolicy | None = None) -> list[str]:
    return [clause.text for clause in cut([text], policy)]


def sentences(text: str) -> list[str]:
    """Where a text is cut when even the shortest sentence is long enough."""
    # The first clause, which may end at a comma, is out of the way.
    return cut_texts("Go! " + text, EAGER)[1:]


# --- Room ---------------------------------------------------------------------------------------


def cut_with_room(text: str, room: int | None, policy: ClausePolicy | None = None) -> list[str]:
    cutter = ClauseCutter(policy)
    cutter.room = room
    return [clause.text for clause in (*cutter.feed(text), *cutter.finish())]


def test_where_there_is_little_room_a_clause_ends_between_two_words() -> None:
    text = "Then we could go, perhaps, an extraordinarily long way."
    assert cut_with_room(text, 12) == [
        "Then we could", " go,", " perhaps,", " an extraordinarily", " long way.",
    ]  # fmt: skip


def test_room_changes_nothing_of_the_first_clause_nor_makes_any_longer() -> None:
    assert cut_with_room("So we went on and on. " * 20, 10_000) == cut_texts(
        "So we went on and on. " * 20
    )
    assert cut_with_room("Then we could go.", 1)[0] == "Then we could"


@settings(max_examples=30, deadline=None)
@given(texts, policies, st.integers(0, 60))
def test_with_any_room_every_character_is_in_one_clause(
    text: str, policy: ClausePolicy, room: int
) -> None:
    assert "".join(cut_with_room(text, room, policy)) == text


@settings(max_examples=60, deadline=None)
@given(texts, policies, st.lists(st.none() | st.integers(0, 300), min_size=1, max_size=20))
def test_so_it_is_where_the_room_is_another_after_each_clause(
    text: str, policy: ClausePolicy, rooms: list[int | None]
) -> None:
    cutter, room, said = ClauseCutter(policy), itertools.cycle(rooms), ""
    for ch in text:
        for clause in cutter.feed(ch):
            assert (clause.start, clause.end) == (len(said), len(said) + len(clause.text))
            said += clause.text
            cutter.room = next(room)
    assert said + "".join(clause.text for clause in cutter.finish()) == text


# --- Nothing is lost ----------------------------------------------------------------------------


@settings(deadline=None)
@given(texts, policies)
@example("\ud83d\ude00", ClausePolicy())
@example("x" * 10_000, ClausePolicy())
@example("!" * 1_000, ClausePolicy())
@example(" " * 1_000, ClausePolicy())
@example("e" + "\u0301" * 1_000, ClausePolicy())
@example("👨\u200d" * 500, ClausePolicy())
@example("🇩🇪" * 200, ClausePolicy())
@example("好" * 1_000, ClausePolicy())
def test_every_character_is_in_exactly_one_clause_in_order(text: str, policy: ClausePolicy) -> None:
    clauses = cut([text], policy)
    assert "".join(clause.text for clause in clauses) == text
    at = 0
    for number, clause in enumerate(clauses):
        assert clause.index == number
        assert clause.start == at < clause.end
        assert clause.text == text[clause.start : clause.end]
        assert len(clause.text) <= policy.limits[min(number, len(policy.limits) - 1)]
        at = clause.end
    assert at == len(text)


@settings(deadline=None)
@given(texts, policies, st.data())
def test_the_clauses_do_not_depend_on_how_the_stream_was_cut(
    text: str, policy: ClausePolicy, data: st.DataObject
) -> None:
    places = data.draw(st.lists(st.integers(0, len(text)), max_size=12).map(sorted))
    pieces = [text[a:b] for a, b in zip([0, *places], [*places, len(text)], strict=True)]
    assert cut(pieces, policy) == cut([text], policy) == cut(text, policy)


@settings(deadline=None)
@given(texts)
def test_a_clause_is_speakable_when_it_has_something_to_say(text: str) -> None:
    for clause in cut([text]):
        assert clause.speakable == bool(clause.speech)
        assert clause.speech == " ".join(clause.speech.split())
        assert clause.speech == "" or any(ch.isalnum() for ch in clause.speech)
        clause.speech.encode()  # no half characters


@settings(deadline=None)
@given(st.text(st.characters(categories=["L", "Nd", "Zs"]), max_size=300))
def test_plain_words_are_said_as_they_are_written(text: str) -> None:
    said = "".join("".join(clause.speech.split()) for clause in cut([text]))
    assert said == "".join(text.split())


# --- When a clause is ready ---------------------------------------------------------------------


def test_a_clause_is_ready_with_the_token_after_its_mark() -> None:
    cutter = ClauseCutter()
    pieces = ["Sure", ",", " I", " can", " help", ".", " What", " do", " you", " need", "?"]
    ready = [[clause.text for clause in cutter.feed(piece)] for piece in pieces]
    assert ready == [[], [], ["Sure,"]] + [[]] * 8
    assert [clause.text for clause in cutter.finish()] == [" I can help. What do you need?"]


def test_a_line_break_ends_the_line_at_once() -> None:
    cutter = ClauseCutter()
    assert cutter.feed("Here we are") == []
    assert [clause.text for clause in cutter.feed("\n")] == ["Here we are"]


def test_the_first_clause_ends_at_its_first_comma_when_that_says_enough() -> None:
    assert cut_texts("Of course, I can do that.") == ["Of course,", " I can do that."]
    assert cut_texts("Certainly, I can.") == ["Certainly,", " I can."]
    assert cut_texts("Yes, I can. Now?") == ["Yes, I can.", " Now?"]


def test_the_first_clause_ends_after_some_words_when_no_mark_comes() -> None:
    text = "three four five six seven eight nine"
    assert cut_texts(text) == ["three four five", " six seven eight nine"]
    two = ClausePolicy(first_max_words=2)
    assert cut_texts(text, two)[0] == "three four"


def test_the_first_clause_does_not_end_in_a_word_that_leans_on_the_next() -> None:
    assert cut_texts("She put the keys on the table.")[0] == "She put the keys"
    assert cut_texts("He asked the driver to wait.")[0] == "He asked"
    assert cut_texts("We sat in a big old car.")[0] == "We sat in a big"
    assert cut_texts("En el rincón de la casa.")[0] == "En el rincón"
    assert cut_texts("It costs $1.5 million.") == ["It costs", " $1.5 million."]


def test_a_short_noun_or_verb_does_not_lean() -> None:
    assert cut_texts("The cat sat on the mat.")[0] == "The cat sat"
    assert cut_texts("Take a map or the bus into the city.")[0] == "Take a map"
    assert cut_texts("El sol y la mar son de todos.")[0] == "El sol y la mar"


def test_the_first_clause_has_fewer_words_when_they_are_long() -> None:
    assert cut_texts("Photographic plates were made of glass.")[0] == "Photographic"
    assert cut_texts("Modern telescopes are made of it.")[0] == "Modern telescopes"


def test_later_clauses_end_at_sentences_and_grow() -> None:
    text = "Hello there! " + "Here is one more, as before. " * 20
    clauses = cut([text.strip()])
    assert all(clause.text[-1] in ".!" for clause in clauses)
    lengths = [len(clause.text) for clause in clauses]
    assert lengths[0] < lengths[1] < lengths[3]


def test_where_no_sentence_ends_in_time_the_clause_ends_at_the_last_comma() -> None:
    text = "Well now: " + "it goes on, " * 6
    assert cut_texts(text)[1] == " it goes on, it goes on, it goes on,"


def test_a_comma_too_early_is_no_place_to_cut() -> None:
    text = "Well now: so, " + "words " * 30
    second = cut_texts(text)[1]
    assert second.endswith("words")
    assert len(second) > 30


def test_a_finished_text_takes_no_more() -> None:
    cutter = ClauseCutter()
    cutter.feed("Hi")
    assert [clause.text for clause in cutter.finish()] == ["Hi"]
    assert cutter.finish() == []
    with pytest.raises(ValueError, match="finished"):
        cutter.feed("more")


@pytest.mark.parametrize(
    "wrong",
    [
        {"limits": ()},
        {"limits": (11,)},
        {"limits": (60, 50)},
        {"min_letters": ()},
        {"min_letters": (0,)},
        {"first_min_words": 0},
    ],
)
def test_a_policy_that_could_not_be_kept_is_refused(wrong: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(ValueError, match=r"limits|letter"):
        ClausePolicy(**wrong)  # type: ignore[arg-type]


# --- What is one piece --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "whole",
    [
        "It is 3.14 and 1,000 at 10:30, or .5 of it.",
        "I met Dr. Smith and Mr. Jones, e.g. at St. Paul's.",
        "El Sr. López y la Sra. Ruiz, con Mme. Dupont e il Dott. Rossi.",
        "The U.S. Army met J. R. R. Tolkien at No. 5 Main St. today.",
        "Open Antiphon.com or https://a.example/b.c?d=e,f now.",
        "Write to first.last@mail.example now.",
        "Wait... what was it, then… no",
        "It ends at 5 p.m. or so, with cakes etc. and tea.",
        "Mix 8 oz. of cheese with 1 lb. of butter.",
        'Is it "good."?',
        "A 2–3 minute walk - or so – is well-known.",
        "Ask Smith Inc. about vol.  3 of it.",
        "版本３．１４很好。",
        "Look at Yahoo!7 and C:\\dir, a.b.c and x?y.",
    ],
)
def test_a_mark_inside_a_word_or_a_number_ends_no_sentence(whole: str) -> None:
    assert sentences(whole) == [" " + whole]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("No.", " I did not."),
        ("No.", "  I did not."),
        ("That is etc.", " And so on."),
        ("It was 1984.", " Then it was not."),
        ("It took 5 ms.", " Fine."),
        ('"Really?!"', " he asked."),
        ("(He did.)", " So?"),
        ("He said **so.**", " Well?"),
        ("Great!", "😊 More."),
        ("今天很好。", "明天呢？"),
        ("「是吗？」", "他说"),
        ("Hi!", "你好"),
        ("كيف حالك؟", " أنا بخير"),
        ("वह घर गया।", " वह सो गया।"),
        ("World War I.", " The end"),
        ("In the U.S.", "\nNext line"),
        ("and so on etc.", "\nNext line"),
        ("No mark here", "\r\nnext line"),
        ("See https://a.example/b.", " Then go."),
        ("What a word " + "x" * 60 + ".", " Then go."),
        ("Wow!!!", " Yes."),
        ("Hm!\u0301", " Yes."),
        ("Stop.", "\u00a0Go on."),
    ],
)
def test_a_sentence_ends_with_its_mark_and_what_closes_on_it(first: str, second: str) -> None:
    assert sentences(first + second)[:1] == [" " + first]


def test_a_numbered_list_is_not_cut_after_its_numbers() -> None:
    assert sentences("so.\n1. Open it.\n2. Close it.")[1:] == ["\n1. Open it.", "\n2. Close it."]


def test_the_first_clause_ends_before_a_word_that_makes_it_long() -> None:
    assert cut_texts("In being comparatively modern.")[0] == "In being"
    assert cut_texts("I internationalise it.")[0] == "I internationalise"
    assert cut_texts("Unquestionably, yes.")[0] == "Unquestionably,"
    assert cut_texts("Donaudampfschifffahrt ist lang.")[0] == "Donaudampfschifffahrt"


def test_a_bullet_is_no_dash_but_a_dash_between_words_is_a_pause() -> None:
    policy = ClausePolicy(first_max_words=50, first_most=50)
    assert cut_texts("- one two three", policy) == ["- one two three"]
    assert cut_texts("It works - mostly", policy) == ["It works -", " mostly"]
    assert cut_texts("It works — mostly", policy) == ["It works —", " mostly"]
    assert cut_texts("It is at -5 degrees", policy) == ["It is at -5 degrees"]
    assert cut_texts("Go to https://a.example/x—y", policy) == ["Go to https://a.example/x—y"]


def test_a_name_and_its_title_are_not_parted_by_the_hard_limit() -> None:
    policy = ClausePolicy(limits=(30,), first_max_words=50)
    assert cut_texts("I went to see that Mr. Johnston", policy) == [
        "I went to see that",
        " Mr. Johnston",
    ]
    assert cut_texts("We saw Tom at home no. 999999999", policy) == [
        "We saw Tom at home",
        " no. 999999999",
    ]


@pytest.mark.parametrize(
    "cluster",
    [
        "e\u0301",
        "👍🏽",
        "👨\u200d👩\u200d👧",
        "🇩🇪",
        "क्ष",
        "น้ำ",
        "\u1100\u1161\u11a8",
        "\ud83d\ude00",
        "\r\n",
    ],
)
def test_what_is_seen_as_one_character_is_never_parted(cluster: str) -> None:
    for shift in range(len(cluster)):
        text = "a" * shift + cluster * 100
        offsets = {clause.end for clause in cut([text])} - {len(text)}
        assert all((offset - shift) % len(cluster) == 0 for offset in offsets)


def test_words_in_a_text_without_spaces_stay_whole_where_they_can() -> None:
    text = "价" * 10 + "Antiphon12345" + "格" * 30
    assert cut_texts(text)[0] == "价" * 10


def test_wide_letters_fill_a_clause_sooner() -> None:
    assert is_wide("好")
    assert not is_wide("a")
    assert len(cut_texts("好" * 100)[0]) == ClausePolicy().limits[0] // 3


# --- The work is linear -------------------------------------------------------------------------


def operations(text: str) -> int:
    """Count the calls made, Python's own and C's, while `text` is fed one character at a time."""
    calls = 0

    def count(_frame: object, event: str, _arg: object) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(count)
    try:
        cut(text)
    finally:
        sys.setprofile(before)
    return calls


@pytest.mark.parametrize(
    "pattern",
    ["x", "!", " ", "a, ", "好", "🇩🇪", "Hello there, my friend. ", "Dr. A. ", "\n- a", "."],
)
def test_twice_the_text_is_twice_the_work(pattern: str) -> None:
    text = pattern * (6_000 // len(pattern))
    assert operations(text * 2) < 2.2 * operations(text)


# --- What is said -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ("**Bold**, *slanted*, ***both*** and ~~gone~~", "Bold, slanted, both and gone"),
        ("__Bold__ and _slanted_, but snake_case", "Bold and slanted, but snake case"),
        ("Run `make run` now", "Run make run now"),
        ("```python\nprint(1)\n```", "print(1)"),
        ("# The plan\n\nWe go.", "The plan. We go."),
        ("## The plan ##", "The plan ##"),
        ("- milk\n- eggs\n- bread", "milk. eggs. bread"),
        ("\n* milk,\n* eggs!", "milk, eggs!"),
        ("Steps:\n1. Open\n2. Close", "Steps: 1. Open. 2. Close"),
        ("> quoted", "quoted"),
        ("- # odd", "odd"),
        ("one line\nof two", "one line of two"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "a, b, 1, 2,"),
        ("Above\n\n---\n\nbelow", "Above. below"),
        ("See https://example.com/a and http://b.example", "See example.com/a and b.example"),
        ("Ask [the docs](https://example.com/a) or ![a cat](cat.png)", "Ask the docs or a cat"),
        ("3 * 4 is 2*6", "3 × 4 is 2 × 6"),
        ("Great 😊! Thanks 👍🏽 all 👨‍👩‍👧.", "Great! Thanks all."),
        ("I ❤️ it ☀", "I it"),
        ("20 °C ± 5% → © me", "20 °C ± 5% © me"),
        ("5㎏ 🎉", "5㎏"),
        ("1️⃣ first 🇩🇪", "1 first"),
        ("half \ud83d and \ud83d\ude00 whole", "half and whole"),
        ("क्\u200dष and می\u200cخواهم", "क्\u200dष and می\u200cخواهم"),
        ("a\u200bb\u00adc\x00d\ue000e", "abc d e"),
        ("  spaces \t and\n\nlines  ", "spaces and. lines"),
        (", and so on,", "and so on,"),
        ("about .5 of it", "about .5 of it"),
        ("!!! ... 😊 \n", ""),
        ("", ""),
    ],
)
def test_marks_for_the_eye_are_not_said(written: str, said: str) -> None:
    assert spoken(written) == said


def test_a_minus_in_the_middle_of_a_line_is_no_bullet() -> None:
    assert spoken(" - 5 degrees", opens_line=False) == "- 5 degrees"
    assert spoken(" - 5 degrees", opens_line=True) == "5 degrees"
    assert spoken(" up\n- 5 eggs", opens_line=False) == "up. 5 eggs"


def test_newlines_are_spaces() -> None:
    assert all(mark.isspace() for mark in NEWLINES)
