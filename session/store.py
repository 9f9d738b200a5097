"""SessionStore: where sessions outlast their connection, and their server. The port.

A store is told of whole sessions, one record each, as plain values; it knows nothing of what is in
one. Several servers may share it: a session belongs to whoever took it last.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Record:
    """One session, as it is stored."""

    session: str
    user: str | None
    tokens: tuple[bytes, ...]
    """Hashes of the resume tokens that are valid: one, or two for a moment; none: it is over, and
    kept for its user."""
    until: float | None
    """When it is forgotten, in Unix time; None: its client is here."""
    body: bytes


class SessionStore(Protocol):
    """Every method raises `StoreFailed` when nothing could be read or written."""

    async def open(self, until: float) -> None:
        """Begin. The sessions of a server that died can be resumed until `until`."""

    async def save(self, record: Record) -> None:
        """Write a session; it has been stored when this returns, whatever happens next.

        Raises `Taken` when another server has taken it since, or it was forgotten while live.
        """

    async def take(
        self, session: str, token: bytes, user: str | None, now: float, new: bytes
    ) -> Record | None:
        """The session of this token and this user, which is this server's from now on, and can be
        resumed by the new token and by this one. None: there is no such session any more.

        `session`: as the token names it; "" for one that was given by an older version."""

    async def knows(self, session: str, token: bytes, user: str | None, now: float) -> bool:
        """Whether `take` would find one."""

    async def parked(self, most: int) -> list[Record]:
        """Those whose client is not here, the latest first."""

    async def count(self, now: float) -> int:
        """How many there are whose client is not here and which can be resumed."""

    async def standing(self, session: str) -> bool:
        """Whether this is one of those."""

    async def of_user(self, user: str) -> list[Record]:
        """All of a user's."""

    async def forget(self, session: str) -> None:
        """As if it had never been."""

    async def forget_user(self, user: str) -> int:
        """All of a user's, wherever they are; how many there were. When this returns nothing of
        them can be read any more where they were stored."""

    async def expire(self, now: float, retention_s: float) -> None:
        """Forget what is kept no longer. A known user's that can be resumed no longer is kept for
        so much longer."""

    async def close(self) -> None:
        """Nothing more will come."""


class Taken(Exception):
    """This session is not this server's any more: its client is at another one, or it was
    forgotten."""
