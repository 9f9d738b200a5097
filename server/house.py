"""House: what all connections share: engines, pool, sessions. Opened and closed once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal

import structlog

from pipeline.engines.engine_set import Engines
from pipeline.engines.ports import OpensRecognisers
from pipeline.errors import (
    AtCapacity,
    GoingAway,
    SettingsError,
    StartError,
    StoreFailed,
    first_error,
)
from pipeline.lookout import Lookout
from pipeline.pool import ResourcePool
from pipeline.vad import VadBatcher
from server.audit import Audit
from server.auth import Authenticator
from server.configs import allowance, audit_path, gate_rules, pool_config
from server.doorstep import Doorstep
from server.engine_room import EngineRoom
from server.gate import Gate, Visitor
from server.jwks import KeySet
from server.load import LoadMonitor
from server.metrics import Metrics
from server.outbox import Outbox
from server.passes import Pass, PassesHere, Prefix
from server.repertoire import Repertoire
from server.requests import Requests, Tracked
from server.scratch import Scratch
from server.settings import Settings
from server.sharing import fellows_of
from server.speech_cache import SpeechCache
from server.watchdog import Watchdog
from session.budgets import Budgets
from session.catalogue import Catalogue
from session.keeping import Keeping
from session.manager import SessionManager
from session.shedding import Level
from session.sqlite_store import SqliteStore
from session.store import SessionStore

if TYPE_CHECKING:
    from server.tracing import Tracing

log = structlog.get_logger(__name__)

DECODERS = 2
"""Files decoded at once: each takes the interpreter from the event loop now and then, and one that
takes its time does not hold up all."""

Stage = Literal["loading", "ready", "draining"]


class House:
    """One server's insides. Connections may come while it loads; they are told to wait."""

    pool: ResourcePool
    sessions: SessionManager

    def __init__(self, settings: Settings, engines: Engines) -> None:
        self.settings = settings
        self.engines = engines
        self.stage: Stage = "loading"
        self.started_at = time.monotonic()
        self.metrics = metrics = Metrics()
        self._engine_room = EngineRoom(engines, settings)
        self._repertoire = Repertoire(engines, settings.tts_voice)
        self.pool = ResourcePool(
            self._engine_room.supplies(), pool_config(settings), watcher=metrics
        )
        self.vad = VadBatcher(
            engines.voice_activity,
            hang_s=settings.engine_hang_s,
            make=self._engine_room.voice_activity,
        )
        self.outboxes: set[Outbox] = set()
        """Of everybody who is here."""
        self._loading: asyncio.Timeout | None = None
        """Whose end is that of the loading too."""
        self.fellows = fellows_of(settings, metrics)
        self.keeping = self._keeping()
        self.sessions = SessionManager(
            self.pool, settings.max_sessions, settings.waiting_room, self.keeping
        )
        self.requests = Requests(settings.max_requests, self._requested)
        self.speech_cache = SpeechCache(settings.speech_cache_mb * 1_000_000, metrics.cache_asked)
        self.decoding = asyncio.Semaphore(DECODERS)
        self.scratch = Scratch(round(1_000_000 * settings.scratch_mb))
        self.tracing = _tracing(settings.otel_endpoint)
        self.watchdog = Watchdog()
        self.load = LoadMonitor(
            self.pool.late_s, self.sessions, self.watchdog.beat, metrics.sampled
        )
        self.budgets = Budgets(
            allowance(settings), settings.max_sessions, time.monotonic, metrics.over_budget
        )

        self.audit = Audit(
            audit_path(settings),
            round(1_000_000 * settings.audit_mb),
            lambda: metrics.dropped("audit"),
        )
        self._keys = KeySet(settings.auth_jwks_url) if settings.auth_jwks_url else None
        self.gate = self._gate()
        self.doorstep = Doorstep()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Load the engines, side by side; close everything, in reverse, at the end.

        Raises `StartError` when an engine cannot be used, `GoingAway` when told to leave before all
        were loaded.
        """
        async with AsyncExitStack() as stack:
            stack.enter_context(self.audit.open())
            stack.push_async_callback(self._close_tracing)
            stack.push_async_callback(self._engine_room.close)
            await self._load_all()
            voice = self.engines.synthesizers[0].info.name
            log.info("voice_chosen", engine=voice, why=self.engines.voice.why)
            ear = self.engines.transcriber.info
            log.info("ear_chosen", engine=ear.name, model=ear.model, why=self.engines.ear.why)
            self._repertoire.check()
            if self.fellows is not None:
                await stack.enter_async_context(self.fellows.open(self))
            if self.keeping is not None:
                await stack.enter_async_context(self._kept(self.keeping))
            await stack.enter_async_context(self.vad)
            await stack.enter_async_context(self.pool)
            await stack.enter_async_context(Lookout(self._engine_room.engines))
            stack.enter_context(self.watchdog)
            await stack.enter_async_context(self.load)
            if self.stage == "loading":  # and was not told to leave meanwhile
                self.stage = "ready"
            yield

    @property
    def catalogue(self) -> Catalogue:
        """What a client may choose from now, once the engines are loaded."""
        return self._repertoire.now()

    def leave(self) -> None:
        """Let nobody in any more. Engines that are still loading are not waited for."""
        self.stage = "draining"
        if self._loading is not None:
            self._loading.reschedule(0)

    @property
    def ears(self) -> OpensRecognisers | None:
        """Where a session has its own recogniser from; None: all are heard window by window."""
        transcriber = self.engines.transcriber
        return transcriber if isinstance(transcriber, OpensRecognisers) else None

    async def give_pass(
        self, prefix: Prefix, to: Visitor, seconds: float, session: dict[str, Any] | None = None
    ) -> tuple[str, int]:
        """A token for one session of this visitor's, and when it expires, in seconds since the
        epoch. Raises `RateLimited`, `SessionsUnreachable`."""
        what = Pass(to.user, to.allowance, session or {})
        given = await self.gate.passes.give(prefix, what, seconds)
        self.audit.note("token_given", user=to.user, kind=prefix, seconds=seconds)
        return given

    async def lasts(self, session: str) -> bool:
        """Whether a session's client is here, or at another gateway, or may come back."""
        if await self.sessions.lasts(session):
            return True
        return self.fellows is not None and await self.fellows.has(session)

    def user_data(
        self,
        what: Literal["exported", "forgotten"],
        by: Literal["user", "operator"],
        user: str,
        remote: str,
        sessions: int,
    ) -> None:
        """Count and note that a user's data was asked for, and by whom."""
        self.metrics.user_data(what, by)
        self.audit.note("user_data", what=what, by=by, user=user, remote=remote, sessions=sessions)

    def unread(self, reason: str, remote: str) -> None:
        """Something came that is no request."""
        self._barred(reason, {"remote": remote})

    def check_open(self) -> None:
        """Raises `AtCapacity` while loading, `GoingAway` while draining."""
        if self.stage == "loading":
            raise AtCapacity("the server is still loading its models", retry_after_s=5.0)
        if self.stage == "draining":
            raise GoingAway("the server is going away", retry_after_s=1.0)

    @property
    def name(self) -> str | None:
        """Among other gateways; None where there are none."""
        return self.fellows.name if self.fellows is not None else None

    def check_elsewhere(self) -> None:
        """A connection that another gateway can take is refused before it is accepted: a balancer
        goes on to the next one. Raises as `check_open`."""
        if self.fellows is not None:
            self.check_open()

    def why_not_ready(self) -> str | None:
        """Why no session can be taken now; None when one can."""
        if self.stage != "ready":
            return self.stage
        if self.load.level is Level.NEWCOMERS:
            return "overloaded"
        trouble = self.pool.trouble() or self.vad.trouble
        return trouble or ("full" if self.sessions.admission.full else None)

    def _keeping(self) -> Keeping | None:
        """Where sessions outlast their connections; None when they are not to."""
        settings = self.settings
        if not settings.resume_s:
            return None
        store: SessionStore = (
            self.fellows.store
            if self.fellows is not None
            else SqliteStore(settings.data_dir.expanduser(), round(settings.store_mb * 1_000_000))
        )
        return Keeping(
            store, settings.resume_s, settings.retention_s, wrote=self.metrics.session_written
        )

    @asynccontextmanager
    async def _kept(self, keeping: Keeping) -> AsyncIterator[None]:
        """Raises `StartError` when sessions cannot be kept."""
        async with AsyncExitStack() as stack:
            try:
                await stack.enter_async_context(keeping)
            except StoreFailed as error:
                if self.fellows is not None:
                    raise StartError(
                        f"ANTIPHON_REDIS_URL: Redis does not answer, or refuses ({error})"
                    ) from None
                raise StartError(
                    f"ANTIPHON_DATA_DIR={str(self.settings.data_dir)!r}: sessions cannot be kept"
                    f" there ({error}); name another folder, or set ANTIPHON_RESUME_S=0"
                ) from None
            yield

    def _gate(self) -> Gate:
        settings = self.settings
        known = Authenticator(
            settings.auth_secret, self._keys, audience=settings.auth_audience,
            skew_s=settings.auth_skew_s, allowance=allowance(settings),
        )  # fmt: skip
        return Gate(
            gate_rules(settings), known if settings.authenticates else None,
            self.fellows.passes if self.fellows is not None else PassesHere(), self._barred,
        )  # fmt: skip

    def _requested(self, request: Tracked) -> None:
        self.metrics.requested(request)
        self.audit.note(
            "requested", user=request.user, remote=request.remote, work=request.work,
            outcome=request.outcome, code=request.code,
        )  # fmt: skip

    def _barred(self, reason: str, known: dict[str, Any]) -> None:
        self.metrics.barred(reason)
        self.audit.note("refused", why=reason, **known)

    async def _load_all(self) -> None:
        """Raises as `open`."""
        try:
            async with asyncio.timeout(None) as self._loading, asyncio.TaskGroup() as loading:
                if self._keys is not None:
                    loading.create_task(self._keys.refresh())
                loading.create_task(self._engine_room.load())
        except ExceptionGroup as group:
            raise first_error(group) from None
        except TimeoutError:
            raise GoingAway("the server was told to stop while it loaded") from None
        finally:
            self._loading = None

    async def _close_tracing(self) -> None:
        if self.tracing is not None:
            await asyncio.to_thread(self.tracing.close)


def _tracing(endpoint: str) -> Tracing | None:
    """Imported only when it is wanted: the SDK is an extra, and starts threads."""
    if not endpoint:
        return None
    try:
        from server.tracing import Tracing
    except ImportError:
        raise SettingsError(
            "ANTIPHON_OTEL_ENDPOINT needs OpenTelemetry: make setup EXTRAS=otel"
        ) from None
    return Tracing.to(endpoint)
