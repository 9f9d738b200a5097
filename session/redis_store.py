"""Sessions in Redis, for several gateways: each session has one owner, by a lease with a fence.

A session is one hash under one key, and what is done to it is one script: a crash in between leaves
nothing half done, and a cluster has it all in one slot. What lists sessions (`redis_index.py`) only
names candidates; the hash (`redis_hashes.py`) says what holds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from typing import Any

import structlog
from redis.asyncio import RedisCluster

from pipeline.errors import StoreAway, StoreFailed

from . import redis_scripts as scripts
from .redis_hashes import BATCH, Hashes, batches, key
from .redis_index import Index
from .redis_nodes import Rounds, by_node
from .redis_url import Client
from .store import Record, Taken

log = structlog.get_logger(__name__)

LEASE_S = 3.0
"""A gateway that is not heard of for so long has lost its sessions."""
RENEW_S = 1.0
LISTS = "lists"
"""Among the rounds, one that is no node's."""
ASK_EVERY_S = 0.5
"""Who is asked to let go may be about to, and to end: it is looked again after so long."""
STUMP_S = 60.0
"""What was forgotten cannot be written again for so long."""
MOST_SESSIONS = 100_000
"""Past it those go first that can be resumed for the shortest time yet."""

Ask = Callable[[str, str, float], Awaitable[None]]
"""Ask that owner to let go of that session, and wait for it so many seconds."""


async def _nobody(owner: str, session: str, within_s: float) -> None:
    await asyncio.sleep(within_s)


async def _nothing(session: str) -> None:
    """Nobody wants to know."""


