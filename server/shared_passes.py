"""Passes in Redis: one given out at any gateway serves once at any of them.

A pass is one hash under one key, and what is done to it is one script, so that of two who show it
at the same moment one comes in. The unused ones of a user are in a sorted set by when they expire,
which counts them and finds them again. Time is Redis' own, as it is for leases.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from hashlib import sha256
from typing import Any

import msgspec

from pipeline.errors import RateLimited, SessionsUnreachable, Unauthorized
from server.passes import MOST_OF_ONE, Pass, Prefix, digest
from session.buckets import Allowance
from session.redis_url import AWAY, Client

MOST_OF_NOBODY = 1_000
"""Unused ones, where nobody is asked who they are; then the first to expire go."""
EXPIRED_S = 60.0
"""For so long it is known of one that it has expired; afterwards it never was."""
USED_S = 86_400.0
"""For so long it is known who came in with one, from when that was last asked."""

_NOW = """
local t = redis.call('TIME')
local now = t[1] * 1000 + math.floor(t[2] / 1000)
"""

_UNTIL_THE_LAST = """
local last = redis.call('ZREVRANGE', KEYS[1], 0, 0, 'WITHSCORES')
redis.call('PEXPIREAT', KEYS[1], math.floor(last[2]) + 1000)
"""

_COUNT = (
    _NOW
    + """
-- KEYS: a user's; ARGV: pass, lasts_ms, most, whether others make room
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now)
local gone, over = {}, redis.call('ZCARD', KEYS[1]) + 1 - ARGV[3]
if over > 0 then
  if ARGV[4] == '' then return false end
  for i, popped in ipairs(redis.call('ZPOPMIN', KEYS[1], over)) do
    if i % 2 == 1 then table.insert(gone, popped) end
  end
end
redis.call('ZADD', KEYS[1], now + ARGV[2], ARGV[1])
"""
    + _UNTIL_THE_LAST
    + """
return gone
"""
)
"""Those that made room; false: there is none."""

_GIVE = (
    _NOW
    + """
-- KEYS: a pass; ARGV: lasts_ms, known_ms, user, allowance, settings
redis.call('HSET', KEYS[1], 'ends', now + ARGV[1],
  'user', ARGV[3], 'allowance', ARGV[4], 'settings', ARGV[5])
redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
)

_USE = (
    _NOW
    + """
-- KEYS: a pass; ARGV: known_ms
local it = redis.call('HMGET', KEYS[1], 'ends', 'user', 'allowance', 'settings')
if not it[4] then return 'used' end
if tonumber(it[1]) <= now then return 'expired' end
redis.call('HDEL', KEYS[1], 'settings')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
return {it[2], it[3], it[4]}
"""
)
"""What its bearer comes in as; or why not. A used one has no settings any more."""

_GIVE_BACK = (
    _NOW
    + """
-- KEYS: a pass; ARGV: known_ms, settings
local it = redis.call('HMGET', KEYS[1], 'ends', 'settings', 'session')
if not it[1] or it[2] or it[3] or tonumber(it[1]) <= now then return false end
redis.call('HSET', KEYS[1], 'settings', ARGV[2])
redis.call('PEXPIREAT', KEYS[1], it[1] + ARGV[1])
return it[1]
"""
)
"""When it expires; false: it stays used."""

_COUNT_AGAIN = (
    """
-- KEYS: a user's; ARGV: pass, ends
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
"""
    + _UNTIL_THE_LAST
)


