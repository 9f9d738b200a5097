"""Fellows: the other gateways, and what all share in Redis. There where ANTIPHON_REDIS_URL is set.

What one gateway asks of another is answered by `answered`: to let go of a session that was resumed
elsewhere, to show who is there, to end somebody.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import TYPE_CHECKING, Any

import structlog

from pipeline.ending import end
from pipeline.errors import NotFound, SessionsUnreachable, StoreFailed
from server.rows import BY_OPERATOR, details_here, requests_here, rows_here
from server.shared_passes import SharedPasses
from session.buckets import Refused
from session.gateways import ASKED_AT_ONCE, LISTEN_S, Gateways
from session.ledger import Ledger
from session.redis_store import RedisStore
from session.redis_url import client, close

if TYPE_CHECKING:
    from server.house import House
    from server.settings import Settings

log = structlog.get_logger(__name__)

ENDS_WITHIN_S = 6.0
"""Longer than a session that is ended is waited for."""
AGAIN_S = 1.0
"""After so long, work that failed of what nobody foresaw begins anew."""
Shown = Callable[["House"], list[dict[str, Any]]]


class Fellows:
    """One gateway's part in what all share. Open it with `open`."""

    def __init__(self, settings: Settings, failed: Callable[[str], None], refused: Refused) -> None:
        """`failed` is told what for Redis did not answer. Raises `SettingsError`."""
        self.name = f"{socket.gethostname()}-{secrets.token_hex(3)}"
        self._house: House | None = None
        self._redis = redis = client(settings.redis_url)
        self._patient = client(settings.redis_url, answer_s=LISTEN_S + 2, at_once=ASKED_AT_ONCE)
        self.gateways = Gateways(
            redis, self._patient, self.name, self._answer, lambda: failed("gateways")
        )
        self.passes = SharedPasses(redis, lambda: failed("passes"))
        self.ledger = Ledger(redis, lambda: failed("limits"), refused)
        self.store = RedisStore(
            redis, self.name, settings.resume_s, settings.retention_s,
            ask=self._ask_for, lost=self._lost, failed=lambda: failed("sessions"),
        )  # fmt: skip

    @asynccontextmanager
    async def open(self, house: House) -> AsyncIterator[None]:
        """What runs beside the sessions, for as long as the scope."""
        self._house = house
        works = [
            self.store.renewing, self.ledger.keeping, self.gateways.living, self.gateways.listening
        ]  # fmt: skip
        async with AsyncExitStack() as stack:
            stack.push_async_callback(close, self._redis)
            stack.push_async_callback(close, self._patient)
            tasks = await stack.enter_async_context(asyncio.TaskGroup())
            running = [tasks.create_task(_goes_on(work)) for work in works]
            try:
                yield
            finally:
                await end(*running)

    async def end(self, session: str) -> None:
        """End one that is somewhere else, or parked.

        Raises `NotFound`, or `SessionsUnreachable` while that cannot be known.
        """
        if True in await self.gateways.ask_all("end", session, ENDS_WITHIN_S):
            return
        try:
            if not await self.store.standing(session):
                raise NotFound(f"there is no session {session!r}")
            await self.store.forget(session)
        except StoreFailed:
            raise SessionsUnreachable("where sessions are kept cannot be reached") from None

    async def let_go(self, session: str) -> None:
        """Another that has this session ends it, and stores what was heard."""
        await self.gateways.ask_all("yield", session)

    async def has(self, session: str) -> bool:
        """Whether another has it now."""
        return True in await self.gateways.ask_all("has", session)

    async def rows(self, kind: str, about: Any = None) -> list[Any]:
        """What the others have to show of that kind, one after the other."""
        return [row for rows in await self.gateways.ask_all(kind, about) for row in rows]

    async def end_user(self, user: str) -> set[str]:
        """End a user's sessions at the others, and wait until they are gone; which those were."""
        ended = await self.gateways.ask_all("end_user", user, ENDS_WITHIN_S)
        return {session for sessions in ended for session in sessions}

    async def _ask_for(self, owner: str, session: str, within_s: float) -> None:
        if owner != self.name:
            began = asyncio.get_running_loop().time()
            if await self.gateways.ask(owner, "yield", session, within_s) is None:
                # Nobody answered: its lease will have ended by then.
                waited_s = asyncio.get_running_loop().time() - began
                await asyncio.sleep(max(0.0, within_s - waited_s))

    async def _lost(self, session: str) -> None:
        if self._house is not None:
            await self._house.sessions.make_way(session)

    async def _answer(self, kind: str, about: Any) -> Any:
        return None if self._house is None else await answered(self._house, kind, about)


async def _goes_on(work: Callable[[], Awaitable[None]]) -> None:
    """Do what lasts as long as the gateway. It ends when it is cancelled, and of nothing else: a
    fault in it is not to end all the conversations beside it."""
    while True:
        try:
            await work()
        except Exception:
            log.exception("gateway_work_failed", work=getattr(work, "__name__", "?"))
        await asyncio.sleep(AGAIN_S)


async def answered(house: House, kind: str, about: Any) -> Any:
    """What this gateway says to another: a plain JSON value."""
    from server import user_data  # asks the house, and the house has fellows

    match kind:
        case "yield":
            await house.sessions.make_way(about)
            if house.keeping is not None:
                await house.keeping.written()
            return True
        case "end":
            with suppress(NotFound):
                await house.sessions.end_here(about, BY_OPERATOR)
                return True
            return False
        case "end_user":
            ended = await house.sessions.end_user(about, "the user's data is deleted")
            if house.keeping is not None:
                house.keeping.disown(about)
                await house.keeping.written()
            return sorted(ended)
        case "has":
            return await house.sessions.lasts(about)
        case "sessions":
            return rows_here(house)
        case "session":
            return details_here(house, about)
        case "requests":
            return requests_here(house)
        case "export":
            return user_data.sessions_here(house, about)
        case _:
            return None
