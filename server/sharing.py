"""Sharing: what is done for other gateways where there are some, and left out where there are none.

The client of Redis is an extra: nothing of `fellows.py` is imported unless it is asked for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from server.metrics import Metrics
from server.settings import Settings
from session.budgets import Budget

if TYPE_CHECKING:
    from server.fellows import Fellows


def fellows_of(settings: Settings, metrics: Metrics) -> Fellows | None:
    """The other gateways; None when there are none."""
    if not settings.redis_url:
        return None
    from server.fellows import Fellows

    return Fellows(settings, metrics.redis_failed, metrics.over_budget)


@asynccontextmanager
async def session_counts(
    fellows: Fellows | None, user: str | None, budget: Budget
) -> AsyncIterator[None]:
    """A session of this user's counts at all gateways, for as long as the scope.

    Raises `RateLimited` when the user has as many as it may, at all of them together.
    """
    if fellows is None:
        yield
        return
    async with fellows.ledger.session(user, budget):
        yield


@asynccontextmanager
async def request_counts(
    fellows: Fellows | None, user: str | None, budget: Budget
) -> AsyncIterator[None]:
    """What a request of this user's spends counts at all gateways."""
    if fellows is None:
        yield
        return
    async with fellows.ledger.request(user, budget):
        yield
