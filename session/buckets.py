"""What may be spent in a minute, and a bucket that it is taken from. Pure: time is an argument."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.errors import RateLimited

MINUTE_S = 60.0


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one user may spend. A minute's worth may be spent at once."""

    turns_per_minute: float = 60.0
    characters_per_minute: float = 100_000.0
    """Typed turns, instructions, and texts to be spoken."""
    audio_s_per_minute: float = 480.0
    """Of microphones and files."""
    sessions: int = 8
    """At once, those that wait for a place too."""

    def times(self, users: int) -> Allowance:
        """What so many users may spend together."""
        return Allowance(
            self.turns_per_minute * users,
            self.characters_per_minute * users,
            self.audio_s_per_minute * users,
            self.sessions * users,
        )


Refused = Callable[[str], None]
"""Told the budget of whatever is refused: "turns", "characters", "audio" or "sessions"."""


def nobody(budget: str) -> None:
    """Nobody wants to know."""


class Bucket:
    """A token bucket: a minute's worth at most, refilled evenly. It begins full.

    What it has from the beginning comes out of the bucket it is a share of, so that nobody gets a
    fresh one again and again. What is refilled since is its own, and nobody else can use it up.
    """

    def __init__(
        self,
        name: str,
        what: str,
        per_minute: float,
        now: float,
        refused: Refused = nobody,
        share_of: Bucket | None = None,
    ) -> None:
        self._name = name
        self._what = what
        self._refused = refused
        self._share_of = share_of
        self._most = per_minute
        self._left = per_minute
        self._earned = 0.0
        """Of what is left, what was refilled and not there from the beginning."""
        self._as_of = now
        self._untold = 0.0

    def resize(self, per_minute: float) -> None:
        """From now on there is this much a minute. As much of it is left, in proportion: changing
        it to and fro gains nothing."""
        change = per_minute / self._most
        self._left *= change
        self._earned *= change
        self._most = per_minute

    def check(self, amount: float, now: float) -> None:
        """Raises `RateLimited`, with when to come back, if there is not enough.

        More than the bucket ever holds wants a full one, and leaves a debt.
        """
        refilled = (now - self._as_of) * self._most / MINUTE_S
        self._left = min(self._most, self._left + refilled)
        self._earned = min(self._most, self._earned + refilled)
        self._as_of = now
        missing = min(amount, self._most) - self._left
        if missing > 1e-9:  # sums of floats
            wait_s = self._takes_s(missing)
            self._refused(self._name)
            raise RateLimited(
                f"at most {self._most:g} {self._what} a minute; go on in {math.ceil(wait_s)} s",
                retry_after_s=wait_s,
            )
        if self._share_of is not None and (unearned := self._unearned(amount)):
            self._check_share(self._share_of, unearned, amount, now)

    def spend(self, amount: float) -> None:
        """Take it, checked before: what was earned first."""
        if self._share_of is not None:
            self._share_of.spend(self._unearned(amount))
        self._left -= amount
        self._earned = max(0.0, self._earned - amount)
        self._untold += amount

    def full(self, now: float) -> bool:
        """Nothing of it is spent any more."""
        return self._left + (now - self._as_of) * self._most / MINUTE_S >= self._most

    def told(self) -> float:
        """What was spent since this was asked last, as a part of a minute's worth."""
        untold, self._untold = self._untold, 0.0
        return untold / self._most

    def untold(self, part: float) -> None:
        """What `told` gave did not reach anybody."""
        self._untold += part * self._most

    def settle(self, left: float) -> None:
        """Elsewhere something was spent too: so much is left of it all, as a part of a minute's
        worth, without what was not told yet. Never gives anything back."""
        self._left = min(self._left, left * self._most - self._untold)
        self._earned = min(self._earned, max(0.0, self._left))

    def take(self, amount: float, now: float) -> None:
        """Both. Raises `RateLimited`, and nothing is spent."""
        self.check(amount, now)
        self.spend(amount)

    def _check_share(self, whole: Bucket, unearned: float, amount: float, now: float) -> None:
        try:
            whole.check(unearned, now)
        except RateLimited as limited:
            earned_in_s = self._takes_s(max(0.0, min(amount, self._most) - self._earned))
            wait_s = min(limited.retry_after_s or 0.0, earned_in_s)
            raise RateLimited(
                f"too many new sessions spend all at once; go on in {math.ceil(wait_s)} s",
                retry_after_s=wait_s,
            ) from None

    def _unearned(self, amount: float) -> float:
        """How much of this amount was there from the beginning."""
        return max(0.0, amount - self._earned)

    def _takes_s(self, amount: float) -> float:
        return amount * MINUTE_S / self._most