class RedisStore:
    """A `SessionStore` that gateways share. Its leases are renewed by `renewing`."""

    def __init__(
        self,
        redis: Client,
        me: str,
        resume_s: float,
        retention_s: float = 0.0,
        *,
        ask: Ask = _nobody,
        lost: Callable[[str], Coroutine[Any, Any, None]] = _nothing,
        failed: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.time,
        lease_s: float = LEASE_S,
        lease_clock: Callable[[], int] | None = None,
    ) -> None:
        """`me`: this gateway, in this life. `lost`: another has this session now. `failed`: Redis
        did not answer. `lease_clock`: ms, in tests; None: Redis' own.
        """
        self._redis = redis
        self._index = Index(redis, resume_s)
        self._hashes = Hashes(redis, resume_s, failed, lease_clock)
        self._me = me
        self._resume_s = resume_s
        self._retention_s = retention_s
        self._ask = ask
        self._lost = lost
        self._clock = clock
        self._lease_s = lease_s
        self._lease_clock = lease_clock
        self._fences: dict[str, int] = {}
        """Of the sessions that are ours."""
        self._renew: asyncio.Task[None] | None = None
        self._save = redis.register_script(scripts.SAVE)
        self._take = redis.register_script(scripts.TAKE)
        self._renew_all = redis.register_script(scripts.RENEW)
        self._forget = redis.register_script(scripts.FORGET)
        self._lapse = redis.register_script(scripts.LAPSE)

    # --- the port --------------------------------------------------------------------------------

    async def open(self, until: float) -> None:
        """`until` is not asked: sessions of the dead are kept from when their lease ended."""
        await self.count(self._clock())  # is there a Redis?

    async def save(self, record: Record) -> None:
        token, before = (*record.tokens, b"", b"")[:2]
        now = self._clock()
        here = record.until is None
        keep_s = self._resume_s if record.until is None else max(0.0, record.until - now)
        if record.user is not None and (here or token):
            keep_s += self._retention_s
        until = "" if record.until is None else repr(record.until)
        ends = self._ends() if record.until is None else record.until
        await self._hashes.run(self._index.put(record, ends, keep_s))
        fence: int = await self._hashes.run(
            self._save(
                keys=[key(record.session)],
                args=[
                    self._now(), self._me, self._fences.get(record.session, 0),
                    _ms(self._lease_s), _ms(keep_s + self._lease_s), _user(record.user), token,
                    before, until, repr(now), record.body,
                ],
            )
        )  # fmt: skip
        if not fence:
            self._fences.pop(record.session, None)
            raise Taken
        if here:
            self._fences[record.session] = fence
        else:
            self._fences.pop(record.session, None)

    async def take(
        self, session: str, token: bytes, user: str | None, now: float, new: bytes
    ) -> Record | None:
        """Whoever has it is asked to let go, and given until the end of its lease."""
        if not session:
            return None
        give_up = time.monotonic() + 2 * self._lease_s
        while True:
            found: list[Any] = await self._hashes.run(
                self._take(
                    keys=[key(session)],
                    args=[
                        self._now(), self._me, _ms(self._lease_s),
                        _ms(self._resume_s + self._retention_s + self._lease_s),
                        _ms(self._resume_s), _user(user), token, new, repr(now),
                    ],
                )
            )  # fmt: skip
            match found:
                case [fence, one, before, body]:
                    with suppress(StoreFailed):  # it is ours even so
                        await self._hashes.run(self._index.renewed([session], self._ends()))
                    self._fences[session] = fence
                    tokens = tuple(digest for digest in (one, before) if digest)
                    return Record(session, user, tokens, None, body)
                case [owner, left_ms] if time.monotonic() < give_up:
                    left_s = left_ms / 1000 + 0.001
                    await self._ask(owner.decode(), session, min(left_s, ASK_EVERY_S))
                case []:
                    return None
                case _:
                    raise StoreAway("another gateway does not let go of the session")

    async def knows(self, session: str, token: bytes, user: str | None, now: float) -> bool:
        fields = ("user", "token", "before", "until")
        who, one, before, until = await self._hashes.fields(session, *fields)
        return (
            who == _user(user).encode()
            and token in (one, before)
            and (until == b"" or float(until or 0) > now)
        )

    async def parked(self, most: int) -> list[Record]:
        names = await self._hashes.run(self._index.parked(self._clock(), most))
        return [record for record in await self._hashes.records(names) if record.tokens]

    async def count(self, now: float) -> int:
        """By the gateways' own clocks: whose is off counts others' sessions wrong, no more."""
        found: int = await self._hashes.run(self._index.parked_count(now))
        return found

    async def standing(self, session: str) -> bool:
        found = await self._hashes.records([session])
        return any(record.tokens for record in found)

    async def of_user(self, user: str) -> list[Record]:
        names = await self._hashes.run(self._index.of_user(user))
        found = await self._hashes.records(names, here_too=True)
        return [record for record in found if record.user == user]

    async def forget(self, session: str) -> None:
        self._fences.pop(session, None)
        await self._hashes.run(self._forget(keys=[key(session)], args=[_ms(STUMP_S)]))
        await self._hashes.run(self._index.remove(session))

    async def forget_user(self, user: str) -> int:
        there = [record.session for record in await self.of_user(user)]
        for session in there:
            await self.forget(session)
        await self._hashes.run(self._index.drop_user(user))
        return len(there)

    async def expire(self, now: float, retention_s: float) -> None:
        """Redis forgets by itself what is kept no longer; this is for what lists it, and for those
        that can be resumed no more and are kept for their user."""
        for session in await self._hashes.run(self._index.ended(now, BATCH * 10)):
            args = [self._now(), repr(now), _ms(self._resume_s), round(1000 * retention_s)]
            what, ends = await self._hashes.run(self._lapse(keys=[key(session)], args=args))
            if what == b"gone":
                await self._hashes.run(self._index.remove(session))
            else:
                over = what == b"over"
                await self._hashes.run(self._index.moved(session, over=over, ends=float(ends)))
        for session in await self._hashes.run(self._index.too_many(MOST_SESSIONS)):
            if (await self._hashes.fields(session, "until"))[0]:  # its client is not here
                await self.forget(session)

    async def close(self) -> None:
        self._fences.clear()

    # --- leases ----------------------------------------------------------------------------------

    async def renewing(self) -> None:
        """Renew what is ours, until cancelled. While Redis is away nobody can take it either; what
        was taken when it is back, is told to `lost`, which may take its time."""
        async with asyncio.TaskGroup() as tasks:
            rounds = Rounds(tasks)

            async def renew(node: str) -> None:
                try:
                    for session in await self.renew(node):
                        tasks.create_task(self._lost(session))
                except StoreFailed as error:
                    log.debug("leases_not_renewed", error=str(error))

            while True:
                await asyncio.sleep(RENEW_S)
                for node in by_node(self._redis, self._fences, key):
                    rounds.begin(node, renew(node))
                rounds.begin(LISTS, self.list_ours())

    async def renew(self, node: str | None = None) -> list[str]:
        """Which of ours, at that node or at all, are another's by now.

        Where Redis does not answer the rest is left for the next time. Raises `StoreFailed` when
        none is known by then.
        """
        size = 1 if isinstance(self._redis, RedisCluster) else BATCH
        gone: list[str] = []
        try:
            for at, sessions in by_node(self._redis, self._fences, key).items():
                if node in (None, at):
                    for batch in batches(sessions, size):
                        gone += await self._renewed(batch)
        except StoreFailed:
            if not gone:
                raise
        return gone

    async def _renewed(self, sessions: Sequence[str]) -> list[str]:
        """Which of these are another's by now. Raises `StoreFailed`."""
        fences = {session: self._fences[session] for session in sessions if session in self._fences}
        if not fences:
            return []
        kept: list[int] = await self._hashes.run(
            self._renew_all(
                keys=[key(session) for session in fences],
                args=[
                    self._now(), self._me, _ms(self._lease_s),
                    _ms(self._resume_s + self._retention_s + self._lease_s),
                    *fences.values(),
                ],
            )
        )  # fmt: skip
        gone = []
        for (session, fence), how in zip(fences.items(), kept, strict=True):
            if not how and self._fences.get(session) == fence:
                del self._fences[session]
                gone.append(session)
        return gone

    async def list_ours(self) -> None:
        """Say of our sessions that they end later, should this gateway die now."""
        with suppress(StoreFailed):  # it is said again in a moment
            for ours in batches(list(self._fences)):
                await self._hashes.run(self._index.renewed(ours, self._ends()))

    # --- Redis -----------------------------------------------------------------------------------

    def _ends(self) -> float:
        """When a session that is here can be resumed no more, should this gateway die now."""
        return self._clock() + self._lease_s + self._resume_s

    def _now(self) -> int | str:
        return "" if self._lease_clock is None else self._lease_clock()


def _user(user: str | None) -> str:
    return "" if user is None else f"={user}"


def _ms(seconds: float) -> int:
    return max(1, round(1000 * seconds))
