"""SessionManager: who is here, and whether one more may come."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Iterator
from contextlib import contextmanager

from pipeline.errors import AntiphonError, AtCapacity, NotFound
from pipeline.pool import ResourcePool

from .messages import GoingAway
from .session import Session


class SessionManager:
    """The registry of live sessions."""

    def __init__(self, pool: ResourcePool, max_sessions: int) -> None:
        self._pool = pool
        self._sessions: dict[str, Session] = {}
        self._entering = 0
        self._empty = asyncio.Event()
        self._empty.set()
        self.max_sessions = max_sessions
        self.served = 0

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[Session]:
        return iter(list(self._sessions.values()))

    @property
    def full(self) -> bool:
        return len(self._sessions) + self._entering >= self.max_sessions

    @contextmanager
    def place(self) -> Iterator[str]:
        """A place in the house, and the new session's id, for as long as the scope.

        Raises `AtCapacity` at once when every place is taken.
        """
        if self.full:
            raise AtCapacity(
                f"all {self.max_sessions} places are taken; try again soon", retry_after_s=10.0
            )
        self._entering += 1
        session_id = f"s_{secrets.token_urlsafe(12)}"
        try:
            yield session_id
        finally:
            self._entering -= 1

    @contextmanager
    def registered(self, session: Session) -> Iterator[None]:
        """The session is listed while the scope lasts; its place is counted by `place`."""
        self._sessions[session.identity.session] = session
        self._entering -= 1  # it holds its place as a session now
        self._empty.clear()
        self.served += 1
        try:
            yield
        finally:
            del self._sessions[session.identity.session]
            self._entering += 1
            if not self._sessions:
                self._empty.set()

    def get(self, session_id: str) -> Session:
        """Raises `NotFound`."""
        try:
            return self._sessions[session_id]
        except KeyError:
            raise NotFound(f"there is no session {session_id!r}") from None

    def claims(self, session_id: str) -> dict[str, int]:
        return self._pool.claims(session_id)

    async def drain(self, notice: GoingAway) -> None:
        """Tell every session to go at the end of its reply, and wait until all have gone."""
        for session in self:
            await session.drain(notice)
        await self._empty.wait()

    async def end_all(self, error: AntiphonError | None, reason: str) -> None:
        """End every session."""
        for session in self:
            await session.end(error, reason)
