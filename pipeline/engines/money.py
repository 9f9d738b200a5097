"""Amounts of money as a person says them: the unit behind the number. Pure."""

from __future__ import annotations

import re
from functools import cache

from pipeline.engines.sign_words import EAST, NUMBER, SIGN_WORDS, SignWords

_HYPHEN = r"\s?[-–]\s?"
_ONE = re.compile(r"1(?:[.,]0+)?")
_DOLLARS_AND_CENTS = re.compile(r"([\d,]+)\.(\d\d)")
_CENTS = {"$": ("cent", "cents"), "€": ("cent", "cents"), "£": ("penny", "pence")}
_SHORT = {"k": "thousand", "K": "thousand", "M": "million", "B": "billion", "bn": "billion"}
"""Behind an English amount: "$5M"."""
_THOUSAND = ("mil", "mille", "mila")
"""Behind these there is no "de": "mil dólares"."""


def spoken_money(text: str, language: str) -> str:
    """$5 as 5 dollars; a sign that stands alone as its unit. `language`: one of `SIGN_WORDS`."""
    before, behind, sign = _patterns(language)
    text = before.sub(
        lambda m: f"{m[1]}{' ' * m[1].isalpha()}{_amount(m[2], m[3], m[4], language, m[1])}", text
    )
    text = behind.sub(lambda m: _amount(m[3], m[1], m[2], language), text)
    money = SIGN_WORDS[language].money
    return sign.sub(lambda found: f" {money[found[0]][0]} ", text)


@cache
def _patterns(language: str) -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """An amount whose sign is before it, one whose sign is behind it, a sign."""
    words = SIGN_WORDS[language]
    sign = "|".join(map(re.escape, words.money))
    amount = rf"({NUMBER}(?:{_HYPHEN}(?:{sign})?{NUMBER})?+)"
    large = "|".join((words.large, *(_SHORT if language == "en" else ())))
    ends = "" if language in EAST else r"(?![^\W_])"
    many = rf"(?:\s?({large}){ends})?+"
    return (
        re.compile(rf"(\b[Aa] |[A-Za-z]??)({sign})\s?{amount}{many}(?![A-Za-z\d])"),
        re.compile(rf"{amount}{many}\s?({sign})(?!\s?\d|[A-Za-z])"),
        re.compile(sign),
    )


def _amount(sign: str, number: str, large: str | None, language: str, after: str = "") -> str:
    words = SIGN_WORDS[language]
    one, several = words.money[sign]
    if language == "en" and after in ("a ", "A "):  # a five dollar note
        several = one
    number = re.sub(_HYPHEN, words.to or " to ", number.replace(sign, ""))
    space = "" if language in EAST else " "
    if large:
        of = "" if large in _THOUSAND else words.of
        return f"{number}{space}{_SHORT.get(large, large)}{space}{of}{several}"
    if language == "en" and sign in _CENTS and (exact := _DOLLARS_AND_CENTS.fullmatch(number)):
        return _with_cents(exact[1], int(exact[2]), sign, words)
    return f"{number}{space}{one if _ONE.fullmatch(number) else several}"


def _with_cents(whole: str, cents: int, sign: str, words: SignWords) -> str:
    """English says "three dollars and fifty cents", never "three point five zero"."""
    unit, small = words.money[sign][whole != "1"], _CENTS[sign][cents != 1]
    if not cents:
        return f"{whole} {unit}"
    return f"{cents} {small}" if whole == "0" else f"{whole} {unit} and {cents} {small}"
