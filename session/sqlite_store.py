"""Sessions in SQLite: one file, one thread that reads and writes it.

Each save is a transaction that is on the disk before it returns (WAL, synchronous=FULL). Servers
may share the file: each has a lock of its own, which the kernel lets go when it dies, however that
comes about; by it the others know whose sessions are nobody's any more.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import TypeVar

from pipeline.errors import StoreFailed

from .owners import Owners
from .store import Record, Taken

T = TypeVar("T")

FILE = "sessions.db"
BUSY_S = 0.5
"""How long another one's transaction is waited for."""
EMPTY_S = 5.0
"""How long those are waited for who read the file, before its log can be emptied."""
EMPTY_EVERY_S = 0.1
MOST_SESSIONS = 10_000
PAGE_BYTES = 4_096
FULL_SHARE = 0.75
"""Of the file's bound, what bodies may take: the rest is for pages that are not full."""

MIGRATIONS = (
    """
    CREATE TABLE sessions (
        session TEXT PRIMARY KEY,
        user TEXT,
        owner TEXT,
        token BLOB,
        token_before BLOB,
        until REAL,
        changed REAL NOT NULL,
        body BLOB NOT NULL
    ) WITHOUT ROWID;
    CREATE INDEX sessions_by_token ON sessions (token);
    CREATE INDEX sessions_by_token_before ON sessions (token_before);
    CREATE INDEX sessions_by_user ON sessions (user);
    CREATE INDEX sessions_by_until ON sessions (until);
    """,
)
"""Each is run once, in order; what was released is never changed."""

_COLUMNS = "session, user, token, token_before, until, body"
_BY_TOKEN = "(token = :token OR token_before = :token) AND user IS :user"
_PARKED = "until IS NOT NULL AND token IS NOT NULL"
_LASTS = "(until IS NULL OR until > :now)"


