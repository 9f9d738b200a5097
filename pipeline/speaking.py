"""One reply's audio: clauses to speech, in order, a little ahead of playback."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing

import structlog

from .audio import float_to_pcm16
from .clauses import Clause
from .engines.ports import Float32
from .errors import Unspeakable
from .pool import TTS, Purpose, ResourcePool
from .seams import line_break_s
from .signals import Draft, DraftAudio, DraftVoiced, Event
from .voicing import REPLY_HZ, VoiceChoice, voiced

log = structlog.get_logger(__name__)

BUFFER_S = 6.0
"""Audio that may lie ready and unsent; then the next clause waits. With the one that is being made
it is some 10 s: 480 kB.
"""


class Speaking:
    """Voices one draft's clauses. `run` makes the audio, `take` gives it away, once."""

    def __init__(
        self,
        draft: Draft,
        owner: str,
        voice: VoiceChoice,
        pool: ResourcePool,
        post: Callable[[Event], Awaitable[None]],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._draft = draft.draft
        self._wanted = asyncio.Event()
        """Set unless the draft is speculative still."""
        if not draft.speculative:
            self._wanted.set()
        self._aside = draft.aside
        self._owner = owner
        self._voice = voice
        self._pool = pool
        self._post = post
        self._clock = clock
        self._ready: deque[bytes] = deque()
        self._made = 0
        self._taken = 0
        self._sent_until = 0.0
        """When all that was taken will have been played, if nothing holds it up."""
        self._before = ""
        """What the last voiced clause said."""
        self._room = asyncio.Event()
        self.skipped: list[tuple[Clause, str]] = []
        """Clauses that were not voiced, with the reason."""

    async def run(self, clauses: AsyncIterator[Clause]) -> None:
        """Voice all clauses. Raises what the pool or the engine raises."""
        first = True
        async for clause in clauses:
            if not first:
                await self._wanted.wait()  # of a speculation, the first clause is enough
            start, words = self._made, tuple[int, ...]()
            if clause.speakable:
                await self._wait_for_room()
                words = await self._voice_clause(clause, first=first)
                first = first and self._made == start
            else:
                self._skip(clause, "nothing in it can be spoken")
            places = tuple(start + at for at in words)
            await self._post(
                DraftVoiced(self._draft, clause.start, clause.end, start, self._made, places)
            )

    def take(self, start: int, end: int) -> bytes:
        """The samples [start, end) as PCM16. Pieces are taken in order, each once."""
        assert start == self._taken <= end <= self._made
        self._sent_until = max(self._sent_until, self._clock()) + (end - start) / REPLY_HZ
        wanted = (end - start) * 2
        parts = []
        while wanted:
            part = self._ready.popleft()
            if len(part) > wanted:
                self._ready.appendleft(part[wanted:])
                part = part[:wanted]
            parts.append(part)
            wanted -= len(part)
        self._taken = end
        self._room.set()
        return b"".join(parts)

    def confirm(self) -> None:
        """The draft was speculative and is wanted now."""
        self._wanted.set()

    def runs_dry_at(self) -> float:
        """When all audio so far will have been played; now, when there is none."""
        unsent_s = (self._made - self._taken) / REPLY_HZ
        return max(self._sent_until, self._clock()) + unsent_s

    async def _voice_clause(self, clause: Clause, *, first: bool) -> tuple[int, ...]:
        """Where in its audio its words are, if the engine says so."""
        if not self._wanted.is_set():
            purpose = Purpose.SPECULATION
        elif self._aside:
            purpose = Purpose.REQUEST if first else Purpose.REQUEST_LATER
        else:
            purpose = Purpose.FIRST_CLAUSE if first else Purpose.LATER_CLAUSE
        deadline = self.runs_dry_at() if purpose is Purpose.LATER_CLAUSE else None
        words: list[int] = []
        async with self._pool.lease(TTS, self._owner, deadline=deadline, purpose=purpose) as slot:
            opening_s = line_break_s(self._before, clause.text)
            speech = voiced(slot, self._voice.request(clause.speech), opening_s, words)
            try:
                async with aclosing(speech):
                    async for piece in speech:
                        await self._add(piece)
            except Unspeakable as reason:
                self._skip(clause, str(reason))
                return ()
        self._before = clause.speech
        return tuple(words)

    async def _add(self, piece: Float32) -> None:
        if pcm := float_to_pcm16(piece):
            self._ready.append(pcm)
            self._made += len(pcm) // 2
            await self._post(DraftAudio(self._draft, len(pcm) // 2))

    def _skip(self, clause: Clause, reason: str) -> None:
        self.skipped.append((clause, reason))
        log.info("clause_skipped", draft=self._draft, clause=clause.index, reason=reason)

    async def _wait_for_room(self) -> None:
        while self._made - self._taken > BUFFER_S * REPLY_HZ:
            self._room.clear()
            await self._room.wait()
