"""One session's audio: in at the client's rate, kept for 30 s, heard by frames, cut in windows.

Microphone audio never passes the session's inbox: it lies in a ring here, and what the session
learns are frames' speech probabilities. When frames stop coming inside speech, silence is put in
their place, so that a turn ends though its client fell silent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

import numpy as np
import structlog

from .audio import AudioRing, Resampler, level_dbfs, pcm16_to_float
from .engines.ports import SPEECH_HZ, Float32
from .errors import SttFailed
from .signals import Heard
from .vad import VadStream

log = structlog.get_logger(__name__)

RING_S = 30
ROOM_S = 3.0
"""Audio that may wait to be heard. With a window of 26 s behind it, the ring must hold both."""
GAP_S = 1.0
"""Without frames for so long inside speech, silence is assumed."""
FILL_S = 0.1
TRUST_S = 3.0
"""Silence filled in on one answer of the peer's; then it is asked again."""


class Listening:
    """The ear of one session. `feed` is for whoever has audio; `run` belongs to the session."""

    def __init__(
        self,
        rate_hz: int,
        vad: VadStream,
        post: Callable[[Heard], Awaitable[None]],
        expects_frames: Callable[[], bool],
        peer_answers: Callable[[], Awaitable[bool]],
        *,
        frame_samples: int = 512,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`post` takes the frames' probabilities; `expects_frames` says whether a gap now would be
        silence, and `peer_answers` whether the line to the microphone is alive.
        """
        self._resampler = Resampler(rate_hz, SPEECH_HZ)
        self._ring = AudioRing(RING_S * SPEECH_HZ)
        self._vad = vad
        self._post = post
        self._expects_frames = expects_frames
        self._peer_answers = peer_answers
        self._frame = frame_samples
        self._clock = clock
        self._position = 0
        """The sample up to which frames have been heard."""
        self.missed_s = 0.0
        """Audio that was never heard: it had left the ring before its turn came."""
        self._arrived = 0.0
        self._more = asyncio.Event()
        self._heard = asyncio.Event()

    @property
    def received_to(self) -> int:
        """The end of the audio received, in samples at 16 kHz."""
        return self._ring.end

    def settle(self) -> int:
        """The end of the audio received, with what the resampler still held back of it."""
        self._ring.append(self._resampler.flush())
        return self._ring.end

    @property
    def unheard_s(self) -> float:
        """Audio that waits to be heard."""
        return (self._ring.end - self._position) / SPEECH_HZ

    def feed(self, pcm: bytes) -> None:
        """Take signed 16-bit little-endian mono PCM at the client's rate; the length is even."""
        if self._resampler.rate_in == SPEECH_HZ:  # nothing to be done, 50 times a second
            self._ring.append_pcm(np.frombuffer(pcm, "<i2"))
        else:
            self._ring.append(self._resampler.feed(pcm16_to_float(pcm)))
        self._note_arrival()

    async def room(self) -> None:
        """Wait until less than `ROOM_S` of audio waits to be heard."""
        while self.unheard_s > ROOM_S:
            self._heard.clear()
            await self._heard.wait()

    def window(self, start: int, end: int) -> Float32:
        """Samples [start, end), as far as they are still held."""
        return self._ring.read(start, end)

    def _append(self, samples: Float32) -> None:
        self._ring.append(samples)
        self._note_arrival()

    def _note_arrival(self) -> None:
        self._arrived = self._clock()
        self._more.set()

    async def run(self) -> None:
        """Hear every frame, in order, until cancelled."""
        gap_s, filled_s = GAP_S, 0.0
        while True:
            self._more.clear()
            while self._ring.end - self._position >= self._frame:
                await self._hear_next()
            try:
                async with asyncio.timeout(gap_s):
                    await self._more.wait()
                gap_s, filled_s = GAP_S, 0.0
            except TimeoutError:
                if not self._expects_frames() or filled_s >= TRUST_S:
                    gap_s, filled_s = GAP_S, 0.0
                    continue
                # A line that stalls is no silence: what it holds back will still come.
                if not filled_s and not await self._peer_answers():
                    continue
                if self._more.is_set():
                    continue  # audio came while the peer was asked
                missing_s = self._clock() - self._arrived
                self._append(np.zeros(round(missing_s * SPEECH_HZ), np.float32))
                gap_s, filled_s = FILL_S, filled_s + missing_s

    async def _hear_next(self) -> None:
        # Whoever hears a frame too late (the ring has moved on) goes on from what is left.
        start = max(self._position, self._ring.start)
        self.missed_s += (start - self._position) / SPEECH_HZ
        end = start + self._frame
        behind_s = (self._ring.end - end) / SPEECH_HZ
        frame = self._ring.read(start, end)
        try:
            probability = await self._vad.probability(frame)
        except SttFailed as error:  # a frame that nobody could judge is no speech
            log.warning("vad_failed", error=str(error))
            probability = 0.0
        self._position = end
        self._heard.set()
        arrived = self._arrived - behind_s
        await self._post(Heard(probability, end, arrived, round(level_dbfs(frame), 1)))
