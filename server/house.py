"""House: what all connections share: engines, pool, sessions. Opened and closed once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Literal

import structlog

from pipeline.engines.build import Engines
from pipeline.engines.ports import Engine
from pipeline.errors import AtCapacity, GoingAway, SettingsError, first_error
from pipeline.pool import EOT, LLM, STT, TTS, Kind, ResourcePool
from pipeline.vad import VadBatcher
from server.load import LoadMonitor
from server.settings import Settings
from server.watchdog import Watchdog
from session.budgets import Budgets
from session.catalogue import Catalogue
from session.manager import SessionManager
from session.shedding import Level

log = structlog.get_logger(__name__)

PREFERRED_VOICE = "af_heart"
"""Kokoro's best-trained voice; an engine without it begins with its own first."""

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
        self.pool = ResourcePool(_seats(settings, engines), settings.pool_config())
        self.sessions = SessionManager(self.pool, settings.max_sessions, settings.waiting_room)
        self.watchdog = Watchdog()
        self.load = LoadMonitor(self.pool.late_s, self.sessions, self.watchdog.beat)
        self.budgets = Budgets(settings.allowance(), settings.max_sessions, time.monotonic)

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Load the engines, side by side; close everything, in reverse, at the end.

        Raises `StartError` when an engine cannot be used.
        """
        async with AsyncExitStack() as stack:
            for engine in _all(self.engines):
                stack.push_async_callback(engine.close)
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
        return "full" if self.sessions.admission.full else None

    async def _load(self, engine: Engine) -> None:
        began = time.monotonic()
        await engine.start()
        info = engine.info
        log.info(
            "engine_ready", engine=info.name, model=info.model, device=info.device,
            seconds=round(time.monotonic() - began, 2),
        )  # fmt: skip

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


def _seats(settings: Settings, engines: Engines) -> dict[Kind[Any], list[Any]]:
    return {
        STT: [engines.transcriber] * settings.stt_slots,
        EOT: [engines.end_of_turn],
        LLM: [engines.language_model] * settings.llm_slots,
        TTS: list(engines.synthesizers),
    }
