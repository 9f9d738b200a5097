"""One session's audio: in at the client's rate, kept for 30 s, heard by frames, cut in windows.

Microphone audio never passes the session's inbox: it lies in a ring here, and what the session
learns are frames' speech probabilities. When frames stop coming inside speech, silence is put in
their place, so that a turn ends though its client fell silent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from functools import partial

import numpy as np
import structlog

from .audio import AudioRing, level_dbfs, pcm16_to_float
from .bell import Bell
from .engines.ports import SPEECH_HZ, Float32
from .resampling import Resampler
from .signals import Heard
from .vad import VadStream

log = structlog.get_logger(__name__)

RING_S = 30
ROOM_S = 3.0
"""Audio that may wait to be heard. With a window of 26 s behind it, the ring must hold both."""
GAP_S = 1.0
"""Without frames for so long inside speech, silence is assumed."""
FILL_S = 0.1
DEAF_FRAMES = 16
"""Half a second that nobody could judge: it is more than a frame that nobody will miss."""
DEAF_AGAIN = 312
"""Frames until it is time to say so again: some 10 s."""
TRUST_S = 3.0
"""Silence filled in on one answer of the peer's; then it is asked again."""


class Listening:
    """The ear of one session. `feed` is for whoever has audio; `run` belongs to the session.

    One frame is under way at a time: from the ring through the voice detector to the session, which
    calls `hear_on` when it has taken it. No task is woken for that: it happens 31 times a second.
    """

    def __init__(
        self,
        rate_hz: int,
        vad: VadStream,
        post: Callable[[Heard], None],
        expects_frames: Callable[[], bool],
        peer_answers: Callable[[], Awaitable[bool]],
        *,
        frame_samples: int = 512,
        clock: Callable[[], float] = time.monotonic,
        feed_on: Callable[[Float32, int], None] | None = None,
    ) -> None:
        """`post` takes the frames' probabilities; `expects_frames` says whether a gap now would be
        silence, and `peer_answers` whether the line to the microphone is alive. `feed_on` takes
        each frame, and the sample where it ends.
        """
        self._resampler = Resampler(rate_hz, SPEECH_HZ)
        self._ring = AudioRing(RING_S * SPEECH_HZ)
        self._vad = vad
        self._post = post
        self._expects_frames = expects_frames
        self._peer_answers = peer_answers
        self._frame = frame_samples
        self._clock = clock
        self._feed_on = feed_on
        self._position = 0
        """The sample up to which frames have been heard."""
        self.missed_s = 0.0
        """Audio that was never heard: it had left the ring before its turn came."""
        self._arrived = 0.0
        self._came = False
        """Audio, since `run` last looked."""
        self.muted = False
        """Nothing of what comes is heard, and no frames is what is meant."""
        self._anew_at: int | None = None
        """The sample from which the voice detector knows nothing of what was before."""
        self._hearer: Context | None = None
        """Of `run`: frames are judged in its name, whoever brought them. None: not at all."""
        self._judging: asyncio.Future[float] | None = None
        self._under_way = False
        self._unjudged = 0
        """Frames in a row that nobody could judge."""
        self._heard = Bell()

    @property
    def received_to(self) -> int:
        """The end of the audio received, in samples at 16 kHz."""
        return self._ring.end

    def settle(self) -> int:
        """The end of the audio received, with what the resampler still held back of it."""
        self._ring.append(self._resampler.flush())
        return self._ring.end

    def mute(self) -> int:
        """Hear nothing that comes from now on; the end of what came before, and will be heard."""
        if not self.muted:
            self.muted = True
            self.settle()
            # The last frame is filled up: it would else be heard with what comes after `unmute`.
            missing = -(self._ring.end - self._position) % self._frame
            self._ring.append(np.zeros(missing, np.float32))
            self._anew_at = self._ring.end
            self._hear_next()
        return self._ring.end

    def unmute(self) -> None:
        """Hear what comes from now on."""
        self.muted = False
        self._arrived = self._clock()  # a gap is counted from here

    @property
    def unheard_s(self) -> float:
        """Audio that waits to be heard."""
        return (self._ring.end - self._position) / SPEECH_HZ

    def feed(self, pcm: bytes) -> None:
        """Take signed 16-bit little-endian mono PCM at the client's rate; the length is even."""
        if self.muted:
            return
        if self._resampler.rate_in == SPEECH_HZ:  # nothing to be done, 50 times a second
            self._ring.append_pcm(np.frombuffer(pcm, "<i2"))
        else:
            self._ring.append(self._resampler.feed(pcm16_to_float(pcm)))
        self._came = True
        self._note_arrival()

    @property
    def has_room(self) -> bool:
        """Less than `ROOM_S` of audio waits to be heard."""
        return self.unheard_s <= ROOM_S

    async def room(self) -> None:
        """Wait until there is room for more."""
        while not self.has_room:
            await self._heard.wait()

    def window(self, start: int, end: int) -> Float32:
        """Samples [start, end), as far as they are still held."""
        return self._ring.read(start, end)

    def hear_on(self) -> None:
        """The session has taken the last frame: have the next one judged."""
        self._under_way = False
        self._hear_next()

    async def run(self) -> None:
        """Hear every frame, in order, until cancelled."""
        self._hearer = copy_context()
        self._hear_next()
        try:
            await self._fill_gaps()
        finally:
            self._hearer = None
            if self._judging is not None:
                self._judging.cancel()

    def close(self) -> None:
        """It is over: whom it asked and told is let go."""
        del self._expects_frames, self._peer_answers, self._post, self._feed_on

    async def _fill_gaps(self) -> None:
        wait_s, filled_s = GAP_S, 0.0
        while True:
            await asyncio.sleep(wait_s)
            if self._came:  # a gap begins where the last audio ended
                self._came = False
                wait_s, filled_s = self._arrived + GAP_S - self._clock(), 0.0
            elif self.muted or not self._expects_frames() or filled_s >= TRUST_S:
                wait_s, filled_s = GAP_S, 0.0
            # A line that stalls is no silence: what it holds back will still come.
            elif not filled_s and not await self._peer_answers():
                wait_s = GAP_S
            elif not (self._came or self.muted):  # while the peer was asked
                missing_s = self._clock() - self._arrived
                self._ring.append(np.zeros(round(missing_s * SPEECH_HZ), np.float32))
                self._note_arrival()
                wait_s, filled_s = FILL_S, filled_s + missing_s

    def _note_arrival(self) -> None:
        self._arrived = self._clock()
        self._hear_next()

    def _hear_next(self) -> None:
        unheard = self._ring.end - self._position
        if self._under_way or self._hearer is None or unheard < self._frame:
            return
        # Whoever hears a frame too late (the ring has moved on) goes on from what is left.
        start = max(self._position, self._ring.start)
        self.missed_s += (start - self._position) / SPEECH_HZ
        if self._anew_at is not None and start >= self._anew_at:
            self._vad.forget()
            self._anew_at = None
        end = start + self._frame
        behind = self._ring.end - end
        frame = self._ring.read(start, end)
        level = round(level_dbfs(frame), 1)
        if self._feed_on is not None:
            self._feed_on(frame, end)
        self._under_way = True
        self._judging = self._vad.probability(frame, behind=behind >= self._frame)
        arrived = self._arrived - behind / SPEECH_HZ
        judged = partial(self._judged, end, arrived, level)
        self._judging.add_done_callback(judged, context=self._hearer)

    def _judged(
        self, end: int, arrived: float, level: float, judging: asyncio.Future[float]
    ) -> None:
        if judging.cancelled():
            return
        if (error := judging.exception()) is None:
            probability, self._unjudged = judging.result(), 0
        else:  # a frame that nobody could judge is no speech
            log.debug("frame_not_judged", error=str(error))  # at error where it is judged
            probability, self._unjudged = 0.0, self._unjudged + 1
        deaf = self._unjudged % DEAF_AGAIN == DEAF_FRAMES
        self._position = end
        self._heard.ring()
        self._post(Heard(probability, end, arrived, level, deaf))
