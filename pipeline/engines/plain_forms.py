"""Digits of other scripts, and letters, numerals and marks of other forms, as those that a voice
reads: espeak leaves out what it does not know, or spells its code point. Pure."""

from __future__ import annotations

from unicodedata import category, decimal, decomposition, normalize, numeric

from pipeline.engines.signs import spoken_fraction

_OWN_DIGITS = {"ne": "०१२३४५६७८९"}
"""By espeak's name of the language, those that stay: in Nepali it reads 1, 2, 3 as English. In all
other scripts of its languages it reads both alike."""
_READ_FRACTIONS = "½⅓⅔¼"
"""It has words for them in every language, if only English ones; for the others it has none."""
_THREE_QUARTERS = ("de", "en", "fr", "nl", "pl", "pt")
"""The languages in which it was found to have words for ¾, too."""
_EAST = ("cmn", "ja", "yue", "zh")
_EASTERN_MARKS = "！（），．：；？～"
"""Their readers know them, and the pauses they stand for."""


def plain_forms(text: str, language: str) -> str:
    """The text with １, ٣, 𝟏 as 1, ① as 1, Ⅳ as IV, Ａ and 𝐀 as A, ㎏ as kg, ⅞ as the words of
    `language`, by espeak's name of it, or as 7/8. What it reads as it stands is left: ², ³."""
    if text.isascii():
        return text
    padded = f" {text} "
    return "".join(
        char if char.isascii() else _plain(before, char, after, language)
        for before, char, after in zip(padded, text, padded[2:], strict=False)
    )


def _plain(before: str, char: str, after: str, language: str) -> str:
    match category(char), decomposition(char).partition(" ")[0]:
        case "Nd", _:
            return char if char in _OWN_DIGITS.get(language, "") else str(decimal(char))
        case "No", "<fraction>" if words := spoken_fraction(char, language, behind=before):
            return f"{words} " if after.isnumeric() else words
        case "No", "<fraction>" | "<super>" | "<sub>" if _is_read(char, language):
            return char
        case "No", "<fraction>" | "<super>" | "<sub>" | "<circle>" | "<compat>":
            return _apart(before, normalize("NFKC", char).replace("⁄", "/"), after)
        case "No", "" if "①" <= char <= "➓":  # white on black and the like
            return _apart(before, str(int(numeric(char))), after)
        case _, "<wide>" if char in _EASTERN_MARKS and language in _EAST:
            # A decimal point or a colon within a number is no pause.
            within = before.isdecimal() and after.isdecimal() and char in "，．："
            return normalize("NFKC", char) if within else char
        case ("Nl", "<compat>") | (_, "<wide>" | "<font>"):
            return normalize("NFKC", char)
        case "So", _ if "\u3300" <= char <= "\u33ff" or (char in "℃℉" and language != "zh"):
            return normalize("NFKC", char)  # ㎏, ㌔, ㏠
    return "零" if char == "〇" and language == "zh" else char


def _is_read(char: str, language: str) -> bool:
    if language == "zh":  # its reader knows none
        return False
    if char == "¾":
        return language.split("-")[0] in _THREE_QUARTERS
    return char in _READ_FRACTIONS or not decomposition(char).startswith("<fraction>")


def _apart(before: str, number: str, after: str) -> str:
    """1⅞ is no 17/8."""
    left = " " if before.isnumeric() and number[0].isdecimal() else ""
    right = " " if after.isnumeric() and number[-1].isdecimal() else ""
    return f"{left}{number}{right}"
