"""Signs as words of the language: what its reader leaves out, or says where no person does ("$5" as
"dollar five"). Pure."""

from __future__ import annotations

import re
from unicodedata import decomposition

from pipeline.engines.english import read_out
from pipeline.engines.money import spoken_money
from pipeline.engines.short_forms import written_out
from pipeline.engines.sign_words import EAST, NUMBER, SIGN_WORDS, SignWords

_THOUSANDS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_DECIMAL = re.compile(r"(?<![\d.])(\d+)\.(\d+)(?![\d.])")
_DATE = re.compile(r"(?<!\d)(\d{4})([-/])(\d{1,2})\2(\d{1,2})(?!\d)")
_CLOCK = re.compile(r"(?<![\d:])([01]?\d|2[0-4]):([0-5]\d)(?![\d:])")
_HYPHENS = "–~〜～-"
_RANGE = re.compile(
    rf"(?<![\w.,:/{_HYPHENS}])(\d{{1,4}}(?:[.:]\d{{1,2}})?[%°℃]?)[{_HYPHENS}]"
    rf"(\d{{1,4}}(?:[.:]\d{{1,2}})?)(?![\d/{_HYPHENS}]|[.,:]\d)",
    re.ASCII,
)
"""3-5, 9:00-17:30, 5%-10%; no telephone number."""
_MINUS = re.compile(r"(?<![\w)\].,%°℃-])[-−](?=\d)", re.ASCII)
_COMPARED = re.compile(r"(?<=\d)\s*([<>])\s*(?=\d)")
_JOINED = re.compile(r"(?<=\d)[-–](?=\d)")
_SPACED_SIGN = re.compile(r"(?<=\d)\s+(?=[%‰])")
_FRACTION = re.compile(r"(?<![\d.,:/-])(?:(\d{1,3}) )?(\d)/(\d{1,2})(?![\d/%]|[.,]\d)")
"""3/4, 1 1/2; no date with a year."""
_PER_MILLE = re.compile(rf"({NUMBER})‰")
_NO_QUANTITY = re.compile(r"(?<![\d.,¥$€£])(?:\d{11,}|0\d{9,})(?!\d|[.,]\d)", re.ASCII)
"""Of a telephone, a card, an order: no commas, and many digits."""
_PAST_ALL = re.compile(r"\d{17,}", re.ASCII)
"""For this the readers have no names: Mandarin's says nothing of it."""
_MYRIADS = re.compile(r"(?<![\d.])\d{9,16}", re.ASCII)
"""Japanese's reader fails from ten digits on."""
_BY_ONE = str.maketrans("0123456789", "零一二三四五六七八九")


def spoken_fraction(char: str, language: str, *, behind: str) -> str | None:
    """The words for ⅞ and its like, which Unicode has as one character, `behind` another; None
    where there are none, and the reader's own or "7/8" have to do."""
    words = SIGN_WORDS.get(primary := language.split("-")[0])
    form, *codes = decomposition(char).split()
    signs = "".join(chr(int(code, 16)) for code in codes)
    above, _, below = signs.partition("⁄")
    if words is None or form != "<fraction>" or not below:
        return None
    said = _fraction(int(above), int(below), primary, words)
    if not behind.isdecimal():
        return said
    return f"{words.and_}{said}" if primary in EAST else f" {words.and_} {said}"


def _fraction(above: int, below: int, language: str, words: SignWords) -> str:
    match language:
        case "ja":
            return f"{below}分の{above}"
        case "zh":
            return f"{below}分之{above}"
        case "hi":
            return f"{above} बटा {below}" if below != 2 else "आधा"
    at = below - 2
    return words.halves[at] if above == 1 else f"{above} {words.parts[at]}"


def _written_fraction(found: re.Match[str], language: str, words: SignWords) -> str:
    whole, above, below = found[1] or "", int(found[2]), int(found[3])
    if not 0 < above < below <= 10:
        return found[0]
    said = _fraction(above, below, language, words)
    if not whole:
        return said
    return f"{whole}{words.and_}{said}" if language in EAST else f"{whole} {words.and_} {said}"


def spoken_signs(text: str, language: str) -> str:
    """The text with words for money, and for the signs that the language's reader has none for; of
    Japanese and Mandarin also the forms of a number that their readers take for several."""
    text = written_out(text, primary := language.split("-")[0])
    words = SIGN_WORDS.get(primary)
    if words is None:
        return text
    if primary in EAST:
        text = _NO_QUANTITY.sub(_one_by_one, text)
        text = _THOUSANDS.sub(lambda number: number[0].replace(",", ""), text)
        text = _DATE.sub(lambda day: f"{day[1]}年{int(day[3])}月{int(day[4])}日", text)
    if primary == "en":
        text = read_out(text, day_first=language.startswith("en-gb"))
    elif words.parts or primary in (*EAST, "hi"):
        text = _FRACTION.sub(lambda part: _written_fraction(part, primary, words), text)
    text = spoken_money(text, primary)
    if words.minus:
        text = _RANGE.sub(rf"\1{words.to}\2", text)
        text = _MINUS.sub(words.minus, text).replace("−", f" {words.minus} ")
    if primary in EAST:
        text = _eastern_numbers(text, primary)
    text = _COMPARED.sub(r" \1 ", text)
    for sign, word in words.signs.items():
        text = text.replace(sign, word)
    return text


def _eastern_numbers(text: str, language: str) -> str:
    """10:30 is a time; what their readers make of the rest is said where it is mended."""
    text = _CLOCK.sub(lambda time: _clock(int(time[1]), int(time[2]), language), text)
    text = _PAST_ALL.sub(_one_by_one, text)
    if language == "zh":
        # Of what is left between numbers this reader makes a minus: of a telephone number's, too.
        return _PER_MILLE.sub(r"千分之\1", _JOINED.sub(" ", _SPACED_SIGN.sub("", text)))
    text = _MYRIADS.sub(_by_myriads, text)
    # A point ends a sentence for this reader; what is behind it is read digit by digit.
    return _DECIMAL.sub(lambda number: f"{number[1]}点{number[2].translate(_BY_ONE)}", text)


def _one_by_one(number: re.Match[str]) -> str:
    return number[0].translate(_BY_ONE)


def _by_myriads(number: re.Match[str]) -> str:
    """1400000000 as 14億."""
    left, said = int(number[0]), ""
    for unit in ("", "万", "億", "兆"):
        left, group = divmod(left, 10_000)
        said = f"{group}{unit}{said}" if group else said
    return said or "0"


def _clock(hour: int, minute: int, language: str) -> str:
    if language == "ja":
        return f"{hour}時{minute}分" if minute else f"{hour}時"
    return f"{hour}点{'零' if 0 < minute < 10 else ''}{minute}分" if minute else f"{hour}点"
