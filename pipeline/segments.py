"""Passages in segments of about a sentence: what a caption shows at a time. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from pipeline.engines.ports import Transcript, Word
from pipeline.transcribing import Passage

LONGEST = 84
"""Characters: two lines of 42, as captions are commonly set."""
LONG_ENOUGH = 42
"""From so many on a segment may end with a clause."""
PAUSE_S = 1.0
"""A pause that ends a segment."""
SENTENCE_ENDS = (".", "?", "!", "…", "。", "？", "！")
CLAUSE_ENDS = (",", ";", ":", "、", "，", "；", "：")
CLOSING = "\"'”’»)]」』"
"""What may stand between a mark and the end of its word."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of words with its times in the recording."""

    start_s: float
    end_s: float
    text: str
    transcript: Transcript
    """What it is a part of: how sure the model was, and at which temperature."""
    seek_s: float
    """Where the window began in which it was heard."""
    tokens: tuple[int, ...] = ()


def segments(passages: Iterable[Passage]) -> Iterator[Segment]:
    """All of the passages' words, in order; a passage whose words have no times is one segment."""
    for passage in passages:
        if not passage.words:
            yield Segment(
                passage.start_s, passage.end_s, passage.text, passage.transcript, passage.start_s
            )
        for words in _groups(passage.words):
            text = "".join(word.text for word in words).strip()
            if text:
                yield Segment(
                    words[0].start_s,
                    words[-1].end_s,
                    text,
                    passage.transcript,
                    passage.start_s,
                    tuple(token for word in words for token in word.tokens),
                )


def _groups(words: Iterable[Word]) -> Iterator[list[Word]]:
    held: list[Word] = []
    length = 0
    for word in words:
        if held and _ends(held[-1], length, word):
            yield held
            held, length = [], 0
        held.append(word)
        length += len(word.text)
    if held:
        yield held


def _ends(last: Word, length: int, following: Word) -> bool:
    """Whether a segment of this length ends between two words."""
    written = last.text.rstrip().rstrip(CLOSING)
    return (
        written.endswith(SENTENCE_ENDS)
        or (length >= LONG_ENOUGH and written.endswith(CLAUSE_ENDS))
        or length + len(following.text) > LONGEST
        or following.start_s - last.end_s > PAUSE_S
    )
