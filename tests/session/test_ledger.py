"""The ledger: what is spent is told once, however slow Redis is, and however many spend."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from redis.exceptions import TimeoutError as NoAnswer

from session import redis_scripts as scripts
from session.buckets import Allowance
from session.budgets import Budgets
from session.ledger import EVERY_S, PLACE_S, Ledger
from session.redis_url import ANSWER_S, client
from tests.session.half_a_cluster import GIVES_UP_S, HalfACluster
from tests.virtual_time import run

Script = Callable[..., Awaitable[Any]]


class HangingRedis:
    """Takes what it is sent, and answers nothing until it goes on; then nobody has room."""

    def __init__(self) -> None:
        self.hangs = True
        self.characters = 0.0

    def register_script(self, script: str) -> Script:
        async def asked(keys: list[str], args: list[Any]) -> Any:
            await self._answer()
            if script in (scripts.ENTER, scripts.HAS_ROOM):
                return 0
            self.characters += float(args[2])
            return [1.0, 1.0, 1.0]

        return asked

    async def zrem(self, key: str, place: str) -> None:
        await self._answer()

    async def _answer(self) -> None:
        if self.hangs:
            await asyncio.sleep(ANSWER_S)
            raise NoAnswer


class SlowRedis:
    """Takes what it is told when it answers: 0.7 s later."""

    def __init__(self) -> None:
        self.turns = 0.0

    def register_script(self, script: str) -> Script:
        async def asked(keys: list[str], args: list[Any]) -> Any:
            await asyncio.sleep(0.7)
            if script == scripts.ENTER:
                return 1
            self.turns += float(args[1])
            return [1.0, 1.0, 1.0]

        return asked

    async def zrem(self, key: str, place: str) -> None:
        pass


def test_a_node_that_hangs_costs_those_at_another_neither_place_nor_time() -> None:
    async def hang(redis: HalfACluster) -> list[float]:
        now = asyncio.get_running_loop().time
        ledger = Ledger(redis, lambda: None, lambda _: None)
        users = [f"user {number}" for number in range(250)]
        budgets = Budgets(Allowance(turns_per_minute=10), len(users), now)
        async with AsyncExitStack() as stack:
            for user in users:
                budget = stack.enter_context(budgets.session(user))
                await stack.enter_async_context(ledger.session(user, budget))
            keeping = asyncio.ensure_future(ledger.keeping())
            await asyncio.sleep(2.5 * EVERY_S)
            redis.hangs = True
            await asyncio.sleep(60.0)
            redis.hangs = False
            await asyncio.sleep(GIVES_UP_S + 2 * EVERY_S)
            ends = now()
            keeping.cancel()
        return redis.gaps_s(ends)

    redis = HalfACluster()
    gaps_s = run(hang(redis))
    assert len(gaps_s) > 100
    assert max(gaps_s) < PLACE_S
    assert redis.waited_for < 60, "who hangs is asked again and again for everybody"
    back = [times[-1] - 60.0 for times in redis.answered.values()]
    assert min(back) > 0, "some are not looked after again"


def test_what_is_spent_while_redis_is_slow_is_told_and_told_once() -> None:
    async def spend() -> float:
        redis = SlowRedis()
        ledger = Ledger(redis, lambda: None, lambda _: None)  # type: ignore[arg-type]
        keeping = asyncio.ensure_future(ledger.keeping())
        budgets = Budgets(Allowance(turns_per_minute=10), 10, asyncio.get_running_loop().time)
        with budgets.session("anna") as budget:
            async with ledger.session("anna", budget):
                for _ in range(5):
                    budget.spend_turn()
                    await asyncio.sleep(0.4)  # so that some are told across the second
                await asyncio.sleep(5 * EVERY_S)
        keeping.cancel()
        return redis.turns

    assert abs(run(spend()) - 0.5) < 1e-9


def test_a_redis_that_hangs_is_waited_for_once_and_asked_again_when_it_answers() -> None:
    async def hang(redis: HangingRedis) -> list[float]:
        now = asyncio.get_running_loop().time
        ledger = Ledger(redis, lambda: None, lambda _: None)  # type: ignore[arg-type]
        keeping = asyncio.ensure_future(ledger.keeping())
        budgets = Budgets(Allowance(characters_per_minute=1000), 10, now)
        waits: list[float] = []
        for _ in range(3):
            began = now()
            with budgets.request("anna") as budget:
                async with ledger.request("anna", budget):
                    budget.take_characters(100, now())
            waits.append(now() - began)
            await asyncio.sleep(20.0)
        began = now()
        with budgets.session("anna") as budget:
            async with ledger.session("anna", budget):
                await asyncio.sleep(20.0)
        waits.append(now() - began - 20.0)
        assert await ledger.has_room("anna", 1)
        redis.hangs = False
        await asyncio.sleep(ANSWER_S + 2 * EVERY_S)
        assert not await ledger.has_room("anna", 1)
        with budgets.request("anna") as budget:
            async with ledger.request("anna", budget):
                pass
        keeping.cancel()
        return waits

    redis = HangingRedis()
    assert run(hang(redis)) == pytest.approx([ANSWER_S, 0.0, 0.0, 0.0])
    assert redis.characters == pytest.approx(0.3)


async def test_more_users_than_a_client_has_connections_have_their_places_kept(
    redis_url: str,
) -> None:
    failures: list[None] = []
    users = [f"user {number}" for number in range(250)]
    budgets = Budgets(Allowance(sessions=1), len(users), asyncio.get_running_loop().time)
    async with (
        client(redis_url, 30.0) as redis,
        client(redis_url, 30.0) as elsewhere,
        AsyncExitStack() as stack,
    ):
        ledger = Ledger(redis, lambda: failures.append(None), lambda _: None)
        other = Ledger(elsewhere, lambda: failures.append(None), lambda _: None)
        for user in users:
            budget = stack.enter_context(budgets.session(user))
            await stack.enter_async_context(ledger.session(user, budget))
        await redis.flushall()
        keeping = asyncio.ensure_future(ledger.keeping())
        async with asyncio.timeout(30):
            while any(await asyncio.gather(*(other.has_room(user, 1) for user in users))):
                await asyncio.sleep(0.1)
        keeping.cancel()
    assert not failures
