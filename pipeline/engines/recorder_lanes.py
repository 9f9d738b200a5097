"""A recorder's executors: what it wants transcribed is handed to whoever asked it for words.

RealtimeSTT calls an executor in a thread of its own, and waits for the answer there. The session's
task, which knows the pool, the language and how urgent it is, has the model asked.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Protocol

from pipeline.engines.ports import Float32, Transcript
from pipeline.errors import SttFailed


class Answer(Protocol):
    """RealtimeSTT's `TranscriptionResult`."""

    text: str


class Wanted:
    """Words that somebody waits for. Made, awaited and settled in the event loop's thread."""

    def __init__(self, least: int) -> None:
        self.least = least
        """Samples that the recorder must have before it is worth while."""
        self._loop = asyncio.get_running_loop()
        self.asked: asyncio.Future[Float32] = self._loop.create_future()
        """The audio that the recorder wants transcribed, shape (n,), 16 kHz."""
        self._answer: Future[Transcript] = Future()

    def settle(self, transcript: Transcript) -> None:
        """The model has answered."""
        self._answer.set_result(transcript)

    def withdraw(self) -> None:
        """Nobody waits any more: the recorder's thread goes on."""
        self.asked.cancel()
        if not self._answer.done():
            self._answer.set_exception(SttFailed("nobody waits for these words any more"))

    def failed(self, job: Future[Any]) -> None:
        """The recorder has ended its work, in its own thread; without asking, if it failed."""
        if not job.cancelled() and (error := job.exception()) is not None:
            self._tell(lambda: self.asked.set_exception(error))

    def answer_to(self, audio: Float32) -> Transcript:
        """In the recorder's thread: the model's answer. Raises what the asker gave up with."""
        self._tell(lambda: self.asked.set_result(audio))
        return self._answer.result()

    def _tell(self, settle: Callable[[], None]) -> None:
        def unless_settled() -> None:
            if not self.asked.done():
                settle()

        with suppress(RuntimeError):  # the loop has ended, and its sessions with it
            self._loop.call_soon_threadsafe(unless_settled)


class Lane:
    """One executor of one recorder. Calls that nobody wants words of are answered at once."""

    def __init__(self, form: Callable[[Transcript], Answer]) -> None:
        self._form = form
        self._lock = threading.Lock()
        self._wanted: Wanted | None = None
        self._last = Transcript("", "en")

    def expect(self, wanted: Wanted) -> None:
        """The next call with audio enough is to be answered."""
        with self._lock:
            self._wanted = wanted

    def forget(self) -> None:
        """A new recording: what was understood of the last one is not said of it."""
        self._last = Transcript("", "en")

    def give_up(self) -> None:
        """No call is answered from now on."""
        with self._lock:
            wanted, self._wanted = self._wanted, None
        if wanted is not None:
            wanted.withdraw()

    def transcribe(
        self, audio: Float32, language: str | None = None, use_prompt: bool = True, **_: object
    ) -> Answer:
        """RealtimeSTT's hook; it blocks a thread of the recorder's."""
        with self._lock:
            wanted = self._wanted
            if wanted is not None and len(audio) >= wanted.least:
                self._wanted = None
            else:
                wanted = None
        if wanted is not None:
            self._last = wanted.answer_to(audio)
        return self._form(self._last)
