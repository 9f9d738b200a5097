"""A file's sound, decoded and looked through for speech, on a thread of its own: the event loop and
the detector of those in conversation are left alone."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass
from typing import BinaryIO, ParamSpec, TypeVar

import numpy as np
import structlog

from pipeline.decoding import Decoder
from pipeline.engines.ports import SPEECH_HZ, Float32, VoiceActivityModel
from pipeline.engines.threads import EngineThreads
from pipeline.errors import BadAudio
from pipeline.vad import FORGET_AFTER, QUIET

P = ParamSpec("P")
R = TypeVar("R")

log = structlog.get_logger(__name__)

STRETCH_S = 5.0
"""Decoded at a time: some 30 ms of work."""
HANG_S = 60.0
"""A native library that does not come back from a stretch has met a file it cannot take."""


@dataclass(frozen=True, slots=True)
class Stretch:
    """The next few seconds, in the detector's frames; the last one is filled up with silence."""

    frames: Float32
    """16 kHz, shape (n, frame_samples)."""
    probabilities: Float32
    """That somebody speaks in each, shape (n,)."""


class FileAudio:
    """One file on its way through. Use it as an async context manager; the file stays open.

    Entering raises `BadAudio` and `TooMuchAudio`, as `Decoder` does.
    """

    def __init__(
        self,
        file: BinaryIO,
        vad: VoiceActivityModel,
        most_s: float,
        turns: asyncio.Semaphore | None = None,
    ) -> None:
        """`turns`: where several files are decoded, as many at once as it lets pass."""
        self._file = file
        self._vad = vad
        self._most_s = most_s
        self._fresh = self._state = vad.initial_state()[np.newaxis]
        self._quiet = 0
        self._held = np.zeros(0, np.float32)
        self._threads = EngineThreads("decoder", 1)
        self._turns = turns or asyncio.Semaphore()
        self._decoder: Decoder | None = None
        self._samples = 0

    @property
    def frame_samples(self) -> int:
        return self._vad.frame_samples

    @property
    def told_s(self) -> float:
        """How long the file is by what its packets say; 0.0 if they do not."""
        return self._decoder.duration_s if self._decoder is not None else 0.0

    @property
    def decoded_s(self) -> float:
        """How much of it has been decoded."""
        return self._samples / SPEECH_HZ

    async def __aenter__(self) -> FileAudio:
        try:
            self._decoder = await self._run(Decoder, self._file, self._most_s)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        """Wait for the stretch that is being decoded, then free the decoder."""
        await self._close()

    async def stretches(self) -> AsyncGenerator[Stretch]:
        """The whole of it, in order; nothing is decoded ahead. Raises as `Decoder.read` does."""
        while True:
            stretch, over = await self._run(self._next)
            if len(stretch.frames):
                yield stretch
            if over:
                return

    async def _run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        async with self._turns:
            try:
                async with asyncio.timeout(HANG_S):
                    return await self._threads.run(function, *args, **kwargs)
            except TimeoutError:
                raise BadAudio("the file takes too long to be decoded") from None

    async def _close(self) -> None:
        try:
            async with asyncio.timeout(HANG_S):
                await self._threads.close()
        except TimeoutError:  # the thread is lost; what it works with is not touched
            log.error("decoder_hangs")
            return
        if self._decoder is not None:
            self._decoder.close()

    def _next(self) -> tuple[Stretch, bool]:
        """In the thread: the next stretch, and whether it is the last."""
        assert self._decoder is not None
        size = self.frame_samples
        piece = self._decoder.read(round(STRETCH_S * SPEECH_HZ))
        self._samples += len(piece)
        samples = np.concatenate((self._held, piece))
        if not len(piece):
            samples = np.pad(samples, (0, -len(samples) % size))
        whole = len(samples) // size * size
        self._held = samples[whole:]
        frames = samples[:whole].reshape(-1, size)
        return Stretch(frames, self._probabilities(frames)), not len(piece)

    def _probabilities(self, frames: Float32) -> Float32:
        """Frame by frame, as `VadStream` does it: each wants the state that the last one left."""
        found = np.empty(len(frames), np.float32)
        for number, frame in enumerate(frames):
            probabilities, self._state = self._vad.score(frame[np.newaxis], self._state)
            found[number] = probabilities[0]
            self._quiet = self._quiet + 1 if probabilities[0] < QUIET else 0
            if self._quiet == FORGET_AFTER:
                self._state, self._quiet = self._fresh, 0
        return found
