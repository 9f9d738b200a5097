"""What marks mean: where a sentence or a clause may end, and where a mark is part of a word.

Pure tables and judgements; it knows one mark and its neighbours, never the text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, IntEnum
from unicodedata import category, combining, east_asian_width


class Strength(IntEnum):
    """How good a place to cut is."""

    LEANING = 1
    """After a word such as "the" or "of": it would be said as if it stood alone."""
    SPACE = 2
    CLAUSE = 3
    SENTENCE = 4


class Verdict(Enum):
    """What a full stop after a word is."""

    ENDS = "the end of a sentence"
    INSIDE = "a part of the word"
    UNLESS_LOWER = "an end, unless a small letter or a digit follows"
    UNLESS_DIGIT = "an end, unless a digit follows"


_SENTENCE = frozenset(".!?。．！？｡‼⁇⁈⁉؟۔।॥։።፧။។៕།")
_CLAUSE = frozenset(",;:—―…，、；：､،؛፣፤၊")
MARKS = _SENTENCE | _CLAUSE
IN_NUMBERS = frozenset(".,:．，：")
CLOSERS = frozenset("\"'”’)]}»›」』】）］〉》*_`~")
_JOINERS = frozenset("/\\@&=%+-_#$")
NEWLINES = frozenset("\n\r\v\f\x85\u2028\u2029")
UNBREAKABLE = frozenset("\u00a0\u2007\u202f")
LINE_OPENERS = frozenset("#>*-+•")
_VIRAMA = 9
"""The combining class of signs that bind the next consonant to theirs."""
_WORD = re.compile(r"[\w.]+$")
_LETTERS_AND_DOTS = re.compile(r"[^\W\d_](\.[^\W\d_])+")


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Titles need their capital: "5 ms." ends a sentence, "Ms." does not.
_TITLES = _words(
    "Dr Mr Mrs Ms Mx Prof St Mt Ft Gen Col Sgt Capt Lt Maj Rev Hon Gov Sen Rep Pres Messrs"
    " Sr Sra Srta Dra Dña Mme Mlle Dott Sig Avv Hr"
)
_NEVER_LAST = _words("e.g i.e eg ie cf vs viz approx")
_NUMBERED = _words("no nos nr vol fig pp est jan feb apr aug sep sept oct nov dec")
_SOMETIMES_LAST = _words(
    "etc inc ltd co corp jr sr bros al a.m p.m ph.d ave blvd I"
    " oz lb lbs tsp tbsp ft sec min mins hr hrs"
)

# Words of one to three letters, in languages with Latin ones, that are said in one breath with the
# next: articles, prepositions, conjunctions, pronouns, auxiliaries, numerals. "map" is none.
# English, Spanish, French, Italian, Portuguese, German; what several have stands where it is first.
_LEANING = _words(
    "a an the of to in on at by for as and or but nor if so yet than is am are was be has had do"
    " did can may my our his her its you we he she it i no not who how why all any per via one two"
    " six ten new old own"
    " un una uno unos el los las lo la le les de del al en con por sin su sus mi mis tu tus y e o u"
    " ni que se me te nos es son fue ha he si tan muy más"
    " une du des au aux à et ou où qui ne ce ces cet ma ta sa mon ton mes tes ses est ont il je sur"
    " par"
    " gli i di da tra fra che ti ci vi non è ho dal nel sul mio tuo suo"
    " um uma os as do dos das em na nas ao é não com sem seu sua meu foi"
    " der die das den dem ein im auf zu zum zur bei von vom mit und ob ist er sie wir ich"
)
_OPENERS = "\"'“‘«„([¿¡"
_SHORT = 3


def leans(word: str) -> bool:
    """Whether a word is said in one breath with the next: of those that are not written in Latin
    letters each that is short, and a number that is no year ("9:00 AM", "$1.5 million")."""
    plain = word.lstrip(_OPENERS).lower()
    if plain in _LEANING:
        return True
    if any("a" <= ch <= "ɏ" for ch in plain):
        return False
    signed = plain[-1:].isdigit() and not plain.isdigit()
    return signed or sum(3 if is_wide(ch) else 1 for ch in plain) <= _SHORT


def verdict_on(word: str, *, opens_line: bool) -> Verdict:
    """Judge the full stop after `word` (without it), once white space has followed."""
    lower = word.lower()
    if word in _TITLES:
        return Verdict.INSIDE
    if word in _SOMETIMES_LAST or lower in _SOMETIMES_LAST:
        return Verdict.UNLESS_LOWER
    if lower in _NUMBERED:
        return Verdict.UNLESS_DIGIT
    initial = len(word) == 1 and word.isupper()
    list_number = opens_line and word.isdigit()
    if initial or list_number or lower in _NEVER_LAST:
        return Verdict.INSIDE
    # "U.S." may end a sentence too, but a pause in "the U.S. Army" is worse than none after it.
    return Verdict.INSIDE if _LETTERS_AND_DOTS.fullmatch(word) else Verdict.ENDS


def last_word(text: str) -> str:
    """Return the word (with dots inside) that `text` ends with, free of brackets and quotes."""
    match = _WORD.search(text)
    return match.group() if match else ""


def is_wide(ch: str) -> bool:
    """Whether `ch` is a letter that takes about a syllable: Chinese, Japanese, Korean."""
    return ch >= "\u1100" and ch.isalpha() and east_asian_width(ch) == "W"


def clings(before: str, after: str) -> bool:
    """Whether two neighbours belong to one grapheme cluster (UAX 29, without the flags)."""
    if after < "\u0300":
        return before == "\r" and after == "\n"
    return (
        category(after)[0] == "M"
        or "\u200d" in (before, after)
        or after == "\u200c"
        or (combining(before) == _VIRAMA and after.isalpha())
        or "\u1160" <= after <= "\u11ff"  # Hangul vowels and finals
        or after in "\u0e33\u0eb3"  # Thai and Lao AM
        or "\U0001f3fb" <= after <= "\U0001f3ff"  # skin tones
        or "\U000e0020" <= after <= "\U000e007f"  # tags of a flag
        or ("\ud800" <= before <= "\udbff" and "\udc00" <= after <= "\udfff")
    )


def is_flag_half(ch: str) -> bool:
    """Whether `ch` is a regional indicator; two make a flag."""
    return "\U0001f1e6" <= ch <= "\U0001f1ff"


def is_solid(ch: str) -> bool:
    """Part of a word, a number or a URL, rather than a letter that stands for itself."""
    return "!" <= ch <= "~" or (category(ch)[0] in "LMN" and not is_wide(ch))


@dataclass(slots=True)
class Mark:
    """A mark, or a run of marks and closers, that waits for the character after it."""

    end: int
    strength: Strength
    word: str
    """What stands before a single full stop; "" for any other mark."""
    opens_line: bool
    wide: bool
    in_number: bool
    full_stop: bool
    dash: bool = False
    waits_for: Verdict | None = None

    def extend(self, ch: str) -> None:
        """Take the next mark, closer or combining character into the run."""
        self.end += 1
        if ch not in MARKS:
            self.full_stop = False
            return
        # "..." is a pause, "?!" a sentence's end; a comma after a closing quote is a comma.
        ellipsis = self.full_stop and ch == "."
        self.strength = strength_of(ch) if not ellipsis else Strength.CLAUSE
        self.full_stop = ch == "."
        self.wide = ch > "~"
        self.word, self.in_number = "", False

    def joins(self, ch: str) -> bool:
        """Whether `ch` goes on with the word or number that the mark stands in."""
        if self.wide:
            return self.in_number and ch.isdigit()
        return (ch.isalnum() and not is_wide(ch)) or ch in _JOINERS

    def ends_before(self, ch: str) -> bool:
        """Whether a mark that waited for the next word ends the sentence, now that it comes."""
        return not (ch.isdigit() or (self.waits_for is Verdict.UNLESS_LOWER and ch.islower()))


def strength_of(mark: str) -> Strength:
    """How good a place to cut comes after a mark."""
    return Strength.SENTENCE if mark in _SENTENCE else Strength.CLAUSE