class SharedPasses:
    """`Passes` that gateways share."""

    def __init__(self, redis: Client, failed: Callable[[], None]) -> None:
        """`failed`: Redis did not answer, or refused."""
        self._redis = redis
        self._failed = failed
        self._count = redis.register_script(_COUNT)
        self._give = redis.register_script(_GIVE)
        self._use = redis.register_script(_USE)
        self._give_back = redis.register_script(_GIVE_BACK)
        self._count_again = redis.register_script(_COUNT_AGAIN)

    async def give(self, prefix: Prefix, what: Pass, seconds: float) -> tuple[str, int]:
        value = prefix + secrets.token_urlsafe(32)
        key = digest(value)
        lasts_ms, nobody = round(1000 * seconds), what.user is None
        most = MOST_OF_NOBODY if nobody else MOST_OF_ONE
        counted: list[Any] = [key, lasts_ms, most, "yes" if nobody else ""]
        gone = await self._run(self._count(keys=[_unused(what.user)], args=counted))
        if gone is None:
            raise RateLimited(
                f"at most {most} tokens that were not used yet", retry_after_s=seconds
            )
        for other in gone:
            await self._run(self._redis.unlink(_key(other)))
        known_ms = round(1000 * (seconds + EXPIRED_S))
        allowance = msgspec.json.encode(what.allowance) if what.allowance else b""
        settings = msgspec.json.encode(what.session)
        given: list[Any] = [lasts_ms, known_ms, _named(what.user), allowance, settings]
        await self._run(self._give(keys=[_key(key)], args=given))
        return value, int(time.time() + seconds)

    async def use(self, value: str) -> Pass:
        key = digest(value)
        match await self._run(self._use(keys=[_key(key)], args=[round(1000 * USED_S)])):
            case [user, allowance, settings]:
                shown = _pass(user, allowance, msgspec.json.decode(settings), key)
            case b"expired":
                raise Unauthorized("this token has expired", "token_expired")
            case _:
                raise Unauthorized("this token was used already, or never was one", "token_used")
        with suppress(SessionsUnreachable):  # it only counts there until it expires
            await self._run(self._redis.zrem(_unused(shown.user), key))
        return shown

    async def give_back(self, shown: Pass) -> None:
        settings = msgspec.json.encode(shown.session)
        given: list[Any] = [round(1000 * EXPIRED_S), settings]
        with suppress(SessionsUnreachable):  # it stays used then
            ends = await self._run(self._give_back(keys=[_key(shown.key)], args=given))
            if ends is not None:
                counted: list[Any] = [shown.key, ends]
                await self._run(self._count_again(keys=[_unused(shown.user)], args=counted))

    async def waits(self, value: str) -> bool:
        key = digest(value)
        if (await self._fields(key, "settings"))[0] is None:
            return False
        known_ms: int = await self._run(self._redis.pttl(_key(key)))
        return known_ms > 1000 * EXPIRED_S

    async def used(self, value: str) -> Pass | None:
        key = digest(value)
        user, allowance, settings = await self._fields(key, "user", "allowance", "settings")
        if user is None or settings is not None:
            return None
        await self._run(self._redis.pexpire(_key(key), round(1000 * USED_S)))
        return _pass(user, allowance or b"", {}, key)

    async def began(self, key: bytes, session: str) -> None:
        if key:
            with suppress(SessionsUnreachable):  # it reads no list then; its session goes on
                await self._run(self._redis.hset(_key(key), "session", session))

    async def session(self, value: str) -> str | None:
        found = (await self._fields(digest(value), "session"))[0]
        return found.decode() if found is not None else None

    async def forget_user(self, user: str) -> None:
        for key in await self._run(self._redis.zrange(_unused(user), 0, -1)):
            await self._run(self._redis.unlink(_key(key)))
        await self._run(self._redis.unlink(_unused(user)))

    async def _fields(self, key: bytes, *names: str) -> list[bytes | None]:
        found: list[bytes | None] = await self._run(self._redis.hmget(_key(key), list(names)))
        return found

    async def _run(self, command: Awaitable[Any]) -> Any:
        """Raises `SessionsUnreachable`."""
        try:
            return await command
        except AWAY as error:
            self._failed()
            raise SessionsUnreachable(
                "where tokens for one session are kept cannot be reached", retry_after_s=1.0
            ) from error


def _pass(user: bytes, allowance: bytes, settings: dict[str, Any], key: bytes) -> Pass:
    return Pass(
        user[1:].decode() if user else None,
        msgspec.json.decode(allowance, type=Allowance) if allowance else None,
        settings,
        key,
    )


def _named(user: str | None) -> str:
    return "" if user is None else f"={user}"


def _key(key: bytes) -> str:
    return f"antiphon:pass:{key.hex()}"


def _unused(user: str | None) -> str:
    return f"antiphon:passes:{sha256(_named(user).encode()).hexdigest()[:32]}"
