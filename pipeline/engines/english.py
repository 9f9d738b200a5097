"""English as a person reads it out: times, dates, telephones, ranges, fractions, units, names. Of
itself espeak says "nine am" and "one slash two", and pauses behind "Dr.". Pure."""

from __future__ import annotations

import re

from pipeline.engines.english_words import (
    DECADES,
    KINGS,
    MONTHS,
    NO_NAMES,
    SHORT,
    UNITS,
)
from pipeline.engines.sign_words import SIGN_WORDS

_SIGNS = "|".join(sorted(map(re.escape, UNITS), key=len, reverse=True))
_WHOLE = r"(?<![\w.,:/$€£¥₹-])"
"""Before a number that nothing belongs to."""
_NUMBER = r"\d{1,9}(?:,\d{3}){0,4}(?:\.\d{1,9})?"


def read_out(text: str, *, day_first: bool) -> str:
    """The text with words where espeak has none, or others than a person has. `day_first`: 3/4/2025
    is a day of April, as in British English."""
    text = _short_forms(_HALF_DAY.sub(_half_day, text))
    text = _telephones(_dates(text, day_first=day_first))
    text = _times(_ranges(text))
    return _units(_years(_parts(text)))


_ABBREVIATION = re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, SHORT))})\.(?![A-Za-z\d])")
_UNPOINTED = re.compile(r"\b(?:(Ms)(?= [A-Z])|(vs)\b(?!\.))")
_INITIALS = re.compile(r"(?<![\w.])(?:[A-Za-z]\.){2,6}(?![A-Za-z\d])")
_STREET = re.compile(r"\bSt\.(?=\s+([A-Z])|)")
_MONTH = re.compile(r"\b(Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\.?(?= \d{1,2}\b)")
_COUNTED = re.compile(r"\b[Nn]os?\.\s?(?=\d)|#(?=\d)")
_SHARP = re.compile(r"\b([A-G])#(?!\w)")
_NUMERAL = re.compile(r"\b([A-Z][a-z]+) ([IVXL]{2,8})\b")


def _short_forms(text: str) -> str:
    text = _ABBREVIATION.sub(lambda m: SHORT[m[1]] + _stop(m), text)
    text = _UNPOINTED.sub(lambda m: SHORT[m[0]], text)
    text = _INITIALS.sub(lambda m: _letters(m[0]) + _stop(m), text)
    text = _STREET.sub(lambda m: "Saint" if m[1] else "Street" + _stop(m), text)
    text = _MONTH.sub(lambda m: next(name for name in MONTHS if name.startswith(m[1][:3])), text)
    text = _NUMERAL.sub(_numeral, text)
    return _SHARP.sub(r"\1 sharp", _COUNTED.sub("number ", text))


def _letters(initials: str) -> str:
    letters = initials.replace(".", "").upper()
    return "A M" if letters == "AM" else letters  # the verb for espeak


def _stop(short: re.Match[str]) -> str:
    """A full stop that ends the sentence, too, is kept."""
    return "" if short.string[short.end() :].strip() else "."


def _numeral(found: re.Match[str]) -> str:
    name, letters = found[1], found[2]
    number = next((n for n in range(2, 90) if _roman(n) == letters), 0)
    if name in NO_NAMES or not number:
        return found[0]
    return f"{name} the {_ordinal(number)}" if name in KINGS else f"{name} {number}"


