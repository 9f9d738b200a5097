"""One reply's audio: clauses to speech, in order, a little ahead of playback."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import structlog

from .audio import Resampler, float_to_pcm16
from .clauses import Clause
from .engines.ports import SpeechRequest, Synthesizer
from .errors import Unspeakable
from .pool import TTS, Purpose, ResourcePool, Slot
from .signals import Draft, DraftAudio, DraftVoiced, Event

log = structlog.get_logger(__name__)

REPLY_HZ = 24_000
"""The rate of every reply's audio; engines of another rate are resampled."""
BUFFER_S = 10.0
"""Audio that may lie ready and unsent; then the next clause waits."""
SENTENCE_PAUSE_S, CLAUSE_PAUSE_S = 0.18, 0.06
"""Engines trim the silence around a clause; this much is put back behind it."""
_SENTENCE_END = (".", "!", "?", "…", "。", "！", "？", "।", ":", "\n")


@dataclass(frozen=True, slots=True)
class VoiceChoice:
    """Whose voice a reply is spoken in."""

    voice: str
    speed: float = 1.0
    language: str | None = None


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
        self._speculative = draft.speculative
        self._owner = owner
        self._voice = voice
        self._pool = pool
        self._post = post
        self._clock = clock
        self._ready: deque[bytes] = deque()
        self._made = 0
        self._taken = 0
        self._room = asyncio.Event()
        self.skipped: list[tuple[Clause, str]] = []
        """Clauses that were not voiced, with the reason."""

    async def run(self, clauses: AsyncIterator[Clause]) -> None:
        """Voice all clauses. Raises what the pool or the engine raises."""
        first = True
        async for clause in clauses:
            start = self._made
            if clause.speakable:
                await self._wait_for_room()
                await self._voice_clause(clause, first=first)
                first = first and self._made == start
            else:
                self._skip(clause, "nothing in it can be spoken")
            await self._post(DraftVoiced(self._draft, clause.start, clause.end, start, self._made))

    def take(self, start: int, end: int) -> bytes:
        """The samples [start, end) as PCM16. Pieces are taken in order, each once."""
        assert start == self._taken <= end <= self._made
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

    async def _voice_clause(self, clause: Clause, *, first: bool) -> None:
        unsent_s = (self._made - self._taken) / REPLY_HZ
        if self._speculative:
            purpose = Purpose.SPECULATION
        else:
            purpose = Purpose.FIRST_CLAUSE if first else Purpose.LATER_CLAUSE
        request = SpeechRequest(
            clause.speech, self._voice.voice, self._voice.speed, self._voice.language
        )
        async with self._pool.lease(
            TTS, self._owner, deadline=self._clock() + unsent_s, purpose=purpose
        ) as slot:
            try:
                await self._stream(slot, request)
            except Unspeakable as reason:
                self._skip(clause, str(reason))
                return
        pause_s = (
            SENTENCE_PAUSE_S
            if clause.text.rstrip(" \"')]”’").endswith(_SENTENCE_END)
            else (CLAUSE_PAUSE_S)
        )
        await self._add(bytes(2 * round(pause_s * REPLY_HZ)))

    async def _stream(self, slot: Slot[Synthesizer], request: SpeechRequest) -> None:
        rate_hz = slot.engine.rate_hz
        resampler = Resampler(rate_hz, REPLY_HZ) if rate_hz != REPLY_HZ else None
        async for chunk in slot.stream(lambda engine, stop: engine.synthesize(request, stop)):
            await self._add(float_to_pcm16(resampler.feed(chunk) if resampler else chunk))
        if resampler:
            await self._add(float_to_pcm16(resampler.flush()))

    async def _add(self, pcm: bytes) -> None:
        if pcm:
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
