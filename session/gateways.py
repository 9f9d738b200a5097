"""Gateways: which there are, and what one asks of another, through Redis.

Each has a mailbox (a list that it alone reads) and a sign of life (a key that expires). An answer
comes into a list of its own. Lists work with Sentinels and in a cluster alike, and what is sent to
a gateway that reconnects is there when it is back; what nobody reads expires.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from .redis_url import AWAY, Client

log = structlog.get_logger(__name__)

LISTEN_S = 5.0
ALIVE_S, SIGN_EVERY_S = 5.0, 1.0
LETTER_S = 10.0
"""What is not read within this is of no use to whoever wrote it."""
AGAIN_S = 0.5
MOST_AT_ONCE = 64
ASKED_AT_ONCE = 256
"""Each keeps a connection while it waits; so does the mailbox. A gateway that dies leaves as many
sessions, and whoever resumes one asks it first."""
GATEWAYS = "antiphon:gateways"

Answer = Callable[[str, Any], Awaitable[Any]]
"""What a gateway answers to (kind, about): a plain JSON value."""


class Gateways:
    """One of them, and its view of the others. `listening` and `living` have to run."""

    def __init__(
        self, redis: Client, patient: Client, me: str, answer: Answer, failed: Callable[[], None]
    ) -> None:
        """`patient`: a client that waits for longer than `LISTEN_S` for an answer, and for
        `ASKED_AT_ONCE` of them."""
        self._redis = redis
        self._patient = patient
        self.me = me
        self._answer = answer
        self._failed = failed
        self._others: tuple[str, ...] = ()

    @property
    def others(self) -> tuple[str, ...]:
        """Those that lived a moment ago."""
        return self._others

    async def ask(self, gateway: str, kind: str, about: Any, within_s: float) -> Any:
        """Its answer; None when there is none in time, or Redis is away."""
        back = f"antiphon:answer:{secrets.token_hex(8)}"
        letter = json.dumps([kind, about, back])
        mailbox = _mailbox(gateway)
        try:
            async with asyncio.timeout(within_s + 1):
                await self._redis.rpush(mailbox, letter)
                await self._redis.pexpire(mailbox, round(1000 * LETTER_S))
                got = await self._patient.blpop([back], timeout=max(0.01, within_s))
        except AWAY as error:
            self._failed()
            log.debug("gateway_not_asked", gateway=gateway, error=str(error))
            return None
        return json.loads(got[1]) if got else None

    async def ask_all(self, kind: str, about: Any, within_s: float = 1.0) -> list[Any]:
        """What the others answer; those that do not in time are left out."""
        others = await self.look()
        answers = await asyncio.gather(
            *(self.ask(other, kind, about, within_s) for other in others)
        )
        return [answer for answer in answers if answer is not None]

    async def look(self) -> tuple[str, ...]:
        """The others that live now, as far as Redis says."""
        try:
            names = [_text(name) for name in await self._redis.smembers(GATEWAYS)]
            there = await asyncio.gather(*(self._redis.exists(_sign(name)) for name in names))
            lives = dict(zip(names, there, strict=True))
            if gone := [name for name in names if not lives[name]]:
                await self._redis.srem(GATEWAYS, *gone)
            self._others = tuple(name for name in names if lives[name] and name != self.me)
        except AWAY:
            self._failed()
        return self._others

    async def living(self) -> None:
        """Give signs of life, until cancelled; then none."""
        try:
            while True:
                try:
                    await self._redis.set(_sign(self.me), 1, px=round(1000 * ALIVE_S))
                    await self._redis.sadd(GATEWAYS, self.me)
                except AWAY as error:
                    self._failed()
                    log.debug("no_sign_of_life", error=str(error))
                else:
                    await self.look()
                await asyncio.sleep(SIGN_EVERY_S)
        finally:
            try:
                await self._redis.delete(_sign(self.me))
            except AWAY:
                log.debug("redis_away_at_the_end")

    async def listening(self) -> None:
        """Answer what others ask, until cancelled."""
        at_work = asyncio.Semaphore(MOST_AT_ONCE)
        async with asyncio.TaskGroup() as tasks:
            while True:
                await at_work.acquire()
                try:
                    got = await self._patient.blpop([_mailbox(self.me)], timeout=LISTEN_S)
                except AWAY:
                    self._failed()
                    got = None
                    await asyncio.sleep(AGAIN_S)
                if got is None:
                    at_work.release()
                    continue
                task = tasks.create_task(self._answered(got[1]))
                task.add_done_callback(lambda _: at_work.release())

    async def _answered(self, letter: str | bytes) -> None:
        try:
            kind, about, back = json.loads(letter)
            answer = json.dumps(await self._answer(kind, about))
            await self._redis.rpush(back, answer)
            await self._redis.pexpire(back, round(1000 * LETTER_S))
        except (*AWAY, ValueError) as error:
            log.warning("gateway_not_answered", error=str(error))
        except Exception:
            log.exception("gateway_question_failed")


def _mailbox(gateway: str) -> str:
    return f"antiphon:mailbox:{gateway}"


def _sign(gateway: str) -> str:
    return f"antiphon:gateway:{gateway}"


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
