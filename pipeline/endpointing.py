"""When is a turn over? How much silence to wait for, by what was said. Pure.

The words come first: an unfinished clause waits, however it sounds. Where they could be the whole
turn the end-of-turn model decides: sure, it is over soon, unsure, it waits like an unfinished one.
The word lists are English; elsewhere the marks, the model and the silence decide.
Figures: docs/decisions/0004-turn-taking.md and `python -m benchmarks pauses`.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import Literal

from .marks import Verdict, last_word, verdict_on

Pace = Literal["quick", "normal", "patient"]

SURE_S, LIKELY_S, UNFINISHED_S = 0.256, 0.672, 1.0
PACE_FACTOR: dict[Pace, float] = {"quick": 0.8, "normal": 1.0, "patient": 1.8}
SURE, UNSURE = 0.9, 0.8
"""The model is sure from the one probability on, and no help up to the other."""


class Reading(Enum):
    """What the words say, taken alone."""

    UNFINISHED = "more must come"
    OPEN = "it could end here, and often goes on"
    WHOLE = "it could be the whole turn"
    QUESTION = "it hands over the floor"


def patience_s(text: str, end_of_turn: float | None, pace: Pace) -> float:
    """Seconds of silence after which the turn counts as over.

    `text` is what was understood so far, `end_of_turn` the model's probability, if it was asked.
    """
    reading = read(text)
    if reading is Reading.UNFINISHED:
        wait_s = UNFINISHED_S
    elif end_of_turn is not None:
        sure = min(1.0, max(0.0, (end_of_turn - UNSURE) / (SURE - UNSURE)))
        wait_s = UNFINISHED_S - (UNFINISHED_S - SURE_S) * sure
    else:
        wait_s = SURE_S if reading is Reading.QUESTION else LIKELY_S
    if reading is Reading.OPEN:
        wait_s = max(wait_s, LIKELY_S)
    return wait_s * PACE_FACTOR[pace]


# --- What the words say --------------------------------------------------------------------------

_TRAILING = ("...", "…", ",", "-", "–", "—", "،", "、", "，", ":", ";")
_QUESTION = ("?", "؟", "？", "\u037e", "⁇", "⁈", "⁉")
_FINAL = (".", "!", "。", "．", "｡", "！", "‼", "।", "॥", "۔", "։", "።", "။", "។", *_QUESTION)
_OPENING = "¿¡\"'([{«“‘"
_CLOSING = "\"')]}»”’"
_SENTENCE_START = re.compile(r"(?<=[.!?])\s+")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PRONOUNS = _words("i we they he she")
_DETERMINERS = _words("a an the my your our their its every")
_CONJUNCTIONS = _words(
    "and or but nor because although though while unless until whether if than as"
)
_FILLERS = _words("um uh er erm hmm")
_NEVER_LAST = _PRONOUNS | _DETERMINERS | _CONJUNCTIONS | _FILLERS
"""A sentence goes on after these, whatever mark a recogniser puts behind them."""
_SHORT_FORM = re.compile(r"\w+'(m|re|ve|ll|d)|(it|that|there|he|she|what|who|let)'s")
"""No English sentence ends with one: it is "Yes, I am", never "Yes, I'm"."""
_PREPOSITIONS = _words("of to from for with without about at by into between")
"""They may end a question ("Where are you from?"); else their noun is still to come."""
_SELDOM_LAST = _words(
    "that which who whose what when where why how is are was were be been has have"
    " so like too on in"
)
"""Recognisers write "too" for a "to" that is the last word so far."""
_REQUESTS = _words(
    "am do does did has had can could will would shall should may might must let please"
)
"""Questions and requests begin with these."""
_SHORT_ANSWER = 2
"""Words. tiny.en put no mark behind 69 of 228 short answers (38, each by six voices of Kokoro's);
what has none and is longer ("Wednesday at three") may as well go on."""
_SUBORDINATORS = _words(
    "if when whenever because since unless although though while until before after once as"
)
_LONGEST_SUBORDINATE = 8
"""Words: a longer one has its main clause in it, though nobody wrote the comma."""
_BEHIND_COMMA = _words("please thanks sorry though too then really right okay yes no")
"""What may stand alone behind the last comma; any other word is the latest of a list."""
_FLOOR_HOLDERS = frozenset(
    (
        *("well", "so", "okay so", "actually", "maybe", "like", "wait", "no wait", "hold on"),
        *("you know", "i mean", "i think", "i guess", "i was wondering", "the thing is"),
        *("let me see", "let me think"),
    )
)
"""Alone they announce that more will come."""
_SUBJECTS = _PRONOUNS | _DETERMINERS | _words("it you this that there these those his her")
_SHORT_STATEMENT = 7
"""Words. Questions and requests hand over the floor; who tells something in so few words ("My
heating is broken.") has often more to tell."""


def read(text: str) -> Reading:
    """Judge what was understood so far, by its last sentence."""
    text = text.rstrip().rstrip(_CLOSING).replace("’", "'")
    sentence = _SENTENCE_START.split(text)[-1]
    words = [bare for word in sentence.split() if (bare := word.strip(".,!?;:…\"'").casefold())]
    if not words or text.endswith(_TRAILING):
        return Reading.UNFINISHED
    asked = text.endswith(_QUESTION)
    if (
        _must_go_on(words, asked=asked)
        or _holds_the_floor(sentence)
        or _waits_for_main_clause(words, sentence, asked=asked)
    ):
        return Reading.UNFINISHED
    capital = text.lstrip(_OPENING)[:1].isupper() and not text.endswith(_FINAL)
    if capital and not _short_answer(words):
        return Reading.UNFINISHED  # who writes capitals writes full stops
    if text.rfind("¿") > text.rfind("?"):
        return Reading.UNFINISHED
    if _title(text):
        return Reading.UNFINISHED
    if _seldom_ends(words, sentence):
        return Reading.OPEN
    if asked:
        return Reading.QUESTION
    return Reading.OPEN if _tells_little(words) else Reading.WHOLE


def _short_answer(words: list[str]) -> bool:
    """What recognisers put no full stop behind: a word or two that say it all ("No", "Berlin")."""
    opens = words[0] in _SELDOM_LAST | _REQUESTS | _CONJUNCTIONS | _SUBORDINATORS
    goes_on = words[-1] in _PREPOSITIONS | _SELDOM_LAST | _REQUESTS or _tells_little(words)
    return len(words) <= _SHORT_ANSWER and not (opens or goes_on)


def _title(text: str) -> bool:
    """A full stop that ends no sentence, as in "I need to see Dr."; "Plan B." may be whole."""
    word = last_word(text.removesuffix("."))
    return (
        text.endswith(".")
        and word[1:].isalpha()
        and verdict_on(word, opens_line=False) is Verdict.INSIDE
    )


def _must_go_on(words: list[str], *, asked: bool) -> bool:
    last = words[-1]
    return (
        last in _NEVER_LAST
        or _SHORT_FORM.fullmatch(last) is not None
        or (last in _PREPOSITIONS and not asked)
    )


def _holds_the_floor(sentence: str) -> bool:
    """Nothing but announcements, as in "Hold on, let me think."."""
    parts = sentence.casefold().strip(" .!?…").split(",")
    return all(part.strip() in _FLOOR_HOLDERS for part in parts)


def _waits_for_main_clause(words: list[str], sentence: str, *, asked: bool) -> bool:
    """A clause such as "if it rains tomorrow", with neither a comma nor room for another one."""
    opens = words[0] in _SUBORDINATORS or words[:2] == ["even", "though"]
    return opens and not asked and len(words) <= _LONGEST_SUBORDINATE and "," not in sentence


def _seldom_ends(words: list[str], sentence: str) -> bool:
    last = words[-1]
    if last in _PREPOSITIONS | _SELDOM_LAST and len(words) > 1:
        return True
    if last[-1].isdigit():  # numbers are said in groups
        return True
    before, _, after = sentence.rpartition(",")  # a list that no "and" or "or" has closed
    alone = len(before.split()) > 1 and len(after.split()) == 1 and last not in _BEHIND_COMMA
    return alone and not {"and", "or"} & set(words)


def _tells_little(words: list[str]) -> bool:
    subject, _, _ = words[0].partition("'")
    return subject in _SUBJECTS and len(words) <= _SHORT_STATEMENT
