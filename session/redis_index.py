"""What lists sessions in Redis: which there are, which are a user's. It names candidates, no more:
a session's own hash says what holds.

Those that can be resumed stand under the time at which they can be no longer, in Unix seconds. For
one whose client is here that moves on with each renewal of its lease. So whose time comes within
`resume_s` is parked, or its gateway is dead: how many those are is one question, however many there
are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

from .redis_url import Client
from .store import Record

RESUMABLE = "antiphon:sessions"
OVER = "antiphon:sessions:over"
"""Those that are kept for their user alone, by when they are forgotten."""
DAY_S = 86_400


class Index:
    """All gateways' lists. Raises what the client raises."""

    def __init__(self, redis: Client, resume_s: float) -> None:
        self._redis = redis
        self._resume_s = resume_s

    async def put(self, record: Record, ends: float, keep_s: float) -> None:
        """List a session that ends then, and its user for so long; before it is stored, so that
        what is stored is found."""
        ours, other = (RESUMABLE, OVER) if record.tokens else (OVER, RESUMABLE)
        await self._redis.zadd(ours, {record.session: ends})
        if record.until is not None:  # it may have been in the other one
            await self._redis.zrem(other, record.session)
        if record.user is not None:
            of_user = _of(record.user)
            await self._redis.sadd(of_user, record.session)
            await self._redis.expire(of_user, DAY_S + round(keep_s), gt=True)
            await self._redis.expire(of_user, DAY_S + round(keep_s), nx=True)

    async def moved(self, session: str, *, over: bool, ends: float) -> None:
        """It ends later than was thought, or is over and kept for its user."""
        await self._redis.zadd(OVER if over else RESUMABLE, {session: ends})
        await self._redis.zrem(RESUMABLE if over else OVER, session)

    async def renewed(self, sessions: Sequence[str], ends: float) -> None:
        """Their clients are here; one that is not listed any more was forgotten."""
        await self._redis.zadd(RESUMABLE, dict.fromkeys(sessions, ends), xx=True)

    async def remove(self, session: str) -> None:
        """It is no more."""
        await self._redis.zrem(RESUMABLE, session)
        await self._redis.zrem(OVER, session)

    async def parked_count(self, now: float) -> int:
        """How many can be resumed whose client is nowhere."""
        count: int = await self._redis.zcount(RESUMABLE, f"({now!r}", repr(now + self._resume_s))
        return count

    async def parked(self, now: float, most: int) -> list[str]:
        """Those, the latest first."""
        names = await self._redis.zrevrangebyscore(
            RESUMABLE, repr(now + self._resume_s), f"({now!r}", start=0, num=most
        )
        return _texts(names)

    async def ended(self, now: float, most: int) -> list[str]:
        """Those whose time has come."""
        lists = (RESUMABLE, OVER)
        names = [
            await self._redis.zrangebyscore(one, "-inf", repr(now), start=0, num=most)
            for one in lists
        ]
        return _texts(name for found in names for name in found)

    async def too_many(self, most: int) -> list[str]:
        """Those past the bound of either list, which end soonest."""
        surplus: list[str] = []
        for one in (RESUMABLE, OVER):
            if (count := await self._redis.zcard(one)) > most:
                surplus += _texts(await self._redis.zrange(one, 0, count - most - 1))
        return surplus

    async def of_user(self, user: str) -> list[str]:
        """A user's."""
        return _texts(await self._redis.smembers(_of(user)))

    async def drop_user(self, user: str) -> None:
        """None are this user's any more."""
        await self._redis.delete(_of(user))


def _of(user: str) -> str:
    """A user's sessions; the name may be anything, and is nobody's business in a list of keys."""
    return f"antiphon:sessions:{hashlib.sha256(user.encode()).hexdigest()[:32]}"


def _texts(names: Any) -> list[str]:
    return [name.decode() for name in names]
