"""Text to Kokoro's phonemes, through espeak-ng; Japanese and Mandarin through `g2p_east`."""

from __future__ import annotations

import re
import threading
import unicodedata

from kokoro_onnx.config import DEFAULT_VOCAB

from pipeline.engines import g2p_east
from pipeline.engines.english_words import OPENERS
from pipeline.engines.espeak import Espeak, bundled
from pipeline.engines.plain_forms import plain_forms
from pipeline.engines.signs import spoken_signs
from pipeline.marks import Verdict, verdict_on

TOKENS: dict[str, int] = dict(DEFAULT_VOCAB)
"""Kokoro v1.0's alphabet: a phoneme, stress, punctuation mark or space -> its token."""

ESPEAK = Espeak("espeak-ng", bundled)
ESPEAK_VOICES = {"en-gb": "gmw/en", "fr-fr": "roa/fr"}
"""espeak's files of voices, where they have another name than the language."""

_east_lock = threading.Lock()

_MARK = r";:,.!?¡¿—…\"«»“”(){}\[\]"
# A mark counts only at the edge of a word, so that "3.14", "10:30", "U.S.A." and "example.com"
# reach espeak whole and are read as they should be.
_MARKS = re.compile(rf"([{_MARK}]+(?=\s|$)|(?<![^\s])[{_MARK}]+)")

_FLAG = re.compile(r"\([^()]*\)")
"""In what espeak gives: "(^e^n)", before a word that it reads as another language's."""

# What a language model uses to mark up its text is not a word: *bold*, `code`, # heading.
_MARKUP = re.compile(r"(?<!\w)[*_`~|]+|[*_`~|]+(?!\w)|(?<!\S)#+(?!\S)")
_POINTED = re.compile(rf"\b([A-Z][\w.]*)\.(?=\s+(?!(?:{'|'.join(OPENERS)})\b(?!\.))\w)")
_SPACES = re.compile(r"\s+")
_SIGN = re.compile(r"(?!(?<=\d)[.,:]\d)[^\w\s]|_")
_MOST_SIGNS = 16
"""Besides the marks of a sentence and of a number; more than an address has. Of "A.+A.+" or
"s's's" without end espeak writes past a buffer of its own, and ends. Such crowds are not read."""
_JOINERS = "\u200c\u200d"  # they shape letters in Hindi

# espeak (with "^" as the tie between two signs of one sound) to the alphabet that Kokoro was
# trained on: one letter for a diphthong or an affricate. Source: the phoneme tables of misaki,
# Kokoro's own G2P (EN_PHONES.md), where espeak is its fallback.
_EVERYWHERE = {
    "a^ɪ": "I",
    "a^ʊ": "W",
    "e^ɪ": "A",
    "o^ʊ": "O",
    "ə^ʊ": "Q",
    "ɔ^ɪ": "Y",
    "t^ʃ": "ʧ",
    "d^ʒ": "ʤ",
    "t^s": "ʦ",
    "d^z": "ʣ",
}
_ENGLISH = {
    "ə^l": "ᵊl",
    "ʔn\u0329": "tᵊn",
    "n\u0329": "ᵊn",
    "l\u0329": "ᵊl",
    "ɚ": "əɹ",
    "ɐ": "ə",
    "ʔ": "t",
    "r": "ɹ",
    "x": "k",
    "ç": "k",
    "ɬ": "l",
    "ʲ": "",
    "\u0303": "",
}
_BRITISH = {"e^ə": "ɛː", "iə": "ɪə"}
_AMERICAN = {"ɜː^ɹ": "ɜɹ", "ɜːɹ": "ɜɹ", "ɜː": "ɜɹ", "ɪə": "iə", "ː": ""}

_RUN_ON = re.compile(
    r"\b(I|t[əʊ]|[əʌɒ]v|[ɪɔɒ]n|fəɹ{0,2}|wɪð|fɹ[ʌɒ]m|ð[æa]t|[ðn]ˌ[æaəɑɒ][nɾt]|w[ʌɒ]z|[æa][ɾt]"
    r"|hə[vzd]|hˌ?ˈ?[æa][dz]|dɪd|dʌz|duː?|wʊd|[kʃ]ˌʊd|mˈʌst|mˌA|ˌW[ɾt]|ðɛː?\^?ɹ?)"
    r"(ð[əɪ]|ən?|əm|h?əv|biː?n?|bɪn|n[ˌˈ]?[ɑɒ]t|tə|[ˌˈ]?ɪt|w[ˌˈ][ʌɒ]z|w[ˌˈ]ɜː?ɹ?|[ˌˈ]ɑː?\^?ɹ?)(?![\w^])"
)
"""Two English words that espeak makes one of: "of the", "was a", "could have". Apart again, each
has a time of its own (`TimesWords`)."""

