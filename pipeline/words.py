"""Words and the voice they were said with: placed in a recording, and what no word accounts for.
Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from pipeline.engines.ports import SPEECH_HZ, Word
from pipeline.windows import Window

SKIPPED_S = 1.2
"""Voice that belongs to one word alone. Nearly all words take less than a second (at most 0.94 s of
971 words in 272 s); a sentence that Whisper leaves out shows as a word of many seconds."""
LONG_S = 0.8
"""A neighbour with so much voice has its share of what was left out."""


def placed(words: Sequence[Word], window: Window) -> tuple[Word, ...]:
    """Words of a window with their times in the recording, without the silence around them.

    Attention finds a word's begin, and gives the pause after it to either neighbour: of a word that
    reaches over a pause, the longer side is kept.
    """
    found = []
    latest_s = start_s = window.start / SPEECH_HZ
    for word in words:
        a, b = start_s + word.start_s, start_s + word.end_s
        sides = [(max(a, x), min(b, y)) for x, y in _seconds(window.voiced) if x < b and y > a]
        if sides:
            a, b = max(reversed(sides), key=lambda side: side[1] - side[0])
        a = max(a, latest_s)
        b = latest_s = max(a, b)
        found.append(Word(word.text, a, b, word.tokens))
    return tuple(found)


def unheard(words: Sequence[Word], window: Window) -> list[tuple[int, int]]:
    """Where words seem to be missing: stretches [a, b) of those there are, to be heard again with
    the sound around them. None when all voice is accounted for.

    `words` are the window's own, with the times that the engine gave them. A stretch has one more
    word on each side, whose outer edge can be relied on.
    """
    offset_s = window.start / SPEECH_HZ
    voiced = [(a - offset_s, b - offset_s) for a, b in _seconds(window.voiced)]
    edges = [0.0, *(word.start_s for word in words[1:]), window.seconds]
    spent_s = [_overlap_s(voiced, a, b) for a, b in pairwise(edges)] if words else []
    found: list[tuple[int, int]] = []
    for number, seconds in enumerate(spent_s):
        if seconds <= SKIPPED_S or (found and number < found[-1][1]):
            continue
        first, last = number, number
        while first > 0 and spent_s[first - 1] > LONG_S:
            first -= 1
        while last + 1 < len(words) and spent_s[last + 1] > LONG_S:
            last += 1
        first, end = max(0, first - 1), min(len(words), last + 2)
        if found and first <= found[-1][1]:
            first = found.pop()[0]
        found.append((first, end))
    return found


def same(a: Word, b: Word) -> bool:
    """Whether two words are the same, case and punctuation aside."""
    plain = ["".join(filter(str.isalnum, word.text)).lower() for word in (a, b)]
    return plain[0] == plain[1] != ""


def _overlap_s(spans: Iterable[tuple[float, float]], start_s: float, end_s: float) -> float:
    return sum(max(0.0, min(b, end_s) - max(a, start_s)) for a, b in spans)


def _seconds(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[float, float]]:
    return ((a / SPEECH_HZ, b / SPEECH_HZ) for a, b in spans)
