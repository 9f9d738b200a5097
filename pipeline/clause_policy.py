"""How long the clauses are that a reply's text is cut into. Pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ClausePolicy:
    """How long clauses are: short first, for latency; longer later, for prosody.

    `limits` and `min_letters` hold a value for each clause from the first; the last one stays.
    Sizes are in Latin letters' time: a wide (Chinese, Japanese, Korean) letter, roughly a syllable,
    counts as three. No clause has more characters than its limit.
    """

    limits: tuple[int, ...] = (36, 36, 72, 120, 200)
    """Each about what can be voiced while the one before is played, on two busy cores."""
    min_letters: tuple[int, ...] = (4, 12, 24, 40, 60)
    """A clause with fewer letters does not end at a mark (the first may, with enough words)."""
    first_min_words: int = 2
    first_max_words: int = 3
    first_enough: int = 12
    """Where no mark comes the first clause ends after so many words, or with a word that makes it
    so many letters."""
    first_most: int = 18
    """Characters: it ends before a word that makes it longer."""

    def __post_init__(self) -> None:
        ascending = all(a <= b for a, b in zip(self.limits, self.limits[1:], strict=False))
        # A third of the limit must be more than one wide letter.
        if not self.limits or self.limits[0] < 12 or not ascending:
            raise ValueError("limits must ascend from 12 or more")
        if not self.min_letters or min(self.min_letters) < 1 or self.first_min_words < 1:
            raise ValueError("a clause needs a letter or a word")


READ_ALOUD = ClausePolicy(limits=(24, 24, 48, 96, 200))
"""For a text that is played as it comes: the second clause is short enough to be voiced, by a voice
as slow as Kokoro on two busy cores, while the first is played, and so on."""
IN_CONVERSATION = ClausePolicy(limits=READ_ALOUD.limits, first_enough=7)
"""For a reply that is awaited: its first clause is out a word sooner."""
IN_A_CROWD = ClausePolicy(limits=(24, 24, 48, 64), first_enough=10)
"""Where others wait for the voice, too: a first clause that gives the second more time, and none so
long that all wait for it."""
