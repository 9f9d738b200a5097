"""SessionManager: who is here, who waits to be, and who goes."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import replace
from weakref import WeakValueDictionary

from pipeline.bell import Bell
from pipeline.errors import AntiphonError, NotFound, Replaced
from pipeline.pool import ResourcePool

from .admission import Admission
from .keeping import Keeping, Lease, session_of
from .messages import GoingAway, Waiting
from .records import Totals
from .session import Session

MAKE_WAY_S = 5.0
"""A connection whose session was resumed elsewhere is waited for so long."""


class Ticket:
    """One who came: a place, or one in the waiting room, for as long as the scope of `ticket`."""

    def __init__(
        self, manager: SessionManager, session: str, remote: str, user: str | None
    ) -> None:
        self._manager = manager
        self.remote = remote
        self.user = user
        """Whose session it will be; None: nobody was asked."""
        self.came_at = time.time()
        self.session = session
        """The id that its session gets."""
        self.moved = Bell()
        """Rings when its standing may have changed."""
        self.dismissed = False
        """It is not to wait any longer."""

    @property
    def admitted(self) -> bool:
        """It has a place."""
        return self._manager.admission.admitted(self.session)

    @property
    def waiting(self) -> Waiting | None:
        """Where it stands; None once it has a place."""
        if self.admitted:
            return None
        standing = self._manager.admission.standing(self.session, self._manager.now())
        return Waiting(standing.position, standing.eta_s)

    @property
    def going_away(self) -> GoingAway | None:
        """The server goes: nobody is let in any more."""
        notice = self._manager.going_away
        return None if notice is None else notice()

    async def come_back(self, token: str) -> None:
        """Whoever holds it was here before, if the resume token is good: it goes before all others
        that wait, and a connection that still holds the session makes way."""
        await self._manager.come_back(self, token)


class SessionManager:
    """The registry of live sessions, behind their admission."""

    def __init__(
        self,
        pool: ResourcePool,
        max_sessions: int,
        waiting_room: int = 0,
        keeping: Keeping | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`keeping`: where sessions are kept that may come back; None: none may."""
        self._pool = pool
        self.keeping = keeping
        self.now = clock
        self.admission = Admission(max_sessions, waiting_room)
        self._tickets: dict[str, Ticket] = {}
        self._sessions: dict[str, Session] = {}
        self._coming_back: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()
        """By session; there while somebody holds it or waits for it."""
        self._empty = asyncio.Event()
        self._empty.set()
        self.going_away: Callable[[], GoingAway] | None = None
        """Makes what each client is told, once the server goes."""
        self.served = 0
        self._past = Totals()

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    @contextmanager
    def ticket(
        self, remote: str, user: str | None = None, *, back: bool = False
    ) -> Iterator[Ticket]:
        """A place in the house or in the waiting room, for as long as the scope. `back`: for
        somebody who was here before.

        Raises `AtCapacity` at once when there is neither.
        """
        ticket = Ticket(self, f"s_{secrets.token_urlsafe(12)}", remote, user)
        self.admission.arrive(ticket.session, self.now(), back=back)
        self._tickets[ticket.session] = ticket
        self._empty.clear()
        try:
            yield ticket
        finally:
            del self._tickets[ticket.session]
            self.admission.leave(ticket.session, self.now())
            self._tell_moved()
            if not self._tickets:
                self._empty.set()

    @asynccontextmanager
    async def registered(self, session: Session) -> AsyncIterator[None]:
        """The session is listed while the scope lasts; its place is its ticket's. One that comes
        after the others were told that the server goes is told, too."""
        self._sessions[session.identity.session] = session
        self.served += 1
        self._pool.wake()
        try:
            if self.going_away is not None:
                await session.drain(self.going_away())
            yield
        finally:
            if self._sessions.get(session.identity.session) is session:
                del self._sessions[session.identity.session]
            session.add_to(self._past)
            session.leave()

    def get(self, session_id: str) -> Session:
        """Raises `NotFound`."""
        with suppress(KeyError):
            return self._sessions[session_id]
        raise NotFound(f"there is no session {session_id!r}")

    def waiting(self) -> list[Ticket]:
        """Those in the waiting room, in order of arrival."""
        return [ticket for ticket in self._tickets.values() if not ticket.admitted]

    @property
    def some_may_return(self) -> bool:
        """There is a session that a new connection could resume."""
        return self.keeping is not None and bool(self.keeping.parked or self._sessions)

    async def returns(self, token: str, user: str | None) -> bool:
        """Whether this token would resume a session."""
        return self.keeping is not None and await self.keeping.knows(token, user)

    async def come_back(self, ticket: Ticket, token: str) -> None:
        """See `Ticket.come_back`."""
        if self.keeping is not None and await self.keeping.knows(token, ticket.user):
            self.admission.promote(ticket.session)
            self._tell_moved()
            await self._make_way(self.keeping, token, ticket.user)

    async def make_way_for(self, token: str, user: str | None) -> None:
        """A connection here that has the session of this token ends."""
        if self.keeping is not None:
            await self._make_way(self.keeping, token, user)

    @asynccontextmanager
    async def lease(
        self, session: str, user: str | None, token: str | None
    ) -> AsyncIterator[Lease | None]:
        """By what a session is kept: the one that the token resumes, or else a new one of this id.
        In the scope it is registered: until then it cannot make way for others, so that of those
        who come back to one session at once each waits for the one before. If that fails, it can
        be resumed as before.

        None: none is kept.
        """
        if (keeping := self.keeping) is None:
            yield None
            return
        async with self._one_by_one(token):
            lease = None
            if token is not None:
                await self._make_way(keeping, token, user)
                lease = await keeping.take(token, user)
            lease = lease or keeping.begin(session, user)
            try:
                yield lease
            except BaseException:
                keeping.give_up(lease)
                raise

    @asynccontextmanager
    async def _one_by_one(self, token: str | None) -> AsyncIterator[None]:
        if token is None:
            yield
            return
        named = session_of(token) or token
        async with self._coming_back.setdefault(named, asyncio.Lock()):
            yield

    async def _make_way(self, keeping: Keeping, token: str, user: str | None) -> None:
        """The newest connection wins: one that has the session by now ends, and leaves it."""
        live = keeping.live(token, user)
        if live is not None:
            await self.make_way(live)

    async def make_way(self, session: str) -> None:
        """A session here ends, for it was resumed elsewhere; waits until it is gone, or so."""
        if (old := self._sessions.get(session)) is not None:
            error = Replaced("the session was resumed elsewhere")
            with suppress(TimeoutError):
                async with asyncio.timeout(MAKE_WAY_S):
                    await old.end(error, "replaced")
                    await old.gone.wait()

    async def lasts(self, session: str) -> bool:
        """Whether it is here, or may come back."""
        if session in self._sessions:
            return True
        return self.keeping is not None and await self.keeping.keeps(session)

    async def dismiss(self, session_id: str, reason: str) -> None:
        """End a session, parked or here, or somebody's wait for one. Raises `NotFound`, and
        `StoreFailed` while it cannot be known."""
        try:
            await self.end_here(session_id, reason)
        except NotFound:
            if self.keeping is None or not await self.keeping.forget(session_id):
                raise

    async def end_here(self, session_id: str, reason: str) -> None:
        """End one whose client is connected here. Raises `NotFound`."""
        ticket = self._tickets.get(session_id)
        if ticket is not None and not ticket.admitted:
            ticket.dismissed = True
            ticket.moved.ring()
        else:
            await self.get(session_id).end(None, reason)

    async def end_user(self, user: str, reason: str) -> set[str]:
        """End all sessions of a user for good, and wait until they are gone; which those were.

        One that hangs is not waited for longer than `MAKE_WAY_S`.
        """
        theirs = [session for session in self if session.identity.user == user]
        with suppress(TimeoutError):
            async with asyncio.timeout(MAKE_WAY_S):
                for session in theirs:
                    await session.end(None, reason)
                for session in theirs:
                    await session.gone.wait()
        return {session.identity.session for session in theirs}

    def totals(self) -> Totals:
        """What all sessions came to so far."""
        totals = replace(self._past)
        for session in self:
            session.add_to(totals)
        return totals

    def replying(self) -> int:
        """Replies under way now."""
        return sum(session.replying for session in self)

    def claims(self, session_id: str) -> dict[str, int]:
        return self._pool.claims(session_id)

    def shut(self, reason: str) -> None:
        """Let nobody in for now, for a reason that newcomers are told."""
        self.admission.shut(reason)

    def reopen(self) -> None:
        """Let people in again, first those who waited."""
        self.admission.reopen()
        self._tell_moved()

    async def drain(self, notice: Callable[[], GoingAway]) -> None:
        """Tell everybody to go, sessions at the end of their reply; wait until all have gone."""
        self.going_away = notice
        self._tell_moved()
        for session in self:
            await session.drain(notice())
        await self._empty.wait()

    async def end_all(self, error: AntiphonError | None, reason: str) -> None:
        """End every session."""
        for session in self:
            await session.end(error, reason)

    async def gone(self) -> None:
        """Wait until nobody is here; those who do not go in time are left to their fate."""
        with suppress(TimeoutError):
            async with asyncio.timeout(MAKE_WAY_S):
                await self._empty.wait()

    def _tell_moved(self) -> None:
        for ticket in self._tickets.values():
            ticket.moved.ring()
