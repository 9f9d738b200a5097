"""What waits for the words of a turn that was ended: the ends of more turns, and typed ones. Pure.

All in the order in which it came: nothing that was said or typed later is answered first.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum

from .errors import RateLimited
from .events import Failed
from .signals import EndTurn, Typed

MOST_ENDS = 32
"""Ends of turns that may wait for the words of those before."""
MOST_TYPED, MOST_TYPED_CHARACTERS = 16, 100_000
"""Typed turns that may wait, and all of their text; whoever types more is refused before it comes
here."""


class Fate(Enum):
    """What becomes of a turn when it comes to it."""

    ANSWERED = "as any other"
    CANCELLED = "its reply ends where it starts"
    FORGOTTEN = "it was never said"

    def or_worse(self, fate: Fate) -> Fate:
        """As the client says now; what is forgotten stays so."""
        return self if self is Fate.FORGOTTEN else fate


@dataclass(slots=True)
class Due:
    """A turn that is ended, or typed, as soon as it can be."""

    said: EndTurn | Typed
    fate: Fate = Fate.ANSWERED


class Ends:
    """One user's."""

    def __init__(self) -> None:
        self.waiting: list[Due] = []

    @property
    def typed(self) -> list[Typed]:
        """The typed turns among them."""
        return [due.said for due in self.waiting if isinstance(due.said, Typed)]

    def has_room_for(self, text: str) -> bool:
        """Whether a turn of this text, typed now, may wait."""
        typed = self.typed
        size = sum(len(one.text) for one in typed) + len(text)
        return not typed or (len(typed) < MOST_TYPED and size <= MOST_TYPED_CHARACTERS)

    def end(self, end: EndTurn) -> Iterator[Failed]:
        """The user says that the turn is over: it ends when all up to there has been heard."""
        ends = [due for due in self.waiting if isinstance(due.said, EndTurn)]
        if len(ends) == MOST_ENDS:  # the later one covers the earlier
            self.waiting = [due for due in self.waiting if due is not ends[-1]]
            covered = ends[-1].said
            if isinstance(covered, EndTurn) and not covered.if_any:
                error = RateLimited(f"{MOST_ENDS} turns wait for their words: two became one")
                yield Failed(error, ref=covered.ref)
        self.waiting.append(Due(end))

    def type(self, typed: Typed) -> None:
        """The user types a turn: it comes behind what was ended before."""
        if self.has_room_for(typed.text):
            self.waiting.append(Due(typed))

    def next(self, heard_to: int) -> Due | None:
        """Take the first, if all that it waits for up to this sample is there."""
        first = self.waiting[0].said if self.waiting else None
        if first is None or (isinstance(first, EndTurn) and first.at >= heard_to):
            return None
        return self.waiting.pop(0)

    def drop(self, at: int) -> bool:
        """What comes after the last end, up to this sample, was not meant to be heard; False: no
        end waits."""
        for due in reversed(self.waiting):
            if isinstance(due.said, EndTurn):
                due.said = replace(due.said, dropped_to=at)
                return True
        return False

    def stop(self, fate: Fate) -> None:
        """Nobody wants an answer to any of them."""
        for due in self.waiting:
            due.fate = due.fate.or_worse(fate)
