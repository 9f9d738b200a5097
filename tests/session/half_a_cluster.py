"""Two nodes of a Redis cluster, on paper: one of them may hang."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from types import SimpleNamespace
from typing import Any

from redis.asyncio import RedisCluster
from redis.exceptions import TimeoutError as NoAnswer

from session import redis_scripts as scripts
from session.redis_index import RESUMABLE
from session.redis_url import ANSWER_S

GIVES_UP_S = 3 * ANSWER_S
"""A cluster's client asks three times."""


class HalfACluster(RedisCluster):
    """Knows of whom it was told when that they are here: users, and sessions' leases. What lists
    sessions is at the node that may hang."""

    def __init__(self) -> None:
        self.hangs = False
        self.answered: dict[str, list[float]] = {}
        self.waited_for = 0
        """How often it was asked for what it did not answer."""

    def may_hang(self, key: str) -> bool:
        tag = key.rpartition(":")[2].strip("{}")
        return key == RESUMABLE or sum(tag.encode()) % 2 == 1

    def get_node_from_key(self, key: str, replica: bool = False) -> Any:
        return SimpleNamespace(name="hangs" if self.may_hang(key) else "answers")

    def register_script(self, script: Any) -> Any:
        async def asked(keys: list[str], args: list[Any]) -> Any:
            await self._answer(keys[0])
            if script == scripts.SPEND:
                return [1.0, 1.0, 1.0]
            now = asyncio.get_running_loop().time()
            self.answered.setdefault(keys[0], []).append(now)
            return [1] if script == scripts.RENEW else 1

        return asked

    async def zadd(self, name: Any, *_: Any, **__: Any) -> Any:
        await self._answer(name)

    async def zrem(self, name: Any, *_: Any) -> Any:
        await self._answer(name)

    def gaps_s(self, ends: float) -> list[float]:
        """The longest time, till then, in which it was not told again of each at the other node."""
        return [
            max(after - before for before, after in pairwise([*times, ends]))
            for key, times in self.answered.items()
            if not self.may_hang(key)
        ]

    async def _answer(self, key: str) -> None:
        if self.hangs and self.may_hang(key):
            self.waited_for += 1
            await asyncio.sleep(GIVES_UP_S)
            raise NoAnswer
        await asyncio.sleep(0.001)
