"""Engine room: the engines of one server, loaded side by side and closed in reverse, and where the
pool gets more of them from."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import structlog

from pipeline import probes
from pipeline.engines.engine_set import Engines
from pipeline.engines.ports import (
    Engine,
    HasSeats,
    OpensRecognisers,
    Stop,
    VoiceActivityModel,
)
from pipeline.pool import EOT, LLM, STT, TTS, Kind, Supply
from server.settings import Settings

log = structlog.get_logger(__name__)

CLOSE_S = 10.0
"""How long an engine may take to end; one that hangs ends with the process."""

E = TypeVar("E", bound=Engine)


class EngineRoom:
    """The engines that a server begins with, and those that the pool asks for later."""

    def __init__(self, engines: Engines, settings: Settings) -> None:
        self._all = engines
        self._settings = settings
        self._open: list[Engine] = []
        self._late: set[asyncio.Task[None]] = set()
        """Those that were given up while they were loaded: closed when that has come to its end."""

    @property
    def engines(self) -> list[Engine]:
        """Those that it begins with."""
        engines = self._all
        return [
            engines.voice_activity, engines.transcriber, engines.end_of_turn,
            *engines.synthesizers, engines.language_model,
        ]  # fmt: skip

    async def load(self) -> None:
        """Raises an `ExceptionGroup` of `StartError`s when some cannot be used."""
        async with asyncio.TaskGroup() as loading:
            for engine in self.engines:
                loading.create_task(self._load(engine))

    async def close(self) -> None:
        """All that were begun, whether they were loaded or not."""
        for engine in reversed(self._open.copy()):
            await self._close(engine)
        if self._late:
            _, hanging = await asyncio.wait(self._late, timeout=CLOSE_S)
            for closing in hanging:
                closing.cancel()

    def supplies(self) -> dict[Kind[Any], Supply[Any]]:
        """Where the pool gets each kind from."""
        settings, engines = self._settings, self._all
        makers, hang_s = engines.makers, settings.engine_hang_s
        voice = engines.synthesizers[0]
        voices_at_once = voice.seats if isinstance(voice, HasSeats) else None
        ear = engines.transcriber
        windows_at_once = ear.seats if isinstance(ear, HasSeats) else settings.stt_slots

        def supply(
            *there: E,
            make: Callable[[int], E] | None,
            probe: Callable[[E, Stop], AsyncIterator[object]],
            seats: int = 1,
            most: int = 1,
            rests: bool = True,
        ) -> Supply[E]:
            if make is None:  # it runs elsewhere, and its failures are told apart there
                return Supply(there, seats)
            rest_s = settings.unload_s if rests and settings.unload_s else None
            return Supply(there, seats, most, self._ready(make), self._close, hang_s, probe, rest_s)

        return {
            STT: supply(
                engines.transcriber, make=makers.transcriber, probe=probes.transcriber,
                seats=windows_at_once, most=settings.stt_instances,
                rests=not isinstance(ear, OpensRecognisers),  # whose sessions hold on to it
            ),
            EOT: supply(
                engines.end_of_turn, make=_alike(makers.end_of_turn), probe=probes.end_of_turn,
                seats=1 if makers.end_of_turn else settings.stt_slots,
                most=settings.stt_instances,
            ),
            TTS: supply(
                *engines.synthesizers, make=makers.synthesizer, probe=probes.synthesizer,
                seats=voices_at_once or (1 if makers.synthesizer else settings.tts_slots),
                most=1 if voices_at_once else settings.tts_slots,
            ),
            LLM: replace(
                supply(
                    engines.language_model, make=_alike(makers.language_model),
                    probe=probes.language_model, seats=settings.llm_slots,
                ),
                guesses=self._guesses_of_replies(),
            ),
        }  # fmt: skip

    def _guesses_of_replies(self) -> int | None:
        """A model that does not pause writes the whole reply to a guess: half of its seats, of one
        the one, are enough for those."""
        in_breaths = self._all.language_model.breath_tokens is not None
        return None if in_breaths else max(1, self._settings.llm_slots // 2)

    @property
    def voice_activity(self) -> Callable[[], Awaitable[VoiceActivityModel]] | None:
        """Where another model for voice activity comes from, loaded; None: there is none."""
        make = self._all.makers.voice_activity
        return None if make is None else partial(self._ready(lambda _: make()), 0)

    def _ready(self, make: Callable[[int], E]) -> Callable[[int], Awaitable[E]]:
        async def made(others: int) -> E:
            engine = make(others)
            try:
                await self._load(engine)
            except BaseException:
                self._open.remove(engine)
                closing = asyncio.create_task(_close_late(engine))
                self._late.add(closing)
                closing.add_done_callback(self._late.discard)
                raise
            return engine

        return made

    async def _load(self, engine: Engine) -> None:
        began = time.monotonic()
        self._open.append(engine)
        await engine.start()
        info = engine.info
        log.info(
            "engine_ready", engine=info.name, model=info.model, device=info.device,
            seconds=round(time.monotonic() - began, 2),
        )  # fmt: skip

    async def _close(self, engine: Engine) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await engine.close()
        except TimeoutError:
            log.error("engine_not_closed", engine=engine.info.name)
        self._open.remove(engine)


async def _close_late(engine: Engine) -> None:
    try:
        await engine.close()
    except Exception as error:
        log.warning("engine_not_closed", engine=engine.info.name, error=repr(error))


def _alike(make: Callable[[], E] | None) -> Callable[[int], E] | None:
    """A maker that makes the same whatever there is beside it."""
    return None if make is None else lambda others: make()
