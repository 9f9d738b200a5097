"""Word error rate: the normaliser, the distance, and the WER of the spoken clips in `manual` mode.

Normaliser: Unicode NFKC, lower case, hyphens and dashes split words, apostrophes inside words stay,
all other punctuation goes. Numbers are kept as they are written: "20" and "twenty" differ.
"""

from __future__ import annotations

import asyncio
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.clips import clips
from server.cli.one_turn import ask
from server.cli.wav import read_wav

_APOSTROPHES = str.maketrans({"\u2019": "'", "\u2018": "'", "\u02bc": "'"})
_WORD = re.compile(r"[^\W_]+(?:'[^\W_]+)*")


def words(text: str) -> list[str]:
    """The text's words, normalised."""
    return _WORD.findall(unicodedata.normalize("NFKC", text).translate(_APOSTROPHES).lower())


@dataclass(frozen=True, slots=True)
class WordErrors:
    """Substitutions, deletions and insertions, of so many words of the reference. They add up."""

    errors: int
    words: int

    def __add__(self, other: WordErrors) -> WordErrors:
        return WordErrors(self.errors + other.errors, self.words + other.words)

    @property
    def rate(self) -> float:
        """The WER; over an empty reference, 0 when nothing was inserted and else infinite."""
        if self.words:
            return self.errors / self.words
        return float("inf") if self.errors else 0.0

    def __str__(self) -> str:
        return f"WER {self.rate:.1%} ({self.errors} errors in {self.words} words)"


def word_errors(reference: str, hypothesis: str) -> WordErrors:
    """Errors of the hypothesis against the reference, both normalised."""
    expected = words(reference)
    return WordErrors(distance(expected, words(hypothesis)), len(expected))


def distance(reference: Sequence[str], hypothesis: Sequence[str]) -> int:
    """Levenshtein's distance between two lists of words, row by row."""
    row = list(range(len(hypothesis) + 1))
    for i, expected in enumerate(reference, start=1):
        diagonal, row[0] = row[0], i
        for j, heard in enumerate(hypothesis, start=1):
            substituted = diagonal + (expected != heard)
            diagonal = row[j]
            row[j] = min(substituted, row[j] + 1, row[j - 1] + 1)
    return row[-1]


METHOD = """WER of final transcripts, native protocol, manual mode, one fresh session a clip; sum of
errors over sum of words. Case and punctuation aside; numbers as written."""


async def measure(url: str) -> WordErrors:
    """Transcribe every clip on the server at `url`, print each, and add up."""
    total = WordErrors(0, 0)
    for clip in clips():
        answer = await ask(url, read_wav(clip.path))
        errors = word_errors(clip.words, answer.transcript)
        print(f"  {clip.path.name:16} {errors}: {answer.transcript.strip()}")
        total += errors
    print(f"  all              {total}")
    return total


def main(url: str) -> dict[str, object]:
    """Run the benchmark; returns what `--json` writes."""
    print(f"Word error rate\n{METHOD}\n")
    total = asyncio.run(measure(url))
    return {"wer": total.rate, "errors": total.errors, "words": total.words}
