"""A Redis cluster's nodes, each looked after by itself: one that hangs keeps nobody waiting who is
at another. One server, or Sentinels, are one node."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable
from typing import Any

from redis.asyncio import RedisCluster
from redis.exceptions import RedisClusterException

from .redis_url import Client


def node_of(redis: Client, key: str) -> str:
    """Which node has a key; "" while nobody knows."""
    if not isinstance(redis, RedisCluster):
        return ""
    try:
        node = redis.get_node_from_key(key)
    except RedisClusterException:
        return ""
    return "" if node is None else str(node.name)


def by_node(redis: Client, names: Iterable[str], key: Callable[[str], str]) -> dict[str, list[str]]:
    """Which names have their key where; in the same order."""
    found: dict[str, list[str]] = {}
    for name in names:
        found.setdefault(node_of(redis, key(name)), []).append(name)
    return found


class Rounds:
    """Work at the nodes, one round at a time of each."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._at_work: dict[str, asyncio.Task[None]] = {}

    def begin(self, node: str, work: Coroutine[Any, Any, None]) -> None:
        """Begin one, unless the last one at this node still lasts."""
        if node in self._at_work and not self._at_work[node].done():
            work.close()
        else:
            self._at_work[node] = self._tasks.create_task(work)