class SqliteStore:
    """A `SessionStore` on one machine."""

    def __init__(
        self, folder: Path, most_bytes: int, clock: Callable[[], float] = time.time
    ) -> None:
        """`most_bytes`: of the file; what is parked longest goes first."""
        self._folder = folder
        self._most_bytes = most_bytes
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="sessions")
        self._owners = Owners(folder / "servers")
        self._resume_s = 0.0
        self._live: set[str] = set()
        """Written here, and their client is here. One that is not in the file was forgotten."""
        self._lost: set[str] = set()
        """To another server, of late: what was on its way to be saved is not saved any more."""

    # --- the port --------------------------------------------------------------------------------

    async def open(self, until: float) -> None:
        await self._run(lambda: self._open(until))

    async def save(self, record: Record) -> None:
        await self._run(lambda: self._save(record))

    async def take(
        self, session: str, token: bytes, user: str | None, now: float, new: bytes
    ) -> Record | None:
        told = {"token": token, "user": user, "now": now, "new": new, "me": self._owners.me}
        return await self._run(lambda: self._take(told))

    async def knows(self, session: str, token: bytes, user: str | None, now: float) -> bool:
        told = {"token": token, "user": user, "now": now}
        found = await self._run(lambda: self._select(f"{_BY_TOKEN} AND {_LASTS}", told))
        return bool(found)

    async def parked(self, most: int) -> list[Record]:
        where = f"{_PARKED} AND until > :now ORDER BY changed DESC LIMIT :most"
        told = {"now": self._clock(), "most": most}
        return await self._run(lambda: self._select(where, told))

    async def count(self, now: float) -> int:
        where = f"{_PARKED} AND until > ?"
        return await self._run(lambda: self._count(where, now))

    async def standing(self, session: str) -> bool:
        where = f"session = ? AND {_PARKED} AND until > ?"
        return await self._run(lambda: bool(self._count(where, session, self._clock())))

    async def of_user(self, user: str) -> list[Record]:
        return await self._run(lambda: self._select("user = :user", {"user": user}))

    async def forget(self, session: str) -> None:
        await self._run(lambda: self._forget(session))

    async def forget_user(self, user: str) -> int:
        """Out of the file and of its log: deleted pages are overwritten, and the log emptied."""
        gone = await self._run(lambda: self._delete("user = ?", user))
        give_up = time.monotonic() + EMPTY_S
        while not await self._run(self._empty_log):
            if time.monotonic() > give_up:
                raise StoreFailed("somebody reads the file, and its log cannot be emptied")
            await asyncio.sleep(EMPTY_EVERY_S)
        return gone

    async def expire(self, now: float, retention_s: float) -> None:
        await self._run(lambda: self._expire(now, retention_s))

    async def close(self) -> None:
        """Close the file; a thread that hangs in it is not waited for."""
        try:
            await self._run(self._close)
        finally:
            self._thread.shutdown(wait=False)

    async def _run(self, work: Callable[[], T]) -> T:
        """Do it on the thread. Raises `StoreFailed`."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, work)
        except (sqlite3.Error, OSError, RuntimeError) as error:
            raise StoreFailed(f"{type(error).__name__}: {error}") from error

    # --- on the thread ---------------------------------------------------------------------------

    def _open(self, until: float) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / FILE
        path.touch(mode=0o600)  # what people said is in it
        self._owners.begin()
        self._db = sqlite3.connect(
            path, timeout=BUSY_S, isolation_level=None, check_same_thread=False
        )
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        self._db.execute("PRAGMA secure_delete = ON")
        self._db.execute(f"PRAGMA max_page_count = {max(64, self._most_bytes // PAGE_BYTES)}")
        self._migrate()
        self._resume_s = until - self._clock()
        self._park_the_deads(until)

    def _park_the_deads(self, until: float) -> None:
        """What a server had that lives no more can be resumed until then."""
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            owners = self._db.execute("SELECT DISTINCT owner FROM sessions WHERE until IS NULL")
            for (owner,) in owners.fetchall():
                if not self._owners.alive(owner):
                    change = "UPDATE sessions SET owner = NULL, until = ? WHERE owner = ?"
                    self._db.execute(change, (until, owner))

    def _count(self, where: str, *told: object) -> int:
        count: int
        (count,) = self._db.execute(f"SELECT COUNT(*) FROM sessions WHERE {where}", told).fetchone()
        return count

    def _migrate(self) -> None:
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")  # two servers may start at once
            self._db.execute("CREATE TABLE IF NOT EXISTS migrations (version INTEGER, at REAL)")
            (done,) = self._db.execute("SELECT COUNT(*) FROM migrations").fetchone()
            if done > len(MIGRATIONS):
                raise StoreFailed("the sessions were stored by a newer version")
            for version, script in enumerate(MIGRATIONS[done:], done + 1):
                for statement in script.split(";"):
                    self._db.execute(statement)
                row = (version, self._clock())
                self._db.execute("INSERT INTO migrations VALUES (?, ?)", row)

    def _save(self, record: Record) -> None:
        token, before = (*record.tokens, None, None)[:2]
        told = {
            "session": record.session, "user": record.user, "token": token, "before": before,
            "until": record.until, "changed": self._clock(), "body": record.body,
            "me": self._owners.me, "owner": self._owners.me if record.until is None else None,
        }  # fmt: skip
        if record.session in self._lost:
            raise Taken
        ours = record.session in self._live
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            if not self._select("session = :session", told):
                if ours:
                    raise Taken
                self._make_room(len(record.body))
            wrote = self._db.execute(
                "INSERT INTO sessions VALUES"
                " (:session, :user, :owner, :token, :before, :until, :changed, :body)"
                " ON CONFLICT (session) DO UPDATE SET owner = :owner, token = :token,"
                " token_before = :before, until = :until, changed = :changed, body = :body"
                # One of ours that is parked under another token was another's meanwhile.
                " WHERE owner = :me OR (owner IS NULL AND (token = :token OR NOT :ours))",
                {**told, "ours": ours},
            )
            if not wrote.rowcount:
                self._live.discard(record.session)
                self._lost.add(record.session)
                raise Taken
        (self._live.add if record.until is None else self._live.discard)(record.session)

    def _make_room(self, size: int) -> None:
        """Forget what is parked longest, as long as there is too much."""
        count, total = self._db.execute(
            "SELECT COUNT(*), COALESCE(SUM(LENGTH(body)), 0) FROM sessions"
        ).fetchone()
        room = self._most_bytes * FULL_SHARE
        while count >= MOST_SESSIONS or total + size > room:
            oldest = self._db.execute(
                "SELECT session, LENGTH(body) FROM sessions WHERE until IS NOT NULL"
                " ORDER BY changed LIMIT 1"
            ).fetchone()
            if oldest is None:
                return  # all are live: the file's own bound will refuse
            self._delete("session = ?", oldest[0])
            count, total = count - 1, total - oldest[1]

    def _take(self, told: Mapping[str, object]) -> Record | None:
        found = self._take_anyhow(told)
        if found is not None:
            self._lost.discard(found.session)
        return found

    def _take_anyhow(self, told: Mapping[str, object]) -> Record | None:
        try:
            return self._take_written(told)
        except sqlite3.OperationalError:
            # The disk is full, or the file locked. Whoever comes back goes on all the same: until
            # this can be written, another server that is shown the old token would take it too.
            found = self._select(f"{_BY_TOKEN} AND {_LASTS}", told)
            return found[0] if found else None

    def _take_written(self, told: Mapping[str, object]) -> Record | None:
        with self._db:
            self._db.execute("BEGIN IMMEDIATE")
            found = self._select(f"{_BY_TOKEN} AND {_LASTS}", told)
            if not found:
                return None
            self._db.execute(
                "UPDATE sessions SET owner = :me, until = NULL, token = :new,"
                " token_before = :token WHERE session = :session",
                {**told, "session": found[0].session},
            )
        self._live.add(found[0].session)
        return found[0]

    def _select(self, where: str, told: Mapping[str, object]) -> list[Record]:
        rows = self._db.execute(f"SELECT {_COLUMNS} FROM sessions WHERE {where}", told)
        return [_record(*row) for row in rows.fetchall()]

    def _delete(self, where: str, value: object) -> int:
        return self._db.execute(f"DELETE FROM sessions WHERE {where}", (value,)).rowcount

    def _forget(self, session: str) -> None:
        self._delete("session = ?", session)
        self._live.discard(session)

    def _empty_log(self) -> bool:
        """Whether that went; whoever reads what it was before holds it up."""
        self._db.execute("PRAGMA busy_timeout = 0")  # who saves is not to wait behind it
        try:
            busy, *_ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        finally:
            self._db.execute(f"PRAGMA busy_timeout = {round(1000 * BUSY_S)}")
        return not busy

    def _expire(self, now: float, retention_s: float) -> None:
        self._lost.clear()
        self._park_the_deads(now + self._resume_s)
        if retention_s:
            self._db.execute(
                f"UPDATE sessions SET token = NULL, token_before = NULL, until = until + ?"
                f" WHERE {_PARKED} AND until <= ? AND user IS NOT NULL",
                (retention_s, now),
            )
        self._delete("until <= ?", now)

    def _close(self) -> None:
        with closing(self._db):
            self._owners.end()


def _record(
    session: str, user: str | None, token: bytes, before: bytes, until: float | None, body: bytes
) -> Record:
    tokens = tuple(one for one in (token, before) if one is not None)
    return Record(session, user, tokens, until, body)
