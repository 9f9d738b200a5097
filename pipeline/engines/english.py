"""English as a person reads it out: times, dates, telephones, ranges, fractions, units, names. Of
itself espeak says "nine zero zero" and "one slash two", and pauses behind "Dr.". Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

from pipeline.engines import english_words as words


def _any(forms: Iterable[str]) -> str:
    return "|".join(sorted(map(re.escape, forms), key=len, reverse=True))


_SIGNS = rf"{_any({*words.UNITS} - {*'ms', 'in', 'W'})}|(?<= )[ms]|in(?=\.)|W(?!\.? ?[A-Z\d])"
"""5m may be millions, "2 in" goes on with a place, and "350 W 5th St" is west."""
_WHOLE = r"(?<![\w.,:/$€£¥₹-])"
"""Before a number that nothing belongs to."""
_NUMBER = r"\d{1,9}(?:,\d{3}){0,4}(?:\.\d{1,9})?"


def read_out(text: str, *, day_first: bool) -> str:
    """The text with words where espeak has none, or others than a person has. `day_first`: 3/4/2025
    is a day of April, as in British English."""
    text = _short_forms(_HALF_DAY.sub(lambda m: f"{m[1].lower()}m{_stop(m)}", text))
    text = _telephones(_dates(text, day_first=day_first))
    return _powers(_units(_years(_parts(_times(_ranges(text))))))


_ENDS = re.compile(rf"[\"'”’)\]]*(?:\s*\Z|\s+(?:{_any(words.OPENERS)})\b(?!\.))")
_POINTED = {**words.NEVER_LAST, **words.SHORT}
_ABBREVIATION = re.compile(rf"(?<![\w.])({_any(_POINTED)})\.(?![A-Za-z\d])")
_UNPOINTED = re.compile(rf"\b(?:M[st](?= [A-Z])|(?:{_any(words.UNPOINTED)})\b)")
_SPELT = re.compile(rf"\b({_any(words.SPELT)})(s?)\b")
_INITIALS = re.compile(r"(?<![\w.])(?:[A-Za-z]\.){2,6}(?![A-Za-z\d])")
_ROAD = re.compile(
    r"(\b\d+[A-Z]? (?:[A-Z][\w.]* ){0,2})?\b([A-Z][a-z]*|\d+(?:st|nd|rd|th)) "
    rf"({_any(words.ROADS)})\b\.?(?!\w)(?=( [A-Z][a-z])?)"
)
_SAINT = re.compile(r"\bSt\.(?= [A-Z])")
_DATED = re.compile(
    rf"\b({_any(words.SHORT_MONTHS)})\b\.?(?= \d)"
    rf"|(?:(?<=\d )|(?<=\d[snrt][tdh] ))({_any(words.SHORT_MONTHS)})\b\.?"
)
_SPAN = re.compile(rf"\b({_any(words.DAYS)})\b\.?\s?[-–]\s?({_any(words.DAYS)})\b(?:\.(?=,))?")
_COUNTED = re.compile(rf"(?<![\w.])({_any(words.COUNTED)})\.\s?(?=\d)|#(?=\d)")
_SHARP = re.compile(r"\b([A-G])#(?!\w)")
_NUMERAL = re.compile(r"\b([A-Z][a-z]+ )?([A-Z][a-z]+) ([IVXL]{2,8})\b")
_CUT_OFF = re.compile(r"\AI{2,3}\b")


def _short_forms(text: str) -> str:
    text = _SAINT.sub("Saint", _ROAD.sub(_road, text))
    text = _ABBREVIATION.sub(_pointed, text)
    text = _UNPOINTED.sub(lambda m: words.UNPOINTED.get(m[0]) or _POINTED[m[0]], text)
    text = _SPELT.sub(lambda m: " ".join(m[1]) + "'s" * bool(m[2]), text)
    text = _SPAN.sub(lambda m: f"{words.DAYS[m[1]]} to {words.DAYS[m[2]]}", text)
    text = _DATED.sub(lambda m: words.SHORT_MONTHS[m[1] or m[2]] + _stop(m), text)
    text = _INITIALS.sub(lambda m: m[0][:-1] + _stop(m), text)
    text = _COUNTED.sub(lambda m: f"{words.COUNTED.get(m[1], 'number')} ", text)
    text = _CUT_OFF.sub(lambda m: str(len(m[0])), _NUMERAL.sub(_numeral, text))
    return _SHARP.sub(r"\1 sharp", text)


def _pointed(short: re.Match[str]) -> str:
    return _POINTED[short[1]] + ("" if short[1] in words.NEVER_LAST else _stop(short))


def _stop(short: re.Match[str]) -> str:
    """A full stop that ends the sentence, too, is kept."""
    return "." if short[0][-1] == "." and _ENDS.match(short.string, short.end()) else ""


def _road(found: re.Match[str]) -> str:
    number, name, short, follows = found.groups()
    if follows and not number:  # "Then Dr. Smith", "Mount St. Helens"
        return found[0]
    return f"{number or ''}{name} {words.ROADS[short]}{_stop(found)}"


def _numeral(found: re.Match[str]) -> str:
    throne, name, letters = found.groups(default="")
    number = words.ROMAN.get(letters)
    if name in words.NO_NAMES or number is None:
        return found[0]
    king = name in words.KINGS or throne.strip() in words.THRONES
    return f"{throne}{name} {f'the {_ordinal(number)}' if king else number}"


def _ordinal(number: int) -> str:
    teen = number % 100 in (11, 12, 13)
    return f"{number}{'th' if teen else {1: 'st', 2: 'nd', 3: 'rd'}.get(number % 10, 'th')}"


_ISO = re.compile(r"(?<![\d.,:/-])(\d{4})([/-])(\d\d)\2(\d\d)(?![\w/-])")
_SLASHED = re.compile(r"(?<![\d.,:/-])(\d{1,2})([/.-])(\d{1,2})\2(\d{4}|(?<=/)\d\d)(?![\d/-]|\.\d)")


def _dates(text: str, *, day_first: bool) -> str:
    def date(written: str, year: str, month: int, day: int) -> str:
        if not (1 <= month <= 12 and 1 <= day <= 31):
            return written
        name = words.MONTHS[month - 1]
        if day_first:
            return f"{_ordinal(day)} of {name}, {year}"
        return f"{name} {_ordinal(day)}, {year}"

    def slashed(found: re.Match[str]) -> str:
        month, day, year = int(found[1]), int(found[3]), found[4]
        if month > 12 or ((day_first or found[2] == ".") and day <= 12):
            month, day = day, month
        return date(found[0], f"20{year}" if len(year) == 2 and year < "50" else year, month, day)

    text = _ISO.sub(lambda m: date(m[0], m[1], int(m[3]), int(m[4])), text)
    return _SLASHED.sub(slashed, text)


_TELEPHONE = re.compile(
    r"(?<![\w.,:/-])(?:"
    r"\+\d{1,3}(?:[ -]\(?\d{1,5}\)?){2,6}"  # +44 20 7946 0958
    r"|(?:1[ .-])?\(?\d{3}\)?[ .-]\d{3}[ .-]\d{4}"  # (555) 123-4567
    r"|\(?0\d{2,4}\)?(?: \d{3,6}){1,2}"  # 020 7946 0958
    r"|\+\d{8,15}|[2-9]\d{9}|0\d{9,10}"
    r"|555-\d{4}|[2-9]\d\d-(?!1\d\d\d|\d\d00)\d{4}"  # but 476-1453 and 200-1000 are ranges
    r"|\d{1,8}(?:-\d{1,8}){2,6}"
    r"|\d{5}-\d{4}|(?<=, [A-Z]{2} )\d{5}"  # Springfield, IL 62701
    r"|(?<=[Cc]all |[Dd]ial |[Tt]ext |hone )(?:[1-9]11|112|988|999|\d{5,6})"
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


_POINT = r"\d{1,9}(?:\.\d{1,9}|:\d\d?)?"
_RANGE = re.compile(
    rf"{_WHOLE}({_POINT})(%|°[CF]?|[ap]m|)(\s?)([-–])\3({_POINT})"
    r"(?=[A-Za-z]{1,4}(?![\w-])|(?![\w/–]|-[^\sa-z]|[.,:]\d))"
)
_RATIO = re.compile(
    rf"(?:(\b[A-Z][a-z]+ )|{_WHOLE})(\d{{1,4}}):(\d{{1,4}})(?!\d|[:.]\d|\s?[ap]m\b)"
)
_LESS = re.compile(r"(?<=[\w)]) - (?=[\w(])")
_PAIRS = (("24", "7"), ("50", "50"), ("20", "20"))


def _ranges(text: str) -> str:
    """3-5 is a range, 5 - 3 is none; 16:9 is no time, and neither is Psalm 23:4."""

    def said(found: re.Match[str]) -> str:
        before, sign, space, dash, behind = found.groups()
        if not space and (before, behind) in _PAIRS:
            return f"{before} {behind}"
        falls = float(before.replace(":", ".")) > float(behind.replace(":", "."))
        taken = falls and dash == "-" and space and not sign
        return f"{before}{sign} {'minus' if taken else 'to'} {behind}"

    def ratio(found: re.Match[str]) -> str:
        book, before, behind = found.groups(default="")
        if len(behind) == 2 and int(before) < 60:
            return found[0]
        verse = book and book.rstrip() not in words.NO_NAMES
        return f"{book}{before}{' ' if verse else ' to '}{behind}"

    if "=" in text:
        text = _LESS.sub(" minus ", text)
    return _RATIO.sub(ratio, _RANGE.sub(said, text))


_HALF_DAY = re.compile(r"(?<=\d)\s?([AaPp])(?:\.[Mm]\.|\.?[Mm]\b)")
_WHOLE_HOUR = re.compile(rf"{_WHOLE}([01]?\d|2[0-4]):00(\s?[ap]m\b|\s?o['’]clock)?(?!\d|:\d)")
_DOTTED = re.compile(rf"{_WHOLE}(\d{{1,2}})\.([0-5]\d)(?=[ap]m\b)")
_FIRST_MINUTES = re.compile(rf"{_WHOLE}0?([1-9]\d?):0([1-9])(?!\d|:\d)")


def _times(text: str) -> str:
    def hour(found: re.Match[str]) -> str:
        at = int(found[1])
        if found[2]:
            return f"{at}{found[2]}"
        if at in (0, 24):
            return "midnight"
        return f"{at} o'clock" if at <= 12 else f"{at} hundred"

    text = _WHOLE_HOUR.sub(hour, _DOTTED.sub(r"\1:\2", text))
    return _FIRST_MINUTES.sub(r"\1 oh \2", text)


_PART = r"(\d{1,3}(?:\.\d)?)"
_FRACTION = re.compile(
    rf"{_WHOLE}(?:(\d{{1,3}})([ -]))?{_PART}/{_PART}(?![\w/%]|[.,]\d)(?=( time\b)?)"
)
_BETWEEN = re.compile(r"(?:(?<=\d/\d)|(?<=[½⅓⅔¼]))\s?[-–]\s?(?=[\d½⅓⅔¼])")
_FEET = re.compile(r"(?<![\w.])(\d{1,2})['’′] ?(\d{1,2})(?:[\"”″]|'')")
_TIMES = re.compile(
    rf"(?<![\w.])(?!0[xX])({_NUMBER})([\"”″'’′]?)(\s?)[xX×]\3"
    rf"(?={_NUMBER}([\"”″'’′]|[ -]?(?:inch|in\b|feet|foot|ft\b|[cm]?m\b|meter|pixel))?)"
)
_PER = re.compile(rf"(?:(?<=[\ds])|(?<=\b[kmG][gmLB]))\s?/\s?({_any(words.PER)})\b")
_WITH = re.compile(r"\bw/(o\b)?(?=\s)")


def _parts(text: str) -> str:
    def fraction(found: re.Match[str]) -> str:
        whole, joint, above, below, beat = found.groups()
        proper = above.isdigit() and 0 < int(above) < float(below) and not beat
        if proper and below in words.PARTS and (below != "10" or above == "1"):
            one, several = words.PARTS[below]
            said = one if above == "1" else f"{above} {several}"
            return f"{whole} and {said}" if whole else said
        between = " out of " if float(above) <= float(below) else " over "
        if beat or float(above) + float(below) == 100 or (above, below) in (*_PAIRS, ("9", "11")):
            between = " "
        return f"{whole or ''}{joint or ''}{above}{between}{below}"

    text = _FEET.sub(r"\1 foot \2", _FRACTION.sub(fraction, _BETWEEN.sub(" to ", text)))
    text = _TIMES.sub(lambda m: f"{m[1]} {'by' if m[2] or m[4] or not m[3] else 'times'} ", text)
    text = _PER.sub(lambda m: f" per {words.PER[m[1]]}", text).replace("and/or", "and or")
    return _WITH.sub(lambda m: "without" if m[1] else "with", text)


_DECADE = re.compile(
    r"(?<![\w.,])(?:['’]|(1[1-9]|20)|((?i:the|his|her|their|my|our|your|early|mid|late|low|lower"
    r"|upper|high)[ -])|(?<=0s and )|(?<=0s or )|(?<=0s to )|(?<=0s[-–]))([1-9]0)['’]?s\b"
)
_CENTURY = re.compile(r"(?<![\w.,])(1\d|20)00['’]?s\b")
_YEAR = re.compile(
    rf"{_WHOLE}(1[1-9])(\d\d)(?![\w%°/]|-\d|[.,:]\d| ?(?:{_SIGNS})\b"
    rf"|[ -][a-z-]*(?:{_any(words.NO_YEARS)}))"
)


def _years(text: str) -> str:
    """1990 is nineteen ninety; so is the number of a room or a flight. 1440 minutes are counted."""

    def year(found: re.Match[str]) -> str:
        century, rest = found[1], found[2]
        if rest == "00":
            return f"{century} hundred"
        return f"{century} oh {rest[1]}" if rest[0] == "0" else f"{century} {rest}"

    text = _DECADE.sub(
        lambda m: f"{m[1] or ''}{m[2] or ' ' * bool(m[1])}{words.DECADES[m[3]]}", text
    )
    text = _CENTURY.sub(lambda m: "2 thousands" if m[1] == "20" else f"{m[1]} hundreds", text)
    return _YEAR.sub(year, text)


_AMOUNT = rf"{_NUMBER}[⁻⁰¹²³⁴-⁹]*|[½⅓⅔¼]|(?<=\d )(?:thirds|quarters|\w{{3,9}}ths)"
_MEASURED = re.compile(
    rf"(\b[Aa]n? |)(?<![\w.,])({_AMOUNT})([ -]?)({_SIGNS})(?![\w/²³'’])(?:\.(?=\s+[a-z\d]))?"
)
_INCHES = re.compile(r"(?<=feet |foot )(\d{1,2}) in\b")


def _units(text: str) -> str:
    def unit(found: re.Match[str]) -> str:
        article, number, joint, sign = found.groups()
        part = not number[0].isdigit() and found.string[: found.start()][-4:] != "and "
        one = number == "1" or article or joint == "-" or part
        return f"{article}{number} {words.UNITS[sign][not one]}"

    return _INCHES.sub(r"\1 inches", _MEASURED.sub(unit, text))


_POWER = re.compile(
    r"(?<=[\w)])(?:\^([-−]?\d+(?:\.\d+)?|[a-z]\b)|((?:(?<=[\d)])|(?<=\b[A-Za-z]))⁻?[⁰¹²³⁴-⁹]+|[²³]))"
    r"(?![⁺⁻])(?=(\w)?)"
)
_LARGE = str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")


def _powers(text: str) -> str:
    def power(found: re.Match[str]) -> str:
        of = (found[1] or found[2]).translate(_LARGE)
        said = {"2": "squared", "3": "cubed"}.get(of, f"to the power of {of}")
        return f" {said}{' ' if found[3] else ''}"

    return _POWER.sub(power, text)
