"""What waits to be stored, and the one task that stores it: a session's latest state, one session
after the other.

A store that fails fails nobody: whoever wants to know is told, and what is parked is kept here, to
be tried again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Literal

import structlog

from pipeline.bell import Bell
from pipeline.errors import StoreFailed

from .store import Record, SessionStore, Taken

log = structlog.get_logger(__name__)

Fate = Literal["saved", "failed", "taken"]
Told = Callable[[Fate], None]
SAVE_S = 1.0
"""A store that takes longer has failed: that long a `reply_done` may wait."""
REST_S = 5.0
"""A store that failed is left alone for so long."""
MOST_UNSAVED_BYTES = 16_000_000
"""Of sessions that could not be stored, or forgotten."""
ENTRY_BYTES = 200
"""What one of them takes beside what is in it."""


@dataclass(slots=True)
class _Entry:
    record: Record | None
    """None: the session is to be forgotten."""
    told: list[Told] = field(default_factory=list)


class _Unsaved:
    """What could not be stored, or, for None, forgotten: the oldest first, and how much it is."""

    def __init__(self) -> None:
        self.records: dict[str, Record | None] = {}
        self.bytes = 0

    def keep(self, session: str, record: Record | None) -> None:
        """The latest of this session."""
        self.drop(session)
        self.records[session] = record
        self.bytes += _size(record)

    def drop(self, session: str) -> None:
        """If it is there."""
        if session in self.records:
            self.bytes -= _size(self.records.pop(session))


class Writing:
    """One server's."""

    def __init__(self, store: SessionStore, wrote: Told) -> None:
        """`wrote` is told how each write went."""
        self._store = store
        self._wrote = wrote
        self._waiting: dict[str, _Entry] = {}
        self._writing: tuple[str, Record | None] | None = None
        self._unsaved = _Unsaved()
        self._again: list[str] = []
        """Of those, what is to be tried again, the next one last."""
        self._more = Bell()
        self._idle = asyncio.Event()
        self._idle.set()
        self._rests_until = 0.0
        self._well = True

    def put(self, session: str, record: Record | None, told: Told | None = None) -> None:
        """Store it, or, for None, forget it; `told` is called once, from the writer's task."""
        self._unsaved.drop(session)
        entry = self._waiting.setdefault(session, _Entry(record))
        entry.record = record
        if told is not None:
            entry.told.append(told)
        self._idle.clear()
        self._more.ring()

    def parked(self) -> Iterator[Record]:
        """Of sessions whose client is not here, what is not in the store, or not yet."""
        waiting = [entry.record for entry in self._waiting.values()]
        writing = self._writing[1] if self._writing is not None else None
        for record in (*waiting, writing, *self._unsaved.records.values()):
            if record is not None and record.until is not None:
                yield record

    def forgotten(self) -> set[str]:
        """Sessions that are over, which the store does not know yet."""
        gone = {session for session, entry in self._waiting.items() if entry.record is None}
        gone |= {session for session, record in self._unsaved.records.items() if record is None}
        if self._writing is not None and self._writing[1] is None:
            gone.add(self._writing[0])
        return gone

    def pending(self) -> set[str]:
        """Sessions of which the store does not have the latest state yet."""
        writing = {self._writing[0]} if self._writing is not None else set()
        return writing | self._waiting.keys() | self._unsaved.records.keys()

    async def idle(self) -> None:
        """Wait until all that was put in was tried."""
        await self._idle.wait()

    def try_again(self, now: float) -> None:
        """What could not be stored, or forgotten, may be by now: one after the other, as long as
        that goes well, and nothing newer waits."""
        for session, record in list(self._unsaved.records.items()):
            if record is not None and record.until is not None and record.until <= now:
                self._unsaved.drop(session)
        self._again = [*reversed(self._unsaved.records)]
        if self._again:
            self._idle.clear()
            self._more.ring()

    def drop(self, session: str) -> None:
        """It is not kept any more, though it could not be stored."""
        self._unsaved.drop(session)

    async def run(self) -> None:
        """Write, until cancelled."""
        while True:
            while not self._waiting and not self._take_up():
                self._idle.set()
                await self._more.wait()
            await self._write_next()  # in a frame of its own: who waits holds on to no session

    def _take_up(self) -> bool:
        """Let one wait that is to be tried again; False when there is none."""
        while self._again:
            session = self._again.pop()
            if session in self._unsaved.records:
                self.put(session, self._unsaved.records[session])
                return True
        return False

    async def _write_next(self) -> None:
        session = next(iter(self._waiting))
        entry = self._waiting.pop(session)
        self._writing = session, entry.record
        fate = await self._write(session, entry.record)
        self._writing = None
        if fate == "failed" and session not in self._waiting:
            self._remember(session, entry.record)
        self._wrote(fate)
        for tell in entry.told:
            tell(fate)

    async def _write(self, session: str, record: Record | None) -> Fate:
        try:
            if time.monotonic() < self._rests_until:
                return "failed"
            async with asyncio.timeout(SAVE_S):
                if record is None:
                    await self._store.forget(session)
                else:
                    await self._store.save(record)
        except Taken:
            return "taken"
        except (StoreFailed, TimeoutError) as error:
            self._rests_until = time.monotonic() + REST_S
            self._again.clear()
            if self._well:  # once, not for every session
                self._well = False
                log.warning("store_failed", error=str(error) or type(error).__name__)
            return "failed"
        if not self._well:
            self._well = True
            log.info("store_well_again")
        return "saved"

    def _remember(self, session: str, record: Record | None) -> None:
        self._unsaved.keep(session, record)
        while self._unsaved.bytes > MOST_UNSAVED_BYTES:
            session, first = next(iter(self._unsaved.records.items()))
            self._unsaved.drop(session)
            if first is None:
                log.error("session_not_forgotten", session=session)
            elif first.until is not None:  # else there is a later state of it to come
                log.error("session_lost", session=session)


def _size(unsaved: Record | None) -> int:
    return ENTRY_BYTES + (len(unsaved.body) if unsaved is not None else 0)
