"""What of a written text is said: markdown, emoji, addresses made speakable or left out. Pure."""

from __future__ import annotations

import re
from unicodedata import category

_KEPT_SYMBOLS = frozenset("°©®™℃℉№")
"""Of category So, where emoji live too, those that a voice has a word for."""
_JOINS_LETTERS = "\u200c\u200d"
"""Zero width, but they shape words in Persian and in Indic scripts."""

_RULES: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(pattern, re.MULTILINE), replacement)
    for pattern, replacement in (
        (r"```[\w+-]*|~~|`", ""),
        (r"!?\[([^\[\]]*)\]\([^()\s]*\)", r"\1"),  # a link is its label
        (r"\b(?:https?|wss?|ftp)://|\bmailto:", ""),
        (r"^[^\S\n]*\|", ""),
        (r"\|", ", "),  # the cells of a table
        (r":?-{3,}:?|={3,}|_{3,}", " "),
        (r"(?<=\d)[ ]?\*[ ]?(?=\d)", " × "),
        (r"\*", ""),
        (r"(?<!\w)_+|_+(?!\w)", ""),
        (r"_", " "),
    )
)
_LINE_END = re.compile(r"(?<=\w)[^\S\n]*\n(?=[^\S\n]*(?:\n|[-+*•#>|][^\S\n]|\d+[.)][^\S\n]))")
"""A line that ends without a mark before a list item or an empty line is a sentence to the ear."""
_LINE_OPENER = re.compile(r"^[^\S\n]*(?:(?:[#>]+|[-+*•])[^\S\n]+)+", re.MULTILINE)
_LOOSE_COMMAS = re.compile(r"(?:\s*,)+(?=\s*,)")
_SPACE_BEFORE_MARK = re.compile(r"\s+([,.!?;:…]+)(?=\s|$)")


def spoken(text: str, *, opens_line: bool = True) -> str:
    """Return what to say for `text`, in one line; "" when nothing in it can be said.

    `opens_line` tells whether the text begins at the start of a line, where "-" is a bullet
    and "#" a heading.
    """
    text = _LINE_END.sub(".\n", text)
    # A stop in front keeps a text that begins mid-line from matching at its first character.
    text = _LINE_OPENER.sub("", text) if opens_line else _LINE_OPENER.sub("", "." + text)[1:]
    for pattern, replacement in _RULES:
        text = pattern.sub(replacement, text)
    text = " ".join(_without_symbols(text).split())
    text = _SPACE_BEFORE_MARK.sub(r"\1", _LOOSE_COMMAS.sub("", text)).lstrip(" ,;:")
    return text if any(ch.isalnum() for ch in text) else ""


def _without_symbols(text: str) -> str:
    """Drop emoji with what modifies them, control and format characters, half characters."""
    # Two halves of a character that the stream had parted become one again.
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    kept: list[str] = []
    after_letter = False
    for ch in text:
        kind = category(ch)
        shapes_letter = kind[0] == "M" or ch in _JOINS_LETTERS
        if ch.isspace():
            kept.append(" ")
        elif shapes_letter:
            if after_letter:
                kept.append(ch)
            continue
        elif kind[0] != "C" and (ch in _KEPT_SYMBOLS or not _is_emoji(ch, kind)):
            kept.append(ch)
        elif kind != "Cf":
            kept.append(" ")
        after_letter = ch.isalpha()
    return "".join(kept)


def _is_emoji(ch: str, kind: str) -> bool:
    if "\u3300" <= ch <= "\u33ff":  # units in a square: ㎏, ㌔, ㎡
        return False
    return kind == "So" or "\U0001f3fb" <= ch <= "\U0001f3ff" or "\u2190" <= ch <= "\u21ff"
