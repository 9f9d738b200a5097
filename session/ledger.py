"""The ledger: what known users spend at all gateways together, in Redis.

A gateway's own budgets answer at once, as they do alone. What is spent is told to Redis right
after, never before and never a frame at a time, and its answer says what is left over all gateways.
So two gateways let pass together what is spent within one round trip (of audio: within a second)
too much, and that is a debt. While Redis is away each gateway's own budgets hold, and it is told
afterwards. Whoever it lets wait for nothing is the last for a while: until it answers to `keeping`
again, nobody else asks it. In a cluster all this holds of each node by itself.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import structlog

from pipeline.bell import Bell
from pipeline.errors import RateLimited

from . import redis_scripts as scripts
from .buckets import Refused
from .budgets import Budget
from .redis_hashes import batches
from .redis_nodes import Rounds, by_node, node_of
from .redis_url import ANSWER_S, AT_ONCE, AWAY, Client

log = structlog.get_logger(__name__)

EVERY_S = 1.0
"""How often what is spent of audio is told, and what is left is asked for."""
PLACE_S = 3.0
"""A session whose gateway is not heard of for so long counts no longer."""
HANGS_S = 5.0
"""A Redis that let somebody wait for nothing counts as one that hangs for so long at most: more
than a cluster's client takes to give up and `keeping` to ask again."""
BATCH = AT_ONCE // 2
"""Users that are looked after at once, at all nodes: half of what the client sends is for whoever
waits."""
MOST_PLACES = 1_000_000
"""Whoever is in stays in."""


@dataclass(slots=True)
class _Present:
    budget: Budget
    here: int = 0
    places: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class _Silence:
    """Of a node."""

    key: str
    """What it was asked for."""
    until: float
    """It is not asked again by whoever waits, at most."""


