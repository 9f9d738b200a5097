"""Several users' windows through Whisper in one batch: whoever comes within a few milliseconds, and
can share one. Finals go before what is said so far."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress

from pipeline.engines.clause_batcher import ClauseBatcher
from pipeline.engines.ports import SpeechWindow, Stop, Transcript
from pipeline.engines.threads import EngineThreads
from pipeline.engines.whisper_model import WhisperModel, transcript_of
from pipeline.engines.whisper_passes import Pass
from pipeline.engines.whisper_rules import FULL_WINDOW_S, Hearing

PARTIAL_LATER_S = 0.25
"""What is said so far is due so much later than a turn's last words that came at the same time."""
_PROMPT_LENGTHS = 1_000


class WhisperBatches:
    """One loaded model, at most `most` windows in a batch, one batch at a time."""

    def __init__(
        self,
        model: WhisperModel,
        threads: EngineThreads,
        most: int,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._model = model
        self._threads = threads
        self._now = now
        self._batcher: ClauseBatcher[Pass, Hearing] = ClauseBatcher(
            self._run, most, bucket=lambda kind: kind
        )
        self._running = asyncio.create_task(self._batcher.run(), name="whisper-batches")

    async def close(self) -> None:
        """Wait for the batch that is under way; those that wait are cancelled."""
        self._running.cancel()
        with suppress(asyncio.CancelledError):
            await self._running

    async def transcribe(self, window: SpeechWindow, stop: Stop) -> Transcript:
        """The words of one window, the same as by itself. One whose words' times are asked for,
        or whose words are drawn, goes by itself."""
        if (known := self._model.judged(window, stop)) is not None:
            return known
        if window.word_times or window.temperature:
            return await self._threads.run(self._model.transcribe, window, stop)
        due = self._now() + (PARTIAL_LATER_S if window.quick else 0.0)
        passes = self._model.listening(window, stop)
        wanted = next(passes)
        while True:
            heard = await self._batcher.submit(wanted, _kind(wanted), due, stop)
            if heard is None:
                return Transcript("", self._model.language_of(window) or "en", no_speech=1.0)
            try:
                wanted = passes.send(heard)
            except StopIteration as end:
                return transcript_of(end.value, window)

    def _run(self, passes: list[Pass]) -> Awaitable[list[Hearing | Exception]]:
        return self._threads.run(self._model.hear_together, passes)


def _kind(one: Pass) -> int:
    """Passes of one kind can share a batch: one length of window and of prompt, one temperature."""
    drawn = 1 if one.temperature else 0
    return (drawn * (FULL_WINDOW_S + 1) + one.window_s) * _PROMPT_LENGTHS + len(one.prompt)
