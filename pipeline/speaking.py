"""One reply's audio: clauses to speech, in order, a little ahead of playback."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import numpy as np
import structlog

from .audio import Resampler, float_to_pcm16
from .clauses import Clause
from .engines.ports import Float32, SpeechRequest, Synthesizer
from .errors import TtsFailed, Unspeakable
from .pool import TTS, Purpose, ResourcePool, Slot
from .seams import ClauseShaper, line_break_s, pause_s
from .signals import Draft, DraftAudio, DraftVoiced, Event

log = structlog.get_logger(__name__)

REPLY_HZ = 24_000
"""The rate of every reply's audio; engines of another rate are resampled."""
BUFFER_S = 6.0
"""Audio that may lie ready and unsent; then the next clause waits. With the one that is being made
it is some 10 s: 480 kB.
"""
LONGEST_S, LONGEST_S_PER_CHARACTER = 20.0, 1.0
"""A clause of so much audio is no speech: the voice is stuck. A long number, spoken digit by digit,
takes some 0.5 s a character."""


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
        self._wanted = asyncio.Event()
        """Set unless the draft is speculative still."""
        if not draft.speculative:
            self._wanted.set()
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

    async def _voice_clause(self, clause: Clause, *, first: bool) -> None:
        if not self._wanted.is_set():
            purpose = Purpose.SPECULATION
        else:
            purpose = Purpose.FIRST_CLAUSE if first else Purpose.LATER_CLAUSE
        request = SpeechRequest(
            clause.speech, self._voice.voice, self._voice.speed, self._voice.language
        )
        deadline = self.runs_dry_at() if purpose is Purpose.LATER_CLAUSE else None
        async with self._pool.lease(TTS, self._owner, deadline=deadline, purpose=purpose) as slot:
            try:
                await self._stream(slot, request, line_break_s(self._before, clause.text))
            except Unspeakable as reason:
                self._skip(clause, str(reason))
                return
        self._before = clause.speech

    async def _stream(
        self, slot: Slot[Synthesizer], request: SpeechRequest, opening_s: float
    ) -> None:
        resampler = Resampler(slot.engine.rate_hz, REPLY_HZ)
        shaper = ClauseShaper(REPLY_HZ)
        left = round(_longest_s(request) * slot.engine.rate_hz)
        async for chunk in slot.stream(lambda engine, stop: engine.synthesize(request, stop)):
            left -= len(chunk)
            if left < 0:
                raise TtsFailed("the voice did not come to an end")
            if not np.isfinite(chunk).all():
                raise TtsFailed("the voice made a sound that cannot be played")
            await self._add(_silence(opening_s), shaper.feed(resampler.feed(chunk)))
            opening_s = 0.0
        await self._add(
            shaper.feed(resampler.flush()), shaper.finish(), _silence(pause_s(request.text))
        )

    async def _add(self, *pieces: Float32) -> None:
        if pcm := float_to_pcm16(np.concatenate(pieces)):
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


def _longest_s(request: SpeechRequest) -> float:
    return (LONGEST_S + LONGEST_S_PER_CHARACTER * len(request.text)) / request.speed


def _silence(seconds: float) -> Float32:
    return np.zeros(round(seconds * REPLY_HZ), np.float32)
