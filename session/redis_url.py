"""ANTIPHON_REDIS_URL: what it names (one Redis, Sentinels, a cluster), and the client for that.

redis-py reads addresses of one server itself; the other two have no form that everybody agrees on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import SplitResult, parse_qs, unquote, urlsplit

from redis.asyncio import Redis, RedisCluster
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel, SentinelConnectionPool
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as Unconnected
from redis.exceptions import RedisClusterException, RedisError

from pipeline.errors import SettingsError

ANSWER_S = 1.0
"""Who does not answer within this is away."""
AT_ONCE = 32
"""A client's commands in flight; whoever has one more waits."""
AWAY = (RedisError, RedisClusterException, OSError)
"""What a client raises when Redis does not answer, or refuses. That a cluster has lost its nodes is
no `RedisError` to redis-py."""
FORM = (
    "redis://HOST:PORT/DB (rediss:// with TLS, unix://PATH), "
    "redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB or redis+cluster://HOST:PORT,HOST:PORT"
)
_ONE = ("redis", "rediss", "unix")
_SENTINEL, _CLUSTER = ("redis+sentinel", "rediss+sentinel"), ("redis+cluster", "rediss+cluster")

Client = Redis | RedisCluster


@dataclass(frozen=True, slots=True)
class One:
    """A single Redis, by its address."""

    url: str


@dataclass(frozen=True, slots=True)
class Watched:
    """A Redis that Sentinels watch: whichever of them answers knows who is the primary."""

    sentinels: tuple[tuple[str, int], ...]
    service: str
    db: int
    login: dict[str, Any]
    """`username`, `password` and `ssl`, where there are any."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """A Redis cluster, by some of its nodes."""

    nodes: tuple[tuple[str, int], ...]
    login: dict[str, Any]


class _Room:
    """Room for so many commands in flight. Without it redis-py raises at once when a pool has no
    connection left, which looks like a Redis that is away; its pool that waits instead is for one
    server alone."""

    def __init__(self, at_once: int, wait_s: float) -> None:
        self._places = asyncio.Semaphore(at_once)
        self._wait_s = wait_s

    async def sent(self, send: Callable[..., Awaitable[Any]], *args: Any, **options: Any) -> Any:
        """Raises `TimeoutError`, which is in `AWAY`, when there was none in time."""
        async with asyncio.timeout(self._wait_s):
            await self._places.acquire()
        try:
            return await send(*args, **options)
        finally:
            self._places.release()


class _Server(Redis):
    room: _Room

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        return await self.room.sent(super().execute_command, *args, **options)


class _Nodes(RedisCluster):
    room: _Room

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        return await self.room.sent(super().execute_command, *args, **options)


def read(url: str) -> One | Watched | Cluster:
    """What an address names. Raises `SettingsError`, which does not show it: it has a password."""
    try:
        parts = urlsplit(url)
        if parts.scheme in _ONE:
            Redis.from_url(url)  # it says what is wrong
            if not (parts.hostname or parts.path):
                raise ValueError("there is no host")
            return One(url)
        if parts.scheme in _CLUSTER:
            return Cluster(_hosts(parts, 6379), _login(parts))
        if parts.scheme in _SENTINEL:
            service, _, db = parts.path.strip("/").partition("/")
            if not service:
                raise ValueError("the service's name is missing")
            return Watched(_hosts(parts, 26379), service, int(db or 0), _login(parts))
    except (ValueError, TypeError):
        pass
    raise SettingsError(f"ANTIPHON_REDIS_URL: it is of the form {FORM}")


def client(url: str, answer_s: float = ANSWER_S, at_once: int = AT_ONCE) -> Client:
    """The client for an address; nothing is connected yet. Raises `SettingsError`.

    An answer is waited for so long, and before it as long for one of `at_once` places: a command
    that blocks keeps its own.
    """
    kinds: dict[str, Any] = {
        "socket_timeout": answer_s,
        "socket_connect_timeout": ANSWER_S,
        "max_connections": at_once,
        # A connection that died while nobody looked is made anew once; nothing is waited for twice.
        "retry": Retry(NoBackoff(), 1, (Unconnected,)),
    }
    match read(url):
        case One(address):
            one = cast("_Server", _Server.from_url(address, **kinds))
            most = one.connection_pool.max_connections  # the address may say fewer
            one.room = _Room(min(at_once, most), answer_s)
            return one
        case Watched(sentinels, service, db, login):
            watched: Any = Sentinel
            found: _Server = watched(list(sentinels), sentinel_kwargs=kinds, **kinds).master_for(
                service, redis_class=_Server, db=db, **login, **kinds
            )
            found.room = _Room(at_once, answer_s)
            return found
        case Cluster(nodes, login):
            kinds["retry"] = Retry(NoBackoff(), 2)  # a node that is gone is asked for elsewhere
            kinds["max_connections"] = 2 * at_once  # it asks too which nodes there are
            several = _Nodes(
                startup_nodes=[ClusterNode(host, port) for host, port in nodes], **login, **kinds
            )
            several.room = _Room(at_once, answer_s)
            return several


async def close(redis: Client) -> None:
    """Close a client and all its connections: those to Sentinels' own are not the client's."""
    await redis.aclose()
    if isinstance(redis, Redis) and isinstance(redis.connection_pool, SentinelConnectionPool):
        await redis.connection_pool.disconnect()
        for sentinel in redis.connection_pool.sentinel_manager.sentinels:
            await sentinel.aclose()


def _hosts(parts: SplitResult, port: int) -> tuple[tuple[str, int], ...]:
    """Raises `ValueError`."""
    found = []
    for one in parts.netloc.rpartition("@")[2].split(","):
        at = urlsplit(f"//{one}")
        if not at.hostname:
            raise ValueError("a host is missing")
        found.append((at.hostname, at.port or port))
    return tuple(found)


def _login(parts: SplitResult) -> dict[str, Any]:
    if parse_qs(parts.query):
        raise ValueError("nothing may follow a question mark")
    who, _, word = parts.netloc.rpartition("@")[0].partition(":")
    login: dict[str, Any] = {"username": unquote(who), "password": unquote(word)}
    login["ssl"] = parts.scheme.startswith("rediss")
    return {name: value for name, value in login.items() if value}
