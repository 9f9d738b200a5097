"""Units behind a number, titles and times of the whole hour, as a person says them: espeak spells
most of them, and says "nine zero zero". Pure. English is read in `english.py`."""

from __future__ import annotations

import re
from functools import cache

from pipeline.engines.short_words import TITLES, UNITS
from pipeline.engines.sign_words import EAST, NUMBER

_WHOLE_HOUR = re.compile(r"(?<![\d:.,])(?!00)([01]?\d|2[0-4]):00(?!\d|:\d)")
_HOUR_AND_MINUTES = re.compile(r"(?<=\d)\s?h\s?(?=[0-5]\d\b)")
"""9h30, in French and Portuguese."""
_LETTERS = frozenset("mgls")
"""Alone these are units behind a space only: "5 m", but "the 5s"."""


def written_out(text: str, language: str) -> str:
    """5 km as 5 kilómetros, 9:00 as 9. `language`: the first part of espeak's name; the text as it
    is where there are no words for it."""
    words = UNITS.get(language)
    if words is None:
        return text

    def unit(found: re.Match[str]) -> str:
        number, space, sign = found.groups()
        if language not in EAST and sign in _LETTERS and not space:
            return found[0]
        one, several = words[sign]
        return f"{number}{'' if language in EAST else ' '}{one if number == '1' else several}"

    if language not in EAST:
        text = _WHOLE_HOUR.sub(lambda at: f"{int(at[1])}{' h' * (language == 'fr')}", text)
    if language in ("fr", "pt"):
        text = _HOUR_AND_MINUTES.sub(f" {words['h'][1]} ", text)
    if titles := TITLES.get(language):
        text = _titled(language).sub(lambda m: titles[m[0]] + _stop(m), text)
    return _measured(language).sub(unit, text)


def _stop(short: re.Match[str]) -> str:
    """A full stop that ends the sentence, too, is kept."""
    return "" if short.string[short.end() :].strip() or short[0][-1] != "." else "."


@cache
def _titled(language: str) -> re.Pattern[str]:
    forms = "|".join(map(re.escape, sorted(TITLES[language], key=len, reverse=True)))
    return re.compile(rf"(?<![\w.])(?:{forms})(?!\w)")


@cache
def _measured(language: str) -> re.Pattern[str]:
    units = "|".join(map(re.escape, sorted(UNITS[language], key=len, reverse=True)))
    ends = r"(?![A-Za-z\d/²³])" if language in EAST else r"(?![\w/²³'’])"
    return re.compile(rf"(?<![A-Za-z\d.,])({NUMBER})(\s?)({units}){ends}")
