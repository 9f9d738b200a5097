"""What a user may spend in a minute, over all of its sessions, and what all may. Pure: time is an
argument.

A user is whoever the edge says it is. As long as nobody is known, every session is a user of its
own; never its address, which a whole company may share.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.errors import RateLimited

MINUTE_S = 60.0
MOST_RESTING = 10_000
"""Users without a session whose spending is remembered."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What one user may spend. A minute's worth may be spent at once."""

    turns_per_minute: float = 60.0
    characters_per_minute: float = 100_000.0
    """Typed turns and instructions."""
    sessions: int = 8
    """At once; together they may hear as much audio as each of them could at real time."""

    @property
    def audio_s_per_minute(self) -> float:
        return self.sessions * MINUTE_S

    def times(self, users: int) -> Allowance:
        """What so many users may spend together."""
        return Allowance(
            self.turns_per_minute * users, self.characters_per_minute * users, self.sessions * users
        )


class Bucket:
    """A token bucket: a minute's worth at most, refilled evenly. It begins full."""

    def __init__(self, what: str, per_minute: float, now: float) -> None:
        self._what = what
        self._most = per_minute
        self._left = per_minute
        self._earned = 0.0
        """Of what is left, what was refilled and not there from the beginning."""
        self._as_of = now

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
            raise RateLimited(
                f"at most {self._most:g} {self._what} a minute; go on in {math.ceil(wait_s)} s",
                retry_after_s=wait_s,
            )

    def spend(self, amount: float) -> None:
        """Take it, checked before: what was earned first."""
        self._left -= amount
        self._earned = max(0.0, self._earned - amount)

    def unearned(self, amount: float) -> float:
        """How much of this amount, checked before, was there from the beginning."""
        return max(0.0, amount - self._earned)

    def earned_in_s(self, amount: float) -> float:
        """How long it takes until this amount is earned."""
        return self._takes_s(max(0.0, min(amount, self._most) - self._earned))

    def _takes_s(self, amount: float) -> float:
        return amount * MINUTE_S / self._most


class Budget:
    """One user's buckets.

    What a newcomer has from the beginning comes out of its `share_of`, so that nobody gets a fresh
    budget again and again. What is earned since is one's own, and nobody else can use it up.
    """

    def __init__(self, allowance: Allowance, now: float, *, share_of: Budget | None = None) -> None:
        self.allowance = allowance
        self._turns = Bucket("turns", allowance.turns_per_minute, now)
        self._characters = Bucket("characters", allowance.characters_per_minute, now)
        self._audio = Bucket("seconds of audio", allowance.audio_s_per_minute, now)
        self._share_of = share_of

    def check_turn(self, now: float) -> None:
        """Raises `RateLimited` if one more turn cannot be answered now."""
        self._check(self._turns, self._share_of and self._share_of._turns, 1, now)

    def spend_turn(self) -> None:
        """A turn is being answered."""
        self._spend(self._turns, self._share_of and self._share_of._turns, 1)

    def take_characters(self, count: int, now: float) -> None:
        """Text came in. Raises `RateLimited`, and nothing is spent."""
        shared = self._share_of and self._share_of._characters
        self._check(self._characters, shared, count, now)
        self._spend(self._characters, shared, count)

    def take_audio(self, seconds: float, now: float) -> None:
        """Audio came in. Raises `RateLimited`, and nothing is spent."""
        shared = self._share_of and self._share_of._audio
        self._check(self._audio, shared, seconds, now)
        self._spend(self._audio, shared, seconds)

    @staticmethod
    def _check(own: Bucket, shared: Bucket | None, amount: float, now: float) -> None:
        own.check(amount, now)
        unearned = own.unearned(amount)
        if shared is None or not unearned:
            return
        try:
            shared.check(unearned, now)
        except RateLimited as limited:
            wait_s = min(limited.retry_after_s or 0.0, own.earned_in_s(amount))
            raise RateLimited(
                f"too many new sessions spend all at once; go on in {math.ceil(wait_s)} s",
                retry_after_s=wait_s,
            ) from None

    @staticmethod
    def _spend(own: Bucket, shared: Bucket | None, amount: float) -> None:
        if shared is not None:
            shared.spend(own.unearned(amount))
        own.spend(amount)


@dataclass(slots=True)
class _User:
    budget: Budget
    sessions: int = 0


class Budgets:
    """Every user's budget, from its first session to a minute after its last."""

    def __init__(self, allowance: Allowance, users: int, clock: Callable[[], float]) -> None:
        """`users`: as many may spend all of their allowance at the same time."""
        self._allowance = allowance
        self._clock = clock
        self._all = Budget(allowance.times(users), clock())
        self._users: dict[str, _User] = {}
        self._resting: OrderedDict[str, tuple[Budget, float]] = OrderedDict()

    @contextmanager
    def session(self, user: str | None) -> Iterator[Budget]:
        """A session of this user (None: nobody knows whose) begins, for as long as the scope.

        Raises `RateLimited` when the user has as many as it may.
        """
        now = self._clock()
        if user is None:
            yield Budget(self._allowance, now, share_of=self._all)
            return
        self._forget_rested(now)
        known = self._users.get(user)
        if known is None:
            budget, _ = self._resting.pop(user, (None, now))
            known = _User(budget or Budget(self._allowance, now, share_of=self._all))
            self._users[user] = known
        if known.sessions >= self._allowance.sessions:
            raise RateLimited(
                f"at most {self._allowance.sessions} sessions at once; end another",
                retry_after_s=MINUTE_S,
            )
        known.sessions += 1
        try:
            yield known.budget
        finally:
            known.sessions -= 1
            if not known.sessions:
                del self._users[user]
                self._resting[user] = (known.budget, self._clock())

    def _forget_rested(self, now: float) -> None:
        """Whoever spent nothing for a minute has full buckets again: nothing to remember."""
        while self._resting:
            user, (_, since) = next(iter(self._resting.items()))
            if now - since < MINUTE_S and len(self._resting) <= MOST_RESTING:
                return
            del self._resting[user]
