"""What is compared: silence alone, the three tiers that went before, ours at several speeds."""

from __future__ import annotations

from benchmarks.pauses.calls import Policy
from pipeline.endpointing import Pace, patience_s

SURE_S, LIKELY_S, UNFINISHED_S = 0.256, 0.512, 1.0
SURE = 0.9
_TRAILING = ("...", "…", ",", "-", "–", "—")
_OPEN = "and but because or the a an my your of um uh if than i how to".split()  # noqa: SIM905
_OPEN_UNMARKED = "is are so that for with at from in on maybe".split()  # noqa: SIM905
_OPENERS = ("if", "when", "because")


def silence_alone(wait_s: float) -> Policy:
    """The same silence after whatever was said."""

    def wait(text: str, end_of_turn: float | None, pace: Pace) -> float:
        return wait_s

    return wait


def three_tiers(text: str, end_of_turn: float | None, pace: Pace) -> float:
    """The first policy of this server: unfinished words wait 1.0 s; a question, or finished words
    and a sure model, 256 ms; anything else 512 ms."""
    words = [word.strip(".,!?;:\"'").casefold() for word in text.split()] or [""]
    marked = text.endswith((".", "!", "?"))
    unfinished = (
        text.endswith(_TRAILING)
        or words[-1] in _OPEN
        or (words[-1] in _OPEN_UNMARKED and not marked)
        or words[-3:] == ["let", "me", "think"]
        or (words[0] in _OPENERS and len(words) <= 5 and not text.endswith("?"))
    )
    if unfinished:
        return UNFINISHED_S
    sure = text.endswith("?") or (end_of_turn is not None and end_of_turn > SURE)
    return SURE_S if sure else LIKELY_S


def ours(scale: float = 1.0) -> Policy:
    """This server's policy at `pace: normal`, with all its waits longer by a factor."""

    def wait(text: str, end_of_turn: float | None, pace: Pace) -> float:
        return scale * patience_s(text, end_of_turn, "normal")

    return wait