def _roman(number: int) -> str:
    tens = ("", "X", "XX", "XXX", "XL", "L", "LX", "LXX", "LXXX")[number // 10]
    return tens + ("", "I", "II", "III", "IV", "V", "VI", "VII", "VIII", "IX")[number % 10]


def _ordinal(number: int) -> str:
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


_ISO = re.compile(r"(?<![\d.,:/-])(\d{4})-(\d\d)-(\d\d)(?![\w-])")
_SLASHED = re.compile(r"(?<![\d.,:/-])(\d{1,2})([/.-])(\d{1,2})\2(\d{4}|(?<=/)\d\d)(?![\d/-]|\.\d)")


def _dates(text: str, *, day_first: bool) -> str:
    def date(written: str, year: str, month: int, day: int) -> str:
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return written
        name = MONTHS[month - 1]
        if day_first:
            return f"{_ordinal(day)} of {name}, {year}"
        return f"{name} {_ordinal(day)}, {year}"

    def slashed(found: re.Match[str]) -> str:
        month, day, year = int(found[1]), int(found[3]), found[4]
        if month > 12 or (day_first and day <= 12):
            month, day = day, month
        return date(found[0], year if len(year) == 4 else f"20{year}", month, day)

    text = _ISO.sub(lambda m: date(m[0], m[1], int(m[2]), int(m[3])), text)
    return _SLASHED.sub(slashed, text)


_TELEPHONE = re.compile(
    r"(?<![\w.,:/-])(?:"
    r"\+\d{1,3}(?:[ -]\(?\d{1,5}\)?){2,6}"  # +44 20 7946 0958
    r"|(?:1[ .-])?\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}"  # (555) 123-4567
    r"|[2-9]\d\d-(?!\d\d00)\d{4}"  # 555-1234, but 200-1000 is a range
    r"|\d{1,6}(?:-\d{1,6}){2,6}"
    r")(?![\w-]|[.,]\d)"
)


def _telephones(text: str) -> str:
    """Digit by digit, with a pause behind each group; but 1-2-3 is counted."""

    def said(found: re.Match[str]) -> str:
        groups = re.findall(r"\d+", found[0])
        if any(len(group) > 2 for group in groups):
            groups = [" ".join(group) for group in groups]
        return ("plus " if found[0][0] == "+" else "") + ", ".join(groups)

    return _TELEPHONE.sub(said, text)


_POINT = r"\d{1,9}(?:\.\d{1,9}|:\d\d)?"
_RANGE = re.compile(
    rf"{_WHOLE}({_POINT}%?)(\s?)[-–]\2({_POINT})(?=[A-Za-z]{{1,4}}(?![\w-])|(?![\w/–]|-\S|[.,:]\d))"
    r"(?=(\s?=)?)"
)
_RATIO = re.compile(rf"{_WHOLE}(\d{{1,4}}):(\d{{1,4}})(?!\d|[:.]\d|\s?[ap]m\b)")


def _ranges(text: str) -> str:
    """3-5 is a range, 5 - 3 is none; 16:9 is no time."""

    def said(found: re.Match[str]) -> str:
        before, space, behind, equals = found.groups()
        if (before, space, behind) == ("24", "", "7"):
            return "24 7"
        falls = _size(before) > _size(behind)
        return f"{before} {'minus' if equals or (space and falls) else 'to'} {behind}"

    def ratio(found: re.Match[str]) -> str:
        time = len(found[2]) == 2 and int(found[1]) < 60
        return found[0] if time else f"{found[1]} to {found[2]}"

    return _RATIO.sub(ratio, _RANGE.sub(said, text))


def _size(number: str) -> float:
    return float(number.rstrip("%").replace(":", "."))


_HALF_DAY = re.compile(r"(?<=\d)\s?([AaPp])(?:\.[Mm]\.(?=\s*\S)|\.?[Mm]\b)")
_WHOLE_HOUR = re.compile(rf"{_WHOLE}([01]?\d|2[0-4]):00(\s?[ap]m\b|\s?o['’]clock)?(?!\d|:\d)")
_FIRST_MINUTES = re.compile(rf"{_WHOLE}([1-9]\d?):0([1-9])(?!\d|:\d)")


def _half_day(found: re.Match[str]) -> str:
    # Apart it would be the verb again.
    return f"{found[1].lower()}m"


def _times(text: str) -> str:
    def hour(found: re.Match[str]) -> str:
        at = int(found[1])
        if found[2]:
            return f"{at}{found[2]}"
        if at in (0, 24):
            return "midnight"
        return f"{at} o'clock" if at <= 12 else f"{at} hundred"

    return _FIRST_MINUTES.sub(r"\1 oh \2", _WHOLE_HOUR.sub(hour, text))


_FRACTION = re.compile(
    rf"(?:{_WHOLE}(\d{{1,3}}) )?{_WHOLE}(\d{{1,3}})/(\d{{1,3}})(?![\w/%]|[.,]\d)"
)
_FEET = re.compile(r"(?<![\w.])(\d{1,2})['’′](\d{1,2})(?:[\"”″]|'')")
_TIMES = re.compile(rf"(?<![\w.])(?!0[xX])({_NUMBER})(\s?)[xX]\2(?=\d)")
_POWER = re.compile(r"(?<=\d)\^(?=\d)")
_WITH = re.compile(r"\bw/(o\b)?(?=\s)")


def _parts(text: str) -> str:
    def fraction(found: re.Match[str]) -> str:
        whole, above, below = found[1], int(found[2]), int(found[3])
        if 0 < above < below < 10:
            words = SIGN_WORDS["en"]
            said = words.halves[below - 2] if above == 1 else f"{above} {words.parts[below - 2]}"
            return f"{whole} and {said}" if whole else said
        between = " out of " if above <= below else " over "
        if (above, below) in ((24, 7), (9, 11), (50, 50)):
            between = " "
        return f"{whole + ' ' if whole else ''}{above}{between}{below}"

    text = _FEET.sub(r"\1 foot \2", _FRACTION.sub(fraction, text))
    text = _TIMES.sub(lambda m: f"{m[1]} {'times' if m[2] else 'by'} ", text)
    text = _POWER.sub(" to the power of ", text).replace("and/or", "and or")
    return _WITH.sub(lambda m: "without" if m[1] else "with", text)


_DECADE = re.compile(
    r"(?<![\w.,])(?:['’]|(1[1-9]|20)|(?<=the )|(?<=ly )|(?<=late )|(?<=mid-))([2-9]0)['’]?s\b"
)
_CENTURY = re.compile(r"(?<![\w.,])(1\d|20)00['’]?s\b")
_YEAR = re.compile(
    rf"{_WHOLE}(1[1-9])(\d\d)(?![\w%°/]|-\d|[.,:]\d| ?(?:{_SIGNS}|m)\b"
    r"|[ -][a-z-]*(?:meter|gram|mile|dollar|euro|pound|calorie|people))"
)


def _years(text: str) -> str:
    """1990 is nineteen ninety; so is the number of a room or a flight."""

    def year(found: re.Match[str]) -> str:
        century, rest = found[1], found[2]
        if rest == "00":
            return f"{century} hundred"
        return f"{century} oh {rest[1]}" if rest[0] == "0" else f"{century} {rest}"

    text = _DECADE.sub(lambda m: f"{m[1] or ''} {DECADES[m[2]]}".strip(), text)
    text = _CENTURY.sub(lambda m: "2 thousands" if m[1] == "20" else f"{m[1]} hundreds", text)
    return _YEAR.sub(year, text)


_MEASURED = re.compile(
    rf"(?<![\w.,])({_NUMBER})([ -]?)({_SIGNS}|(?<= )m)(?![\w/²³'’])(?:\.(?=\s+[a-z]))?"
)


def _units(text: str) -> str:
    def unit(found: re.Match[str]) -> str:
        one, several = UNITS.get(found[3], ("meter", "meters"))
        return f"{found[1]} {one if found[1] == '1' or found[2] == '-' else several}"

    return _MEASURED.sub(unit, text)
