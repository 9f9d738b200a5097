"""The ledger: what is spent here is told once, however slowly Redis answers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from session import redis_scripts as scripts
from session.budgets import Allowance, Budgets
from session.ledger import EVERY_S, Ledger
from tests.virtual_time import run

Script = Callable[..., Awaitable[Any]]


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
