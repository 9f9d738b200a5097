"""When is a turn over? How much silence to wait for, by what was said. Pure.

The words come first: an unfinished clause waits, a question does not. The end-of-turn model is a
second vote, believed only when it is very sure. Figures: docs/decisions/0004-turn-taking.md.
"""

from __future__ import annotations

from typing import Literal

Pace = Literal["quick", "normal", "patient"]

SURE_S, LIKELY_S, UNFINISHED_S = 0.256, 0.512, 1.0
PACE_FACTOR: dict[Pace, float] = {"quick": 0.8, "normal": 1.0, "patient": 1.8}
SURE_PROBABILITY = 0.9

# Last words after which a sentence goes on, whatever mark a recogniser puts behind them ...
_OPEN = frozenset(
    [
        "and",
        "but",
        "because",
        "the",
        "a",
        "an",
        "my",
        "your",
        "our",
        "their",
        "of",
        "um",
        "uh",
        "if",
        "than",
        "i",
        "how",
        "to",
        "or",
        "while",
        "although",
    ]
)
# ... and those after which it goes on unless a final mark says otherwise.
_OPEN_UNMARKED = frozenset(
    [
        "is",
        "are",
        "so",
        "that",
        "for",
        "with",
        "at",
        "from",
        "in",
        "on",
        "maybe",
        "was",
        "were",
        "be",
    ]
)
_OPENERS = frozenset(["if", "when", "because", "while", "although"])
_TRAILING = ("...", "…", ",", "-", "–", "—", "،", "、", "，", ":", ";")
_QUESTION = ("?", "؟", "？")
_FINAL = (".", "!", "。", "！", "।", *_QUESTION)
_CLOSING = "\"')]}»”’"


def patience_s(text: str, end_of_turn: float | None, pace: Pace) -> float:
    """Seconds of silence after which the turn counts as over.

    `text` is what was understood so far, `end_of_turn` the model's probability, if it was asked.
    """
    if _unfinished(text):
        tier = UNFINISHED_S
    elif _question(text) or (end_of_turn is not None and end_of_turn > SURE_PROBABILITY):
        tier = SURE_S
    else:
        tier = LIKELY_S
    return tier * PACE_FACTOR[pace]


def _unfinished(text: str) -> bool:
    text = text.rstrip().rstrip(_CLOSING)
    if text.endswith(_TRAILING):
        return True
    words = [word.strip(".,!?;:\"'").casefold() for word in text.split()]
    if not words:
        return False
    if words[-1] in _OPEN or words[-3:] == ["let", "me", "think"]:
        return True
    if words[-1] in _OPEN_UNMARKED and not text.endswith(_FINAL):
        return True
    return words[0] in _OPENERS and len(words) <= 5 and not text.endswith(_QUESTION)


def _question(text: str) -> bool:
    return text.rstrip().rstrip(_CLOSING).endswith(_QUESTION)
