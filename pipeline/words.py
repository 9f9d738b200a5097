"""Words and the voice they were said with: placed in a recording, and what no word accounts for.
Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pipeline.engines.ports import SPEECH_HZ, Word
from pipeline.windows import Window

SKIPPED_S = 1.5
"""Voice that belongs to no word, or to one alone. Nearly all words take less than a second (at most
0.94 s in 272 s of 971 words); a sentence that Whisper leaves out shows as a word of many."""


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


def unheard_from(words: Sequence[Word], window: Window) -> tuple[int, int] | None:
    """Where words seem to be missing: how many before it can be kept, and the sample from which on
    the window should be heard again; None when all voice is accounted for.

    `words` are the window's own, with the times that the engine gave them.
    """
    offset_s = window.start / SPEECH_HZ
    voiced = [(a - offset_s, b - offset_s) for a, b in _seconds(window.voiced)]
    for number, word in enumerate(words):
        if _overlap_s(voiced, word.start_s, word.end_s) > SKIPPED_S:
            return number, window.start + round(word.start_s * SPEECH_HZ)
    if words and _overlap_s(voiced, words[-1].end_s, len(window.audio)) > SKIPPED_S:
        return len(words), window.start + round(words[-1].end_s * SPEECH_HZ)
    return None


def _overlap_s(spans: Iterable[tuple[float, float]], start_s: float, end_s: float) -> float:
    return sum(max(0.0, min(b, end_s) - max(a, start_s)) for a, b in spans)


def _seconds(spans: Iterable[tuple[int, int]]) -> Iterator[tuple[float, float]]:
    return ((a / SPEECH_HZ, b / SPEECH_HZ) for a, b in spans)
