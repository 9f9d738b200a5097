"""Stopping without cutting anybody off: what happens between a SIGTERM and the last close."""

from __future__ import annotations

import asyncio
import random
from functools import partial

import structlog

from pipeline.errors import GoingAway
from server.house import House
from session.messages import GoingAway as Notice

log = structlog.get_logger(__name__)

RECONNECT_MS = (500, 3_000)
"""When a client is to come back: not all at the same moment, to a server that has just begun."""
ELSEWHERE_MS = (50, 1_000)
"""The same, where other gateways are there already."""


async def drain(house: House) -> None:
    """Let nobody in, tell everybody to go, and let replies and requests end, up to the limit.

    What is not over by then is cut: a reply at what was heard of it.
    """
    house.leave()
    log.info("draining", sessions=len(house.sessions))
    try:
        async with asyncio.timeout(house.settings.drain_s):
            others = house.fellows is not None and bool(house.fellows.gateways.others)
            await house.sessions.drain(partial(notice, others))
            await house.requests.idle()
    except TimeoutError:
        log.warning("drain_cut_short", sessions=len(house.sessions))
        await house.sessions.end_all(GoingAway("the server is going away"), "going away")
        await house.sessions.gone()


def notice(others: bool = False) -> Notice:
    """For one client; `others`: gateways that have begun long since."""
    return Notice(random.randint(*(ELSEWHERE_MS if others else RECONNECT_MS)))
