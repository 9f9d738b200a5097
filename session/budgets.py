"""What a user may spend in a minute, over all of its sessions, and what all may. Pure: time is an
argument.

A user is whoever the edge says it is. As long as nobody is known, every session is a user of its
own; never its address, which a whole company may share.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from pipeline.errors import RateLimited

from .buckets import MINUTE_S, Allowance, Bucket, Refused, nobody

MOST_RESTING = 10_000
"""Users without a session whose spending is remembered."""


class Budget:
    """One user's buckets, each a share of everybody's where there is one."""

    def __init__(
        self,
        allowance: Allowance,
        now: float,
        *,
        share_of: Budget | None = None,
        refused: Refused = nobody,
    ) -> None:
        self.allowance = allowance
        all_turns, all_characters, all_audio = (
            (share_of._turns, share_of._characters, share_of._audio)
            if share_of is not None
            else (None, None, None)
        )
        self._turns: Bucket = Bucket(
            "turns", "turns", allowance.turns_per_minute, now, refused, all_turns
        )
        self._characters: Bucket = Bucket(
            "characters", "characters", allowance.characters_per_minute, now, refused,
            all_characters,
        )  # fmt: skip
        self._audio: Bucket = Bucket(
            "audio", "seconds of audio", allowance.audio_s_per_minute, now, refused, all_audio
        )
        self.spends: Callable[[], None] | None = None
        """Told at once of turns and characters that are spent; of audio, which comes in frames,
        nobody is."""

    def full(self, now: float) -> bool:
        """A new one would be no different."""
        return all(bucket.full(now) for bucket in (self._turns, self._characters, self._audio))

    def told(self) -> tuple[float, float, float]:
        """What of turns, characters and audio was spent since: see `Bucket.told`."""
        return self._turns.told(), self._characters.told(), self._audio.told()

    def untold(self, parts: tuple[float, float, float]) -> None:
        """See `Bucket.untold`."""
        for bucket, part in zip((self._turns, self._characters, self._audio), parts, strict=True):
            bucket.untold(part)

    def settle(self, left: tuple[float, float, float]) -> None:
        """What is left of each over all servers: see `Bucket.settle`."""
        for bucket, part in zip((self._turns, self._characters, self._audio), left, strict=True):
            bucket.settle(part)

    def allow(self, allowance: Allowance) -> None:
        """From now on this much may be spent."""
        if allowance == self.allowance:
            return
        self.allowance = allowance
        self._turns.resize(allowance.turns_per_minute)
        self._characters.resize(allowance.characters_per_minute)
        self._audio.resize(allowance.audio_s_per_minute)

    def check_turn(self, now: float) -> None:
        """Raises `RateLimited` if one more turn cannot be answered now."""
        self._turns.check(1, now)

    def spend_turn(self) -> None:
        """A turn is being answered."""
        self._turns.spend(1)
        if self.spends is not None:
            self.spends()

    def take_characters(self, count: int, now: float) -> None:
        """Text came in. Raises `RateLimited`, and nothing is spent."""
        self._characters.take(count, now)
        if self.spends is not None:
            self.spends()

    def spend_characters(self, count: int) -> None:
        """Text came in that is not refused: a debt, if there is not enough."""
        self._characters.spend(count)
        if self.spends is not None:
            self.spends()

    def take_audio(self, seconds: float, now: float) -> None:
        """Audio came in. Raises `RateLimited`, and nothing is spent."""
        self._audio.take(seconds, now)

    def spend_audio(self, seconds: float) -> None:
        """There was more audio than could be known before: a debt, if there is not enough."""
        self._audio.spend(seconds)


@dataclass(slots=True)
class _User:
    budget: Budget
    here: int = 0
    """Sessions and requests."""
    sessions: int = 0


class Budgets:
    """Every user's budget, from its first session or request until it is whole after its last."""

    def __init__(
        self,
        allowance: Allowance,
        users: int,
        clock: Callable[[], float],
        refused: Refused = nobody,
    ) -> None:
        """`allowance`: of a user of whom nothing else is said. `users`: as many may spend all of
        it at the same time.
        """
        self._allowance = allowance
        self._clock = clock
        self._refused = refused
        self._all = Budget(allowance.times(users), clock(), refused=refused)
        self._users: dict[str, _User] = {}
        self._resting: OrderedDict[str, tuple[Budget, float]] = OrderedDict()

    def has_room(self, user: str | None, allowance: Allowance | None = None) -> bool:
        """Whether `session` would let one more begin."""
        known = self._users.get(user) if user is not None else None
        return known is None or known.sessions < (allowance or self._allowance).sessions

    @contextmanager
    def session(self, user: str | None, allowance: Allowance | None = None) -> Iterator[Budget]:
        """A session of this user (None: nobody knows whose) begins, for as long as the scope.

        Raises `RateLimited` when the user has as many as it may.
        """
        if user is None:
            yield self._budget(self._clock())
            return
        with self._here(user, allowance or self._allowance) as known:
            if known.sessions >= known.budget.allowance.sessions:
                self._refused("sessions")
                raise RateLimited(
                    f"at most {known.budget.allowance.sessions} sessions at once; end another",
                    retry_after_s=MINUTE_S,
                )
            known.sessions += 1
            try:
                yield known.budget
            finally:
                known.sessions -= 1

    @contextmanager
    def request(self, user: str | None, allowance: Allowance | None = None) -> Iterator[Budget]:
        """A request of this user, for as long as the scope: it spends what the sessions do."""
        if user is None:
            yield self._budget(self._clock())
            return
        with self._here(user, allowance or self._allowance) as known:
            yield known.budget

    @contextmanager
    def _here(self, user: str, allowance: Allowance) -> Iterator[_User]:
        """What is known of a user. The newest word on what it may spend holds for all of it."""
        now = self._clock()
        self._forget_rested(now)
        known = self._users.get(user)
        if known is None:
            budget, _ = self._resting.pop(user, (None, now))
            known = self._users[user] = _User(budget or self._budget(now, allowance))
        known.budget.allow(allowance)
        known.here += 1
        try:
            yield known
        finally:
            known.here -= 1
            if not known.here:
                del self._users[user]
                self._resting[user] = (known.budget, self._clock())

    def _budget(self, now: float, allowance: Allowance | None = None) -> Budget:
        return Budget(allowance or self._allowance, now, share_of=self._all, refused=self._refused)

    def _forget_rested(self, now: float) -> None:
        """Whoever spent nothing for a minute has full buckets again, and is nothing to remember,
        unless it left with a debt: of a long file, for one.
        """
        while self._resting:
            user, (budget, since) = next(iter(self._resting.items()))
            rested = now - since >= MINUTE_S
            if not rested and len(self._resting) <= MOST_RESTING:
                return
            del self._resting[user]
            if rested and not budget.full(now):
                self._resting[user] = (budget, now)  # looked at again in a minute