class Ledger:
    """One gateway's entries. `keeping` has to run."""

    def __init__(self, redis: Client, failed: Callable[[], None], refused: Refused) -> None:
        """`failed`: Redis did not answer. `refused` is told of "sessions" that were."""
        self._failed = failed
        self._refused = refused
        self._redis = redis
        self._spend = redis.register_script(scripts.SPEND)
        self._enter = redis.register_script(scripts.ENTER)
        self._has_room = redis.register_script(scripts.HAS_ROOM)
        self._present: dict[str, _Present] = {}
        self._silent: dict[str, _Silence] = {}
        """Nodes that let somebody wait for nothing, and have not answered since."""
        self._due: set[str] = set()
        self._more = Bell()

    @asynccontextmanager
    async def session(self, user: str | None, budget: Budget) -> AsyncIterator[None]:
        """A session of this user's, for as long as the scope.

        Raises `RateLimited` when there are as many as there may be, at all gateways together.
        """
        if user is None:
            yield
            return
        place = secrets.token_hex(8)
        most = budget.allowance.sessions
        if await self._entered(user, place, most) is False:
            self._refused("sessions")
            raise RateLimited(
                f"at most {most} sessions at once; end another", retry_after_s=PLACE_S
            )
        async with self.request(user, budget):
            self._present[user].places.add(place)
            try:
                yield
            finally:
                self._present[user].places.discard(place)
                if not self._hangs(_here(user)):  # it counts for PLACE_S yet
                    with suppress(*AWAY):
                        await self._redis.zrem(_here(user), place)

    async def has_room(self, user: str, most: int) -> bool:
        """Whether `session` would let one more begin; yes, while Redis is away."""
        return bool(await self._asked(self._has_room, _here(user), ["", most]) != 0)

    @asynccontextmanager
    async def request(self, user: str | None, budget: Budget) -> AsyncIterator[None]:
        """A request of this user's, for as long as the scope."""
        if user is None:
            yield
            return
        known = self._present.setdefault(user, _Present(budget))
        known.here += 1
        budget.spends = lambda: self._tell_soon(user)
        try:
            await self._settle(user)
            yield
        finally:
            try:
                await self._settle(user)
            finally:  # whoever is cancelled while it tells is gone too
                known.here -= 1
                if not known.here:
                    del self._present[user]
                    budget.spends = None

    async def keeping(self) -> None:
        """Tell Redis what is spent, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._telling())
            rounds = Rounds(tasks)
            while True:
                # No telling is cut off: of one that is, nobody knows what arrived.
                await asyncio.sleep(EVERY_S)
                users = self._by_node(self._present)
                for node in users.keys() | self._silent.keys():
                    rounds.begin(node, self._round(node, users.get(node, [])))

    async def _telling(self) -> None:
        """At once what is told at once."""
        async with asyncio.TaskGroup() as tasks:
            rounds = Rounds(tasks)
            while True:
                await self._more.wait()
                for node in self._by_node(self._due):
                    rounds.begin(node, self._tell(node))

    async def _tell(self, node: str) -> None:
        """All who are due at a node, those too who come to be meanwhile."""
        while due := self._by_node(self._due).get(node):
            self._due.difference_update(due)
            await self._each(self._settle, due)

    async def _round(self, node: str, users: list[str]) -> None:
        """All users at a node; one that is silent is asked once, on behalf of all."""
        if (silence := self._silent.get(node)) is not None:
            if await self._asked(self._has_room, silence.key, ["", 1], probes=True) is None:
                return
            self._silent.pop(node, None)  # though another node may have the key by now
        await self._each(self._look_after, users)

    async def _each(self, work: Callable[[str], Awaitable[None]], users: list[str]) -> None:
        nodes = len(self._by_node(self._present)) or 1
        for batch in batches(users, max(1, BATCH // nodes)):
            await asyncio.gather(*map(work, batch))

    def _by_node(self, users: Iterable[str]) -> dict[str, list[str]]:
        return by_node(self._redis, users, _spent)

    def _tell_soon(self, user: str) -> None:
        self._due.add(user)
        self._more.ring()

    async def _look_after(self, user: str) -> None:
        if (known := self._present.get(user)) is not None:
            for place in list(known.places):
                await self._entered(user, place, MOST_PLACES)
        await self._settle(user)

    async def _entered(self, user: str, place: str, most: int) -> bool | None:
        """None: Redis is away, and nobody knows."""
        asked = ["", round(1000 * PLACE_S), most, place]
        done = await self._asked(self._enter, _here(user), asked)
        return None if done is None else bool(done)

    async def _settle(self, user: str) -> None:
        if (known := self._present.get(user)) is None:
            return
        told = known.budget.told()
        asked = ["", *map(repr, told)]
        left = await self._asked(self._spend, _spent(user), asked)
        if left is None:
            known.budget.untold(told)
        else:
            known.budget.settle((float(left[0]), float(left[1]), float(left[2])))

    async def _asked(self, script: Any, key: str, args: list[Any], *, probes: bool = False) -> Any:
        """Its answer; None when Redis is away. `probes`: also while it hangs."""
        if self._hangs(key) and not probes:
            return None
        now = asyncio.get_running_loop().time
        began, node = now(), node_of(self._redis, key)
        try:
            answer = await script(keys=[key], args=args)
        except AWAY as error:
            if now() - began > ANSWER_S / 2:  # one that refuses at once holds nobody up
                self._silent[node] = _Silence(key, now() + HANGS_S)
            self._failed()
            log.debug("ledger_not_told", error=str(error))
            return None
        self._silent.pop(node, None)
        return answer

    def _hangs(self, key: str) -> bool:
        silence = self._silent.get(node_of(self._redis, key))
        return silence is not None and asyncio.get_running_loop().time() < silence.until


def _here(user: str) -> str:
    return f"antiphon:here:{{{_name(user)}}}"


def _spent(user: str) -> str:
    return f"antiphon:spent:{{{_name(user)}}}"  # the same name: at the same node


def _name(user: str) -> str:
    return hashlib.sha256(user.encode()).hexdigest()[:32]
