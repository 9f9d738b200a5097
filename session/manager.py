"""SessionManager: who is here, who waits to be, and who goes."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace

from pipeline.errors import AntiphonError, NotFound
from pipeline.pool import ResourcePool

from .admission import Admission
from .messages import GoingAway, Waiting
from .records import Totals
from .session import Session


class Ticket:
    """One who came: a place, or one in the waiting room, for as long as the scope of `ticket`."""

    def __init__(self, manager: SessionManager, session: str, remote: str) -> None:
        self._manager = manager
        self.remote = remote
        self.came_at = time.time()
        self.session = session
        """The id that its session gets."""
        self.moved = asyncio.Event()
        """Its standing may have changed; whoever waits for it clears it."""
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
        return self._manager.going_away


class SessionManager:
    """The registry of live sessions, behind their admission."""

    def __init__(
        self,
        pool: ResourcePool,
        max_sessions: int,
        waiting_room: int = 0,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pool = pool
        self.now = clock
        self.admission = Admission(max_sessions, waiting_room)
        self._tickets: dict[str, Ticket] = {}
        self._sessions: dict[str, Session] = {}
        self._empty = asyncio.Event()
        self._empty.set()
        self.going_away: GoingAway | None = None
        self.served = 0
        self._past = Totals()

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    @contextmanager
    def ticket(self, remote: str) -> Iterator[Ticket]:
        """A place in the house or in the waiting room, for as long as the scope.

        Raises `AtCapacity` at once when there is neither.
        """
        ticket = Ticket(self, f"s_{secrets.token_urlsafe(12)}", remote)
        self.admission.arrive(ticket.session, self.now())
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

    @contextmanager
    def registered(self, session: Session) -> Iterator[None]:
        """The session is listed while the scope lasts; its place is its ticket's."""
        self._sessions[session.identity.session] = session
        self.served += 1
        try:
            yield
        finally:
            del self._sessions[session.identity.session]
            session.add_to(self._past)

    def get(self, session_id: str) -> Session:
        """Raises `NotFound`."""
        with suppress(KeyError):
            return self._sessions[session_id]
        raise NotFound(f"there is no session {session_id!r}")

    def waiting(self) -> list[Ticket]:
        """Those in the waiting room, in order of arrival."""
        return [ticket for ticket in self._tickets.values() if not ticket.admitted]

    async def dismiss(self, session_id: str, reason: str) -> None:
        """End a session, or somebody's wait for one. Raises `NotFound`."""
        ticket = self._tickets.get(session_id)
        if ticket is not None and not ticket.admitted:
            ticket.dismissed = True
            ticket.moved.set()
        else:
            await self.get(session_id).end(None, reason)

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

    async def drain(self, notice: GoingAway) -> None:
        """Tell everybody to go, sessions at the end of their reply; wait until all have gone."""
        self.going_away = notice
        self._tell_moved()
        for session in self:
            await session.drain(notice)
        await self._empty.wait()

    async def end_all(self, error: AntiphonError | None, reason: str) -> None:
        """End every session."""
        for session in self:
            await session.end(error, reason)

    def _tell_moved(self) -> None:
        for ticket in self._tickets.values():
            ticket.moved.set()
