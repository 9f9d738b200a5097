"""A text of any length read aloud, clause by clause, for whoever takes the audio as it comes.

A clause is made while none of the audio before it waits to be taken, and no engine is held while
one does: whoever takes slowly keeps one clause in memory and nobody else waiting.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from typing import Protocol

import structlog

from .audio import float_to_pcm16
from .clause_policy import READ_ALOUD
from .clauses import Clause, ClauseCutter
from .errors import Unspeakable
from .pace import Pace
from .pool import TTS, Purpose, ResourcePool
from .seams import line_break_s, pause_s
from .voicing import REPLY_HZ, VoiceChoice, silence, voiced

log = structlog.get_logger(__name__)

ENDING_S = 0.06
"""At least so much silence after the last word: what is heard has faded before the audio ends."""
_CUT_AT_ONCE = 500
"""Characters that are cut into clauses before anybody else has a turn (about 2 ms)."""


class ReadingWatcher(Protocol):
    """Whoever wants to know how a reading goes."""

    def queued(self, seconds: float, position: int) -> None:
        """An engine was given, after so long; `position` was its place in the queue, or 0."""

    def skip(self, start: int, end: int, text: str, reason: str) -> None:
        """A stretch of the text is not voiced."""


class Reading:
    """Reads one text to one owner."""

    def __init__(
        self,
        text: str,
        owner: str,
        voice: VoiceChoice,
        pool: ResourcePool,
        watcher: ReadingWatcher,
        *,
        later_wait_s: float | None = None,
        played: bool = True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`later_wait_s` is the longest wait for an engine once there is audio; None: the pool's,
        as for the first clause. `played`: as it is made, so that clauses are to leave no gap."""
        self._text = text
        self._owner = owner
        self._voice = voice
        self._pool = pool
        self._watcher = watcher
        self._later_wait_s = later_wait_s
        self._clock = clock
        self._made = 0
        self._first_at = 0.0
        self._cutter = ClauseCutter(READ_ALOUD)
        self._pace = Pace() if played else None
        self._before = ""
        """What the last voiced clause said."""

    @property
    def made_s(self) -> float:
        """Audio made so far."""
        return self._made / REPLY_HZ

    async def pieces(self) -> AsyncGenerator[bytes]:
        """The audio as 16-bit PCM at `REPLY_HZ`, a clause a piece.

        Every character of the text is in a piece, or the watcher is told of it. Raises what the
        pool and the engine raise.
        """
        for clause in self._clauses():
            if clause is None:
                await asyncio.sleep(0)
            elif clause.speakable:
                if pcm := await self._voiced(clause):
                    self._first_at = self._first_at or self._clock()
                    self._made += len(pcm) // 2
                    yield pcm
            else:
                self._skip(clause, "nothing in it can be spoken")
        if self._made and (missing_s := ENDING_S - pause_s(self._before)) > 0:
            yield float_to_pcm16(silence(missing_s))

    async def _voiced(self, clause: Clause) -> bytes:
        later = self._made > 0
        pcm = bytearray()
        async with self._pool.lease(
            TTS,
            self._owner,
            deadline=self._first_at + self.made_s if later else None,
            purpose=Purpose.REQUEST_LATER if later else Purpose.REQUEST,
            max_wait_s=self._later_wait_s if later else None,
        ) as slot:
            self._watcher.queued(slot.waited_s, slot.position)
            began = self._clock()
            opening_s = line_break_s(self._before, clause.text)
            speech = voiced(slot, self._voice.request(clause.speech), opening_s)
            try:
                async with aclosing(speech):
                    async for piece in speech:
                        pcm += float_to_pcm16(piece)
            except Unspeakable as reason:
                self._skip(clause, str(reason))
                return b""
        self._before = clause.speech
        if self._pace is not None:
            self._pace.made(clause.size, self._clock() - began, len(pcm) / 2 / REPLY_HZ)
            # Beside others the voice is slow because it is shared: shorter clauses would cost all
            # of them more.
            self._cutter.room = None if self._pool.crowded(self._owner) else self._pace.most()
        return bytes(pcm)

    def _skip(self, clause: Clause, reason: str) -> None:
        self._watcher.skip(clause.start, clause.end, clause.text, reason)
        log.info("clause_skipped", clause=clause.index, reason=reason)

    def _clauses(self) -> Iterator[Clause | None]:
        """The clauses, each cut when it is asked for, with the room that there is by then; None
        when somebody else should have a turn."""
        for start in range(0, len(self._text), _CUT_AT_ONCE):
            for character in self._text[start : start + _CUT_AT_ONCE]:
                yield from self._cutter.feed(character)
            yield None
        yield from self._cutter.finish()
