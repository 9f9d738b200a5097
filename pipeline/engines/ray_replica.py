"""One engine in a process of its own, and the queue in front of it: what Ray Serve runs.

Each replica orders its own work by deadline, for all gateways, with the pool that one machine has
(`pipeline.pool`). What a gateway cancels is told to stop, and leaves at its next chunk.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import replace
from typing import Any, TypeVar

from pipeline import probes
from pipeline.config import PoolConfig
from pipeline.ending import end
from pipeline.engines.errands import Order
from pipeline.engines.ports import (
    BlendsVoices,
    Choice,
    Float32,
    HasSeats,
    MeasuresMemory,
    SpeechRequest,
    SpeechWindow,
    Stop,
    TimedSpeech,
    Transcript,
)
from pipeline.engines.ray_plan import Part
from pipeline.engines.ray_wire import FORM, Alive, Begun, Description, Failure
from pipeline.errors import AntiphonError, EngineError
from pipeline.pool import EOT, STT, TTS, Kind, Purpose, ResourcePool, Supply
from pipeline.voicing import timed

T = TypeVar("T")
R = TypeVar("R")

KINDS: dict[str, Kind[Any]] = {kind.name: kind for kind in (STT, EOT, TTS)}
PROBES: dict[str, Callable[[Any, Stop], AsyncIterator[object]]] = {
    STT.name: probes.transcriber,
    EOT.name: probes.end_of_turn,
    TTS.name: probes.synthesizer,
}
CHECK_OWNER = "health check"
BEAT_S = 0.5
"""How often a call that gives nothing gives a sign of life."""


class EngineReplica:
    """A replica. Its engine is loaded when Serve first asks for its health, and not served before.

    Streams end with a `Failure` where the engine failed; anything else that is raised is a mistake
    of ours, or Ray's.
    """

    def __init__(self, part: Part) -> None:
        self._part = part
        self._kind = KINDS[part.kind]
        self._engine: Any = part.make(part.config)
        seats = self._engine.seats if isinstance(self._engine, HasSeats) else part.seats
        supply = Supply((self._engine,), seats, hang_s=part.hang_s)
        self._pool = ResourcePool({self._kind: supply}, PoolConfig(max_wait_s=part.wait_s))
        self._opening = asyncio.Lock()
        self._keeper: asyncio.Task[None] | None = None
        self._results = 0
        """Everything that the engine has given, and how much of it was there at the last check."""
        self._results_checked = 0

    async def describe(self, form: str) -> Description | str:
        """What the gateways must know of the engine before they ask it for anything. One whose
        `FORM` is another could not read it: it is told ours."""
        if form != FORM:
            return FORM
        await self._open()
        engine = self._engine
        part = self._part
        said = Description(
            engine.info,
            memory=engine.memory if isinstance(engine, MeasuresMemory) else None,
            choice=part.choice(part.config) if part.choice is not None else Choice(),
        )
        if self._kind is TTS:
            blends = isinstance(engine, BlendsVoices) and engine.blends_voices
            return replace(said, rate_hz=engine.rate_hz, voices=engine.voices, blends_voices=blends)
        return replace(said, languages=engine.languages) if self._kind is STT else said

    async def synthesize(
        self, request: SpeechRequest, order: Order
    ) -> AsyncGenerator[TimedSpeech | Begun | Alive | Failure]:
        """`TimesWords.synthesize_timed`, when its turn has come; without the times where the engine
        does not know them. When it is due is said anew, by the clock of this machine."""

        def voiced(engine: Any, stop: Stop, due: float) -> AsyncIterator[TimedSpeech]:
            return timed(engine, replace(request, due=due), stop)

        async for speech in _beating(self._stream(order, voiced)):
            yield speech

    async def transcribe(
        self, window: SpeechWindow, order: Order
    ) -> AsyncGenerator[Transcript | Begun | Alive | Failure]:
        """`Transcriber.transcribe`, likewise: a stream of one."""
        call = _one(lambda e, stop: e.transcribe(window, stop))
        async for transcript in _beating(self._stream(order, call)):
            yield transcript

    async def probability(
        self, audio: Float32, order: Order
    ) -> AsyncGenerator[float | Begun | Alive | Failure]:
        """`EndOfTurnModel.probability`, likewise."""
        call = _one(lambda e, stop: e.probability(audio, stop))
        async for probability in _beating(self._stream(order, call)):
            yield probability

    async def check_health(self) -> None:
        """Serve asks this every few seconds. The model must have given something since the last
        time, or is run. Raises what is wrong: three times in a row, and Serve kills this process.
        """
        await self._open()
        if (trouble := self._pool.trouble()) is not None:
            raise EngineError(trouble)
        if self._results == self._results_checked:
            order = Order(CHECK_OWNER, Purpose.FINAL, None)
            probe = PROBES[self._kind.name]
            async for result in self._stream(order, lambda e, stop, _: probe(e, stop)):
                if isinstance(result, Failure):
                    raise result.error()
        self._results_checked = self._results

    def record_autoscaling_stats(self) -> dict[str, float]:
        """What Serve's autoscaler is told: how late the most overdue request is, in seconds, and
        how many calls the engine takes at once."""
        return {"late_s": self._pool.late_s(), "seats": self._pool.status()[self._kind.name].slots}

    async def _stream(
        self, order: Order, function: Callable[[Any, Stop, float], AsyncIterator[R]]
    ) -> AsyncGenerator[R | Begun | Failure]:
        """`function` is told, last, when the call is due."""
        await self._open()
        try:
            lease = self._pool.lease(
                self._kind,
                order.owner,
                deadline=order.deadline(time.monotonic()),
                purpose=order.purpose,
            )
            async with lease as slot:
                if order.purpose is Purpose.SPECULATION:
                    yield Begun()
                calls = slot.stream(lambda engine, stop: function(engine, stop, slot.due))
                async with aclosing(calls) as results:  # type: ignore[type-var]
                    async for result in results:
                        self._results += 1
                        yield result
        except AntiphonError as error:
            yield Failure.of(error)

    async def _open(self) -> None:
        """Load the engine, once. Raises `StartError`: Serve tells it, and tries again."""
        async with self._opening:
            if self._keeper is None:
                await self._engine.start()
                # Serve owns the life of this process, and gives us no scope that lasts as long.
                opened = asyncio.Event()
                self._keeper = asyncio.get_running_loop().create_task(self._keep(opened))
                await opened.wait()

    async def _keep(self, opened: asyncio.Event) -> None:
        async with self._pool:
            opened.set()
            await asyncio.Event().wait()


async def _beating(results: AsyncGenerator[R]) -> AsyncGenerator[R | Alive]:
    """The results, and a sign of life while there are none. Not of the engine: one that hangs has
    a watchdog of its own."""
    given: asyncio.Queue[R | None] = asyncio.Queue()

    async def give() -> None:
        async with aclosing(results):
            async for result in results:
                given.put_nowait(result)

    # One task has the whole stream: what it waits in may be left only where it was entered.
    giving = asyncio.get_running_loop().create_task(give())
    giving.add_done_callback(lambda _: given.put_nowait(None))
    try:
        while True:
            try:
                async with asyncio.timeout(BEAT_S):
                    result = await given.get()
            except TimeoutError:
                yield Alive()
            else:
                if result is None:
                    break
                yield result
        giving.result()
    finally:
        await end(giving)


def _one(
    function: Callable[[Any, Stop], Awaitable[T]],
) -> Callable[[Any, Stop, float], AsyncIterator[T]]:
    async def stream(engine: Any, stop: Stop, _: float) -> AsyncIterator[T]:
        yield await function(engine, stop)

    return stream
