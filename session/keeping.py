"""Keeping: sessions outlast their connections. Who may resume which, by tokens that serve once.

A token is valid until the next one has reached the client, so that a lost `welcome` costs nothing.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace

import structlog

from pipeline.ending import end
from pipeline.errors import SessionsUnreachable, StoreFailed

from .kept import Kept, Summary, decoded, summary
from .store import Record, SessionStore
from .writing import Told, Writing

log = structlog.get_logger(__name__)

LOOK_S = 10.0
"""How often it is looked for what is kept no longer."""
CLOSE_S = 5.0
"""At the end, what waits is written for so long."""
READ_AT_ONCE = 50
"""Sessions of a list that are read before anybody else has a turn (some 2 ms)."""
TOKEN_BYTES = 32
AWAY_S = 5.0
"""Whoever cannot be resumed while the store is away, is to come back after so long."""


@dataclass(frozen=True, slots=True)
class Lease:
    """A session that can be resumed, while its client is here."""

    session: str
    user: str | None
    token: str
    """What the client resumes it with next."""
    tokens: tuple[bytes, ...]
    """Hashes of that one, and of the one it came with."""
    kept: Kept | None = None
    """What it goes on from; None: it is new."""


class Keeping:
    """One server's. Open it with `async with`."""

    def __init__(
        self,
        store: SessionStore,
        resume_s: float,
        retention_s: float = 0.0,
        *,
        wrote: Told = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`resume_s`: so long a session may be resumed; `retention_s`: so long a known user's are
        kept, for the user. `wrote` is told how each write went."""
        self._store = store
        self._resume_s = resume_s
        self._retention_s = retention_s
        self._wrote = wrote
        self._writing = Writing(store, wrote)
        self._clock = clock
        self._live: dict[str, Lease] = {}
        self._by_token: dict[bytes, str] = {}
        """Of the live ones."""
        self._parked = 0
        """As of the last look, and what was parked and resumed here since."""

    async def __aenter__(self) -> Keeping:
        now = self._clock()
        await self._store.open(now + self._resume_s)
        self._parked = await self._store.count(now)
        self._tasks = asyncio.TaskGroup()
        await self._tasks.__aenter__()
        self._work = [
            self._tasks.create_task(self._writing.run()),
            self._tasks.create_task(self._look()),
        ]
        return self

    async def __aexit__(self, *_: object) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._writing.idle()
                await self._store.close()
        except (TimeoutError, StoreFailed) as failure:
            log.error("sessions_not_stored", error=str(failure))
        await end(*self._work)
        await self._tasks.__aexit__(None, None, None)

    # --- who is here, and who may come back ------------------------------------------------------

    @property
    def parked(self) -> int:
        """How many sessions can be resumed whose client is not here, at this server or another
        that shares the store; it takes `LOOK_S` to learn of what others do, and of time."""
        return self._parked

    async def keeps(self, session: str) -> bool:
        """Whether its client is here, or may come back."""
        if session in self._live:
            return True
        with suppress(StoreFailed):
            return await self._stands(session)
        return False

    async def _stands(self, session: str) -> bool:
        """Whether its client may come back. Raises `StoreFailed`."""
        if session in self._writing.forgotten():
            return False
        waits = any(one.session == session and one.tokens for one in self._writing.parked())
        return waits or await self._store.standing(session)

    def begin(self, session: str, user: str | None) -> Lease:
        """A new session."""
        token, digest = _new_token(session)
        return self._lease(Lease(session, user, token, (digest,)))

    def live(self, token: str, user: str | None) -> str | None:
        """The session here that this token resumes; its client has another connection."""
        session = self._by_token.get(_hash(token))
        return session if session and self._live[session].user == user else None

    async def knows(self, token: str, user: str | None) -> bool:
        """Whether this token would resume a session."""
        digest = _hash(token)
        if self.live(token, user) or self._in_memory(digest, user):
            return True
        try:
            return await self._store.knows(session_of(token), digest, user, self._clock())
        except StoreFailed:
            return False

    async def take(self, token: str, user: str | None) -> Lease | None:
        """The parked session that this token resumes; None when there is none, any more.

        Raises `SessionsUnreachable` when that cannot be known for now: the token stays good.
        """
        digest, named = _hash(token), session_of(token)
        new, new_digest = _new_token(named)
        record = self._in_memory(digest, user)
        if record is None:
            later = self._writing.pending()  # by which this token is void
            try:
                now = self._clock()
                record = await self._store.take(named, digest, user, now, new_digest)
                if record is not None and record.session in later:
                    return None
            except StoreFailed as error:  # a full one, too: it is written to
                log.warning("session_not_read", error=str(error))
                raise SessionsUnreachable(
                    "sessions cannot be resumed for the moment; this one is not lost",
                    retry_after_s=AWAY_S,
                ) from None
        if record is None or record.session in self._live:
            return None
        try:
            kept = decoded(record.body)
        except StoreFailed as error:
            log.error("session_not_read", session=record.session, error=str(error))
            return None
        self._parked = max(0, self._parked - 1)
        self._writing.drop(record.session)
        return self._lease(Lease(record.session, user, new, (new_digest, digest), kept))

    def reached(self, lease: Lease) -> Lease:
        """The client has the new token: the one before is void. One that was lost stays so."""
        if not self._has(lease):
            return lease
        for digest in lease.tokens[1:]:
            self._by_token.pop(digest, None)
        lease = replace(lease, tokens=lease.tokens[:1])
        self._live[lease.session] = lease
        return lease

    def _lease(self, lease: Lease) -> Lease:
        self._live[lease.session] = lease
        self._by_token.update((digest, lease.session) for digest in lease.tokens)
        return lease

    async def all_parked(self, most: int = 1_000) -> list[Summary]:
        """Those who may come back, as far as they can be read."""
        try:
            records = await self._store.parked(most)
        except StoreFailed:
            records = []
        latest = {record.session: record for record in (*records, *self._writing.parked())}
        over = self._live.keys() | self._writing.forgotten()
        found = []
        for number, (session, one) in enumerate(latest.items()):
            if number % READ_AT_ONCE == 0:
                await asyncio.sleep(0)
            with suppress(StoreFailed):  # another version's, perhaps
                if session not in over:
                    found.append(summary(one.body))
        return found

    async def written(self) -> None:
        """Wait until all that is to be stored by now was tried."""
        await self._writing.idle()

    async def of_user(self, user: str) -> list[Kept]:
        """All of a user's that are kept, but for those that are here. Raises `StoreFailed`."""
        records = {record.session: record for record in await self._store.of_user(user)}
        records |= {one.session: one for one in self._writing.parked() if one.user == user}
        return [decoded(one.body) for one in records.values() if one.session not in self._live]

    async def forget_user(self, user: str) -> set[str]:
        """All of a user's; which those were. One that does not end is stored no more.

        Raises `StoreFailed` when something of them may be left.
        """
        forgotten: set[str] = set()
        live = self.disown(user)
        while True:
            await self._writing.idle()
            unsaved = [one.session for one in self._writing.parked() if one.user == user]
            for session in (*unsaved, *live):
                self._writing.drop(session)
            forgotten.update(unsaved, [one.session for one in await self._store.of_user(user)])
            await self._store.forget_user(user)
            if not (live := self.disown(user)):  # who came back meanwhile
                break
        await self._recount()
        return forgotten

    def disown(self, user: str) -> list[str]:
        """Nothing more is stored of a user's sessions that are still here; which those are."""
        theirs = [lease for lease in self._live.values() if lease.user == user]
        for lease in theirs:
            self._leave(lease)
        return [lease.session for lease in theirs]

    async def forget(self, session: str) -> bool:
        """A parked one; False when there is none. Raises `StoreFailed`."""
        if session in self._live or not await self._stands(session):
            return False
        self._parked = max(0, self._parked - 1)
        self._writing.put(session, None, None)
        return True

    def _in_memory(self, digest: bytes, user: str | None) -> Record | None:
        """A parked session that is not in the store, or not yet."""
        for record in self._writing.parked():
            if digest in record.tokens and record.user == user and not self._over(record):
                return record
        return None

    def _over(self, record: Record) -> bool:
        return record.until is not None and record.until <= self._clock()

    # --- what is written -------------------------------------------------------------------------

    def save(self, lease: Lease, kept: Kept, told: Told | None = None) -> None:
        """Store a live session; `told` is called once, at once or from the writer's task."""
        if self._has(lease):
            self._put(lease, kept, None, told)
        elif told is not None:
            told("taken")

    def give_up(self, lease: Lease) -> None:
        """It was taken, or begun, and then no session could be made of it."""
        if lease.kept is not None:
            self.park(lease, lease.kept)
        else:
            self._leave(lease)

    def park(self, lease: Lease, kept: Kept) -> None:
        """Its client is gone, and may come back."""
        if self._leave(lease):
            self._parked += 1
            self._put(lease, kept, self._clock() + self._resume_s, None)

    def end(self, lease: Lease, kept: Kept) -> None:
        """It is over for good; a known user's may be kept for its user."""
        if not self._leave(lease):
            return
        if self._retention_s and lease.user is not None:
            over = replace(lease, tokens=())
            self._put(over, kept, self._clock() + self._retention_s, None)
        else:
            self._writing.put(lease.session, None, None)

    def lose(self, lease: Lease) -> None:
        """Another server has it, or it was forgotten: nothing more is stored of it here."""
        self._leave(lease)

    def _leave(self, lease: Lease) -> bool:
        """False when somebody else has it by now."""
        if not self._has(lease):
            return False
        for digest in self._live.pop(lease.session).tokens:
            self._by_token.pop(digest, None)
        return True

    def _has(self, lease: Lease) -> bool:
        now = self._live.get(lease.session)
        return now is not None and now.token == lease.token

    def _put(
        self,
        lease: Lease,
        kept: Kept,
        until: float | None,
        told: Told | None,
    ) -> None:
        try:
            body = kept.encoded()
        except StoreFailed as error:
            log.error("session_not_saved", session=lease.session, error=str(error))
            self._wrote("failed")
            if told is not None:
                told("failed")
            return
        self._writing.put(
            lease.session, Record(lease.session, lease.user, lease.tokens, until, body), told
        )

    async def _look(self) -> None:
        """Now and then: forget what is kept no longer, and try again to store what could not be."""
        while True:
            await asyncio.sleep(LOOK_S)
            now = self._clock()
            self._writing.try_again(now)
            try:
                await self._store.expire(now, self._retention_s)
                await self._recount()
            except StoreFailed as error:
                log.debug("store_not_cleared", error=str(error))

    async def _recount(self) -> None:
        """One question to the store, however many sessions there are. Raises `StoreFailed`."""
        waiting = {one.session for one in self._writing.parked() if one.tokens}
        stored = await self._store.count(self._clock())
        waiting |= {one.session for one in self._writing.parked() if one.tokens}
        self._parked = stored + len(waiting)


def _new_token(session: str) -> tuple[str, bytes]:
    """A token, of which no part can be guessed but the session that it names, and its hash."""
    token = f"{secrets.token_urlsafe(TOKEN_BYTES)}.{session}"
    return token, _hash(token)


def session_of(token: str) -> str:
    """The session that a token names, which it need not open; "" for one of an older version."""
    return token.partition(".")[2]


def _hash(token: str) -> bytes:
    """What is stored of it: a random token needs no salt, and nothing slow."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()
