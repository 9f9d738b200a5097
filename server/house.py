"""House: what all connections share: engines, pool, sessions. Opened and closed once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal, TypeVar

import structlog

from pipeline import probes
from pipeline.engines.build import Engines
from pipeline.engines.ports import Engine, Stop
from pipeline.errors import AtCapacity, GoingAway, SettingsError, first_error
from pipeline.pool import EOT, LLM, STT, TTS, Kind, ResourcePool, Supply
from pipeline.vad import VadBatcher
from server.load import LoadMonitor
from server.metrics import Metrics
from server.requests import Requests
from server.settings import Settings
from server.speech_cache import SpeechCache
from server.watchdog import Watchdog
from session.budgets import Budgets
from session.catalogue import Catalogue
from session.manager import SessionManager
from session.shedding import Level

log = structlog.get_logger(__name__)

PREFERRED_VOICE = "af_heart"
"""Kokoro's best-trained voice; an engine without it begins with its own first."""

DECODERS = 2
"""Files decoded at once: each takes the interpreter from the event loop now and then, and one that
takes its time does not hold up all."""

CLOSE_S = 10.0
"""How long an engine may take to end; one that hangs ends with the process."""

E = TypeVar("E", bound=Engine)
Stage = Literal["loading", "ready", "draining"]


class House:
    """One server's insides. Connections may come while it loads; they are told to wait."""

    pool: ResourcePool
    vad: VadBatcher
    sessions: SessionManager
    catalogue: Catalogue

    def __init__(self, settings: Settings, engines: Engines) -> None:
        self.settings = settings
        self.engines = engines
        self.stage: Stage = "loading"
        self.started_at = time.monotonic()
        self.metrics = metrics = Metrics()
        self.pool = ResourcePool(self._supplies(), settings.pool_config(), watcher=metrics)
        self._open: list[Engine] = []
        self.sessions = SessionManager(self.pool, settings.max_sessions, settings.waiting_room)
        self.requests = Requests(settings.max_requests, metrics.requested)
        self.speech_cache = SpeechCache(settings.speech_cache_mb * 1_000_000, metrics.cache_asked)
        self.decoding = asyncio.Semaphore(DECODERS)
        self.watchdog = Watchdog()
        self.load = LoadMonitor(
            self.pool.late_s, self.sessions, self.watchdog.beat, metrics.sampled
        )
        self.budgets = Budgets(
            settings.allowance(), settings.max_sessions, time.monotonic, metrics.over_budget
        )

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Load the engines, side by side; close everything, in reverse, at the end.

        Raises `StartError` when an engine cannot be used.
        """
        async with AsyncExitStack() as stack:
            stack.push_async_callback(self._close_all)
            try:
                async with asyncio.TaskGroup() as loading:
                    for engine in _all(self.engines):
                        loading.create_task(self._load(engine))
            except ExceptionGroup as group:
                raise first_error(group) from None
            self.catalogue = self._catalogue()
            self.vad = await stack.enter_async_context(VadBatcher(self.engines.voice_activity))
            await stack.enter_async_context(self.pool)
            stack.enter_context(self.watchdog)
            await stack.enter_async_context(self.load)
            if self.stage == "loading":  # and was not told to stop meanwhile
                self.stage = "ready"
            yield

    def check_open(self) -> None:
        """Raises `AtCapacity` while loading, `GoingAway` while draining."""
        if self.stage == "loading":
            raise AtCapacity("the server is still loading its models", retry_after_s=5.0)
        if self.stage == "draining":
            raise GoingAway("the server is going away", retry_after_s=1.0)

    def why_not_ready(self) -> str | None:
        """Why no session can be taken now; None when one can."""
        if self.stage != "ready":
            return self.stage
        if self.load.level is Level.NEWCOMERS:
            return "overloaded"
        return self.pool.trouble() or ("full" if self.sessions.admission.full else None)

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

    async def _close_all(self) -> None:
        for engine in reversed(self._open.copy()):
            await self._close(engine)

    def _supplies(self) -> dict[Kind[Any], Supply[Any]]:
        """Where the pool gets each kind from."""
        settings, engines = self.settings, self.engines
        makers, hang_s = engines.makers, settings.engine_hang_s

        def supply(
            *there: E,
            make: Callable[[int], E] | None,
            probe: Callable[[E, Stop], AsyncIterator[object]],
            seats: int = 1,
            most: int = 1,
        ) -> Supply[E]:
            if make is None:  # it runs elsewhere, and its failures are told apart there
                return Supply(there, seats)
            return Supply(there, seats, most, self._ready(make), self._close, hang_s, probe)

        return {
            STT: supply(
                engines.transcriber, make=_alike(makers.transcriber), probe=probes.transcriber,
                seats=settings.stt_slots,
            ),
            EOT: supply(
                engines.end_of_turn, make=_alike(makers.end_of_turn), probe=probes.end_of_turn
            ),
            TTS: supply(
                *engines.synthesizers, make=makers.synthesizer, probe=probes.synthesizer,
                most=settings.tts_slots,
            ),
            LLM: supply(
                engines.language_model, make=_alike(makers.language_model),
                probe=probes.language_model, seats=settings.llm_slots,
            ),
        }  # fmt: skip

    def _ready(self, make: Callable[[int], E]) -> Callable[[int], Awaitable[E]]:
        async def made(others: int) -> E:
            engine = make(others)
            await self._load(engine)
            return engine

        return made

    def _catalogue(self) -> Catalogue:
        voices = {voice.name: voice.language for voice in self.engines.synthesizers[0].voices}
        chosen = self.settings.tts_voice or (
            PREFERRED_VOICE if PREFERRED_VOICE in voices else next(iter(voices))
        )
        if chosen not in voices:
            raise SettingsError(
                f"ANTIPHON_TTS_VOICE={chosen!r}: there is no such voice; "
                f"there are {', '.join(voices)}"
            )
        return Catalogue(voices, self.engines.transcriber.languages, chosen)


def _all(engines: Engines) -> list[Engine]:
    return [
        engines.voice_activity, engines.transcriber, engines.end_of_turn,
        *engines.synthesizers, engines.language_model,
    ]  # fmt: skip


def _alike(make: Callable[[], E] | None) -> Callable[[int], E] | None:
    """A maker that makes the same whatever there is beside it."""
    return None if make is None else lambda others: make()