_LETTER_A = re.compile(r"(?<=[\w)] )A(?= [a-z\d]| [A-Z]\b)|(?<=\b[A-Z] )A(?= )|\bA(?= A\b)")
"""In an English sentence, where espeak takes it for the article: "vitamin A is", "J A Smith"."""

_SPELLING = {"en-us": _ENGLISH | _AMERICAN, "en-gb": _ENGLISH | _BRITISH}

_LETTER = "A-Za-z\u00c0-\u024f"
_LATIN = re.compile(rf"[{_LETTER}](?:[{_LETTER}' -]*[{_LETTER}])?")
"""A stretch of another script in a Japanese or Chinese text: read as English, with which its
readers do nothing."""
TONES = "→↓↗↘"
"""Mandarin's four; each stands behind its syllable's sounds and belongs to them."""


def speakable(text: str, language: str) -> str:
    """The text without what nobody would read out: emoji, markup, control characters, full stops
    that are none ("Dr. Smith", "the U.S. Army"); and what would be read only in another form in
    that one. `language` is espeak's name of it."""
    plain = plain_forms(unicodedata.normalize("NFC", text), language)
    kept = "".join(map(_spoken, plain))
    said = spoken_signs(_MARKUP.sub(" ", kept), language)
    return _SPACES.sub(" ", _thinned(_POINTED.sub(_without_point, said))).strip()


def _thinned(text: str) -> str:
    parts = _MARKS.split(text)
    if sum(len(_SIGN.findall(part)) for part in parts[::2]) > _MOST_SIGNS:
        parts[::2] = [_SIGN.sub(" ", part) for part in parts[::2]]
    return "".join(parts)


def _without_point(match: re.Match[str]) -> str:
    inside = verdict_on(match[1], opens_line=False) is Verdict.INSIDE
    return match[1] if inside else match[0]


def _spoken(char: str) -> str:
    match unicodedata.category(char):
        case "Cc" | "Cs" | "Co" | "Cn":
            return " "  # a NUL would end the text for espeak, half a surrogate pair the call
        case "Cf":
            return char if char in _JOINERS else ""
        case "So" | "Sk" if char >= "\u2190":  # arrows, dingbats, emoji; not ©, ° or ^
            return " "
    return char


def phonemes(text: str, language: str) -> str:
    """What Kokoro is given for a text: signs of `TOKENS` only; "" when nothing in it is voiced.

    `language` is espeak's name of it, such as "en-us" or "fr-fr"; "ja" and "zh" want packages of
    their own (`g2p_east.is_here`). Blocks, for 0.2 ms as a rule; safe from any thread. Raises
    `Unspeakable` for a text that espeak does not survive.
    """
    words = speakable(text, language)
    if not words:
        return ""
    if language in g2p_east.PACKAGES:
        read = g2p_east.reader(language)  # its dictionary is read while others speak
        with _east_lock:
            raw = _east(words, read)
    else:
        raw = _raw(words, language)
    kept = "".join(sign for sign in _SPACES.sub(" ", raw) if sign in TOKENS).strip()
    return kept if any(map(str.isalpha, kept)) else ""


def _raw(words: str, language: str) -> str:
    if language in _SPELLING:
        words = _LETTER_A.sub("A-", words)  # with a hyphen it is the letter
    # What is between two marks is read at once: a word alone is stressed, and "a" a letter.
    parts = _MARKS.split(words)
    said = ESPEAK.read(ESPEAK_VOICES.get(language, language), [part.strip() for part in parts[::2]])
    parts[::2] = map(_between_marks, parts[::2], said)
    raw = "".join(parts)
    spelling = _EVERYWHERE | _SPELLING.get(language, {})
    for sound in sorted(spelling, key=len, reverse=True):
        raw = raw.replace(sound, spelling[sound])
    return _RUN_ON.sub(r"\1 \2", raw) if language in _SPELLING else raw


def _between_marks(written: str, said: str) -> str:
    words = written.strip()
    return written.replace(words, _FLAG.sub("", said).strip()) if words else written


def _east(words: str, read: g2p_east.Reader) -> str:
    """Its own script by its own reader, Latin letters as English."""
    said, at = list[str](), 0
    for latin in _LATIN.finditer(words):
        said += (read(words[at : latin.start()]), _raw(latin.group(), "en-us"))
        at = latin.end()
    return " ".join((*said, read(words[at:])))


def pieces(text: str, longest: int) -> list[str]:
    """Cut phonemes into pieces of at most `longest` signs: after the last sentence mark that fits,
    else after the last clause mark, else at the last space, else anywhere."""
    cut: list[str] = []
    while len(text) > longest:
        window = text[:longest]
        at = max(window.rfind(mark) for mark in ".!?…") + 1
        at = at or max(window.rfind(mark) for mark in ",;:—") + 1
        at = at or window.rfind(" ") + 1 or longest
        cut.append(text[:at].strip())
        text = text[at:].strip()
    return [piece for piece in (*cut, text) if any(map(str.isalpha, piece))]
