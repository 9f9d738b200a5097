"""Sessions' hashes in Redis, read; and what Redis' own errors mean to whoever keeps sessions."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from redis.asyncio import RedisCluster
from redis.exceptions import ResponseError

from pipeline.errors import StoreAway, StoreFailed

from .redis_url import AWAY, Client
from .store import Record

T = TypeVar("T")

BATCH = 100


class Hashes:
    """All sessions', one hash each. Raises `StoreFailed`."""

    def __init__(
        self,
        redis: Client,
        resume_s: float,
        failed: Callable[[], None],
        lease_clock: Callable[[], int] | None,
    ) -> None:
        """As `RedisStore` is told."""
        self._redis = redis
        self._resume_s = resume_s
        self._failed = failed
        self._lease_clock = lease_clock

    async def records(self, sessions: list[str], *, here_too: bool = False) -> list[Record]:
        """Those of them that are there and parked; `here_too`: or not."""
        found = []
        fields = ("user", "token", "before", "until", "leased", "body")
        now_ms = 1000 * await self._redis_s() if sessions else 0.0
        for batch in batches(sessions):
            told = await asyncio.gather(*(self.fields(session, *fields) for session in batch))
            for session, (user, token, before, until, leased, body) in zip(
                batch, told, strict=True
            ):
                if body is None or until is None or user is None:
                    continue
                live = until == b"" and float(leased or 0) > now_ms
                if live and not here_too:
                    continue
                ends = float(until) if until else float(leased or 0) / 1000 + self._resume_s
                tokens = tuple(digest for digest in (token, before) if digest)
                who = user[1:].decode() if user else None
                found.append(Record(session, who, tokens, None if live else ends, body))
        return found

    async def fields(self, session: str, *names: str) -> list[bytes | None]:
        """Of one, as they are; None for what is not there."""
        found: list[bytes | None] = await self.run(self._redis.hmget(key(session), list(names)))
        return found

    async def _redis_s(self) -> float:
        """What time it is by the clock that leases go by, in Unix seconds."""
        if self._lease_clock is not None:
            return self._lease_clock() / 1000
        if isinstance(self._redis, RedisCluster):  # each node has its own
            return time.time()
        seconds, microseconds = await self.run(self._redis.time())
        return float(seconds) + float(microseconds) / 1e6

    async def run(self, command: Awaitable[Any]) -> Any:
        """Raises `StoreAway` when Redis cannot be reached, and `StoreFailed` when it refuses."""
        try:
            return await command
        except AWAY as error:
            self._failed()
            kind = StoreFailed if isinstance(error, ResponseError) else StoreAway
            raise kind(f"{type(error).__name__}: {error}") from error


def key(session: str) -> str:
    """A session's hash. Session ids are ours, and have no brace."""
    return f"antiphon:session:{{{session}}}"


def batches(what: Sequence[T], size: int = BATCH) -> list[Sequence[T]]:
    """In the same order, so many at a time."""
    return [what[start : start + size] for start in range(0, len(what), size)]
