"""One engine call and its two ends: the pool's task that runs it, and the owner that reads it.

The owner may leave at any moment; the engine is then told to stop and leaves at its next chunk.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Generic, Literal, TypeVar

import structlog

from .engine_faults import forget_values, is_out_of_memory
from .engines.ports import FreesMemory, RunsElsewhere, Stop
from .errors import AntiphonError, GpuOutOfMemory
from .kinds import Kind

E = TypeVar("E")
T = TypeVar("T")

log = structlog.get_logger(__name__)

BUFFER = 64
"""Items a call may be ahead of its reader; a faster engine waits."""
BUFFER_S = 1.0
"""As much audio as it may be ahead, and one item more, where its items are audio: a voice chooses
how long those are."""


CallOutcome = Literal["completed", "stopped", "failed", "hung"]
"""Stopped: nobody waits for it any more, as after a barge-in."""


@dataclass(frozen=True, slots=True)
class CallFigures:
    """What one call came to, at the engine: its wait for a slot is not in it."""

    outcome: CallOutcome
    total_s: float
    first_s: float | None
    """Until its first result; None: it gave none."""
    audio_s: float
    """Audio that it heard or made; 0: none, or nobody measured."""


@dataclass(frozen=True, slots=True)
class _End:
    """The last item of a call: how it ended."""

    error: Exception | None


class Call(Generic[E, T]):
    """One call. `run` is the engine's end, `results` and `abandon` are the owner's."""

    __slots__ = (
        "_asked_at", "_audio_s", "_began_at", "_first_at", "_given", "_hang_s", "_items", "_kind",
        "_measure", "_on_hang", "_read_s", "_room", "_timer", "hung", "stop",
    )  # fmt: skip

    def __init__(
        self,
        kind: Kind[Any],
        hang_s: float | None = None,
        on_hang: Callable[[Call[E, T]], None] | None = None,
        measure: Callable[[T], float] | None = None,
    ) -> None:
        """`on_hang` is told of it once when the engine has given no sign of life for `hang_s`;
        `measure` says how many seconds of audio are in a result, or went into it."""
        self.stop = Stop()
        self._kind = kind
        self._hang_s = hang_s
        self._on_hang = on_hang
        self._measure = measure
        self._items: asyncio.Queue[T | _End] = asyncio.Queue(BUFFER)
        self._asked_at: float | None = None
        """Since when the engine has been at work on an item; None: it waits for its reader."""
        self._given = False
        """Whether it has given anything."""
        self._timer: asyncio.TimerHandle | None = None
        self._began_at: float | None = None
        self._first_at: float | None = None
        self._audio_s = 0.0
        self._read_s = 0.0
        """Of that audio, what its reader has taken."""
        self._room = asyncio.Event()
        self.hung = False
        """It gave no sign of life for too long; whether it ever ends nobody waits for."""

    # --- the owner's end -------------------------------------------------------------------------

    async def results(self) -> AsyncIterator[T]:
        """What the engine gives, as it comes; leaving this stops it. Raises what it raised."""
        try:
            while True:
                item = await self._items.get()
                if isinstance(item, _End):
                    error = item.error
                    del item
                    if error is None:
                        return
                    try:
                        raise error
                    finally:
                        del error  # its traceback has this frame: they would keep each other
                self._note_read(item)
                yield item
        finally:
            self.abandon()

    def abandon(self) -> None:
        """The reader is gone: tell the engine, and unblock it where it waits for room."""
        self.stop.set()
        self._room.set()
        while not self._items.empty():
            self._items.get_nowait()

    def fail(self, error: Exception) -> None:
        """Stop it, and tell its reader, if there still is one, why."""
        if not self.stop.is_set:
            self.abandon()
            self._items.put_nowait(_End(error))

    # --- the engine's end ------------------------------------------------------------------------

    async def run(
        self, engine: E, function: Callable[[E, Stop], AsyncIterator[T]], turn: asyncio.Lock
    ) -> Exception | None:
        """Run it to its end when its turn has come; returns its error, for `end` to pass on."""
        self._asked_at = asyncio.get_running_loop().time()
        self._watch()
        try:
            async with turn:
                if not self.stop.is_set:
                    self._began_at = asyncio.get_running_loop().time()
                    await self._run(engine, function)
        except Exception as error:
            return error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            # Nobody cancelled this call: something in the engine was, and its reader waits.
            return RuntimeError("the engine gave the call up")
        finally:
            if self._timer is not None:
                self._timer.cancel()
        return None

    def figures(self, outcome: CallOutcome) -> CallFigures | None:
        """What it has come to by now; None when it never came to the engine."""
        began, first = self._began_at, self._first_at
        if began is None:
            return None
        total_s = asyncio.get_running_loop().time() - began
        first_s = None if first is None else first - began
        return CallFigures(outcome, total_s, first_s, self._audio_s)

    async def end(self, error: Exception | None) -> None:
        """Tell the reader, if there still is one, that this was all."""
        if error is not None and not isinstance(error, AntiphonError):
            log.error("engine_call_failed", kind=self._kind.name, exc_info=error)
            failure = self._kind.failed(f"{self._kind.title} failed")
            failure.__cause__ = error
            error = failure
        if not self.stop.is_set:
            await self._items.put(_End(error))
        elif error is not None:  # nobody listens any more
            log.info("engine_call_failed_after_stop", kind=self._kind.name, error=repr(error))

    async def _run(self, engine: E, function: Callable[[E, Stop], AsyncIterator[T]]) -> None:
        for last_try in (False, True):
            try:
                await self._once(engine, function)
                return
            except Exception as error:
                if not is_out_of_memory(error):
                    raise
                log.warning("engine_out_of_memory", kind=self._kind.name, error=repr(error))
                forget_values(error)
                await self._free_memory(engine)
                # What was given cannot be taken back: only a call that gave nothing is tried again.
                # Elsewhere it was tried again where the memory is.
                elsewhere = isinstance(engine, RunsElsewhere)
                if last_try or elsewhere or self._given or self.stop.is_set:
                    raise GpuOutOfMemory(f"out of memory in {self._kind.title}") from error

    async def _once(self, engine: E, function: Callable[[E, Stop], AsyncIterator[T]]) -> None:
        loop = asyncio.get_running_loop()
        self._asked_at = loop.time()
        async with aclosing(function(engine, self.stop)) as items:  # type: ignore[type-var]
            async for item in items:
                if self.stop.is_set:
                    return
                self._asked_at = None
                await self._room_for_audio()
                self._note(item)
                await self._items.put(item)
                self._asked_at = loop.time()

    async def _room_for_audio(self) -> None:
        while self._audio_s - self._read_s >= BUFFER_S and not self.stop.is_set:
            self._room.clear()
            await self._room.wait()

    def _note_read(self, item: T) -> None:
        if self._measure is not None:
            self._read_s += self._measure(item)
            self._room.set()

    def _note(self, item: T) -> None:
        if not self._given:
            self._given = True
            self._first_at = asyncio.get_running_loop().time()
        if self._measure is not None:
            self._audio_s += self._measure(item)

    async def _free_memory(self, engine: E) -> None:
        if isinstance(engine, FreesMemory):
            self._asked_at = asyncio.get_running_loop().time()
            try:
                await engine.free_memory()
            except Exception as error:  # the next try will show whether it mattered
                log.warning("freeing_memory_failed", kind=self._kind.name, error=repr(error))

    # --- hanging ---------------------------------------------------------------------------------

    def _watch(self) -> None:
        """Look again when the engine will have been silent for too long."""
        if self._hang_s is not None:
            loop = asyncio.get_running_loop()
            since = loop.time() if self._asked_at is None else self._asked_at
            self._timer = loop.call_at(since + self._hang_s, self._look)

    def _look(self) -> None:
        assert self._hang_s is not None
        now = asyncio.get_running_loop().time()
        if self._asked_at is None or now - self._asked_at < self._hang_s:
            self._watch()
            return
        self.hung = True
        self.fail(self._kind.failed(f"{self._kind.title} does not answer"))
        if self._on_hang is not None:
            self._on_hang(self)
