"""Does somebody cut in, or was it nothing? From the words of what was heard over a reply. Pure."""

from __future__ import annotations

from enum import Enum
from itertools import pairwise
from unicodedata import category

_BACKCHANNEL = frozenset(
    word
    for language in (
        "mm mmm mhm hm hmm uh huh uhhuh mmhmm ah aha oh wow",
        "yeah yes yep yup ok okay right sure well",
        "sí si ajá vale claro",
        "oui ouais",
        "ja genau",
        "sì certo",
        "sim tá pois",
        "हाँ हां जी अच्छा",
        "うん ええ はい そう なるほど",
        "嗯 是 对 好",
    )
    for word in language.split()
)
"""What listeners say to say that they listen, in the languages of the default voices."""
_PHRASES = frozenset({("i", "see"), ("got", "it"), ("go", "on"), ("all", "right")})
"""The same in two words, of which one alone is the beginning of something else."""

_MOST_WORDS = 4
_ECHO_SHARE = 0.6


class Verdict(Enum):
    """What speech over a reply was."""

    NOTHING = "no words in it: a cough, a door"
    BACKCHANNEL = "a sign of listening"
    ECHO = "the reply itself, out of the loudspeaker"
    CUT_IN = "somebody speaks"


def judge(heard: str, reply: str) -> Verdict:
    """Judge the words heard while `reply` was spoken."""
    words = _words(heard)
    if not words:
        return Verdict.NOTHING
    if len(words) <= _MOST_WORDS and _only_listens(words):
        return Verdict.BACKCHANNEL
    if _echoes(words, _words(reply)):
        return Verdict.ECHO
    return Verdict.CUT_IN


def _words(text: str) -> list[str]:
    # "Mm-hm" is two words of one sound; a trailing "..." is none. Signs that are written on letters
    # (most of Hindi's vowels) belong to them, and are no letters by themselves.
    kept = (c if c.isalnum() or category(c)[0] == "M" or c in "'’" else " " for c in text)
    return [word for part in "".join(kept).split() if (word := part.strip("'’").casefold())]


def _only_listens(words: list[str]) -> bool:
    if not words:
        return True
    if _is_listening(words[0]):
        return _only_listens(words[1:])
    return tuple(words[:2]) in _PHRASES and _only_listens(words[2:])


def _is_listening(word: str) -> bool:
    """One of them, or the same one again and again, written without a space (对对对)."""
    return any(
        len(word) % size == 0 and word[:size] in _BACKCHANNEL
        for size in range(1, len(word) + 1)
        if word[:size] * (len(word) // size) == word
    )


def _echoes(heard: list[str], reply: list[str]) -> bool:
    """Most pairs of neighbouring words stand so in the reply. One word proves nothing."""
    pairs = list(pairwise(heard))
    if not pairs:
        return False
    said = set(pairwise(reply))
    return sum(pair in said for pair in pairs) >= _ECHO_SHARE * len(pairs)
