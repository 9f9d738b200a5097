"""The speech engines' ports on Ray Serve: the same calls, carried out by a replica elsewhere.

A stop cancels the call at the replica. A replica that is lost before it gave anything is replaced
by another, unseen; after that, a clause is voiced again and what was given is left out.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, suppress
from typing import Any, ClassVar, Protocol

import structlog

from pipeline.config import EngineConfig, RayConfig
from pipeline.engines.errands import CURRENT
from pipeline.engines.ports import (
    Choice,
    EngineInfo,
    Float32,
    MemoryUse,
    SpeechRequest,
    SpeechWindow,
    Stop,
    TimedSpeech,
    Transcript,
    Voice,
)
from pipeline.engines.ray_cluster import Cluster
from pipeline.engines.ray_plan import Part
from pipeline.engines.ray_wire import FORM, Alive, Begun, Continuation, Description, Failure
from pipeline.engines.threads import EngineThreads
from pipeline.errors import (
    AntiphonError,
    AtCapacity,
    EngineError,
    PoolTimeout,
    StartError,
    SttFailed,
    TtsFailed,
)

log = structlog.get_logger(__name__)

LOSSES = 2
"""Replicas that one call may lose: a text that kills them must not go through them all."""
DESCRIBE_S = 60.0
"""The longest wait for a cluster's first word."""
LOOK_S, AWAY_S = 2.0, 4.0
"""How long a look waits for an answer, and after how long without any the engine is away."""
SILENT_S = 3.0
"""A replica that has a call gives a sign of life every 0.5 s. One that gives none for so long is
lost: its machine may have no power."""
KNOWN_S = 10.0
"""For so long what a replica has said of itself is taken for true, however busy it is: another
engine may have been deployed, of another rate."""


class Link(Protocol):
    """The way to a cluster."""

    @property
    def config(self) -> RayConfig: ...

    async def open(self, kind: str) -> Any:
        """The handle of one kind. Raises `StartError`."""
        ...

    async def close(self, kind: str) -> None:
        """Once for each `open`, however that ended."""
        ...


class RayLink:
    """One for all engines of a process: opened by the first to start, closed by the last."""

    def __init__(self, config: RayConfig, parts: tuple[Part, ...]) -> None:
        self._config = config
        self._parts = parts
        self._cluster = Cluster(config.address)
        self._thread = EngineThreads("ray", 1, nice=0)
        self._lock = asyncio.Lock()
        self._users: set[str] = set()
        """Kinds that have been opened and not closed."""
        self._handles: dict[str, Any] = {}

    @property
    def config(self) -> RayConfig:
        return self._config

    async def open(self, kind: str) -> Any:
        """Join, if nobody has."""
        self._users.add(kind)
        async with self._lock:
            if not self._handles:
                self._handles = await self._thread.run(self._join)
                _take_back_sigterm()
        return self._handles[kind]

    async def close(self, kind: str) -> None:
        """One user less; the last one leaves the cluster."""
        async with self._lock:
            self._users.discard(kind)
            if not self._users:
                await self._thread.run(self._cluster.leave)
                await self._thread.close()

    def _join(self) -> dict[str, Any]:
        self._cluster.join(gpus=any(part.gpus for part in self._parts))
        if not self._config.address:
            self._cluster.deploy(self._parts)
        return self._cluster.handles([part.kind for part in self._parts])


class _Lost(Exception):
    """The replica has gone, and the call with it."""


class _Foreign(Exception):
    """The replica is of another version, whose words would be taken for others here."""


class _Unheard(Exception):
    """Nobody has given a sign of life: no replica has the call, or one that is lost."""


class _Promoted(Exception):
    """What waits in a replica's queue as speculation is wanted now."""


class _Remote:
    """What the three have in common: one call, over as many replicas as it takes."""

    kind: ClassVar[str]
    failed: ClassVar[type[EngineError]]
    title: ClassVar[str]

    def __init__(self, link: Link, clock: Callable[[], float] = time.monotonic) -> None:
        self._link = link
        self._clock = clock
        self._handle: Any = None
        self._opened = False
        self._about: Description | None = None
        self._heard_at = 0.0
        """When a replica gave anything, last."""
        self._described_at = 0.0
        self._away = False
        self._foreign = False
        """The replicas are of another version."""

    @property
    def info(self) -> EngineInfo:
        about = self._about
        if about is None:
            return EngineInfo("ray", "unknown", "ray")
        return EngineInfo(about.info.name, about.info.model, f"ray/{about.info.device}")

    async def start(self) -> None:
        """Join the cluster, and ask a replica what it is. Raises `StartError`."""
        self._opened = True
        handle = await self._link.open(self.kind)
        try:
            await self._ask(handle, DESCRIBE_S)
        except _Foreign as error:
            raise StartError(
                f"{self.title} on Ray: {error}. Deploy it from this version, or start gateways of "
                "that one"
            ) from None
        except Exception as error:  # Ray's own, and a timeout
            raise StartError(f"no {self.title} answers on Ray: {error!r}") from error
        self._handle = handle.options(stream=True)

    async def _ask(self, handle: Any, within_s: float) -> None:
        """What a replica is. Raises `_Foreign`, Ray's own, and `TimeoutError`."""
        async with asyncio.timeout(within_s):
            about = await handle.describe.remote(FORM)
        if isinstance(about, str):
            raise _Foreign(f"the replicas are of another version (theirs {about}, ours {FORM})")
        self._foreign = False
        self._learn(about)
        self._heard()

    @property
    def memory(self) -> MemoryUse | None:
        """Of a replica's device; all are alike."""
        return self._about.memory if self._about is not None else None

    @property
    def choice(self) -> Choice:
        """As it was made in the replica."""
        return self._about.choice if self._about is not None else Choice()

    @property
    def away(self) -> bool:
        """No replica answers, or none that we understand: calls wait for one no longer than a lost
        one's would."""
        return self._away

    async def look(self) -> None:
        """Ask any replica what it is, which costs it nothing; while they give something only every
        `KNOWN_S`."""
        now = self._clock()
        known = now - self._described_at < KNOWN_S
        if self._handle is None or (known and now - self._heard_at < LOOK_S):
            return
        try:
            await self._ask(self._handle.options(stream=False), LOOK_S)
        except _Foreign as error:
            if not self._foreign:
                log.error("replicas_differ", kind=self.kind, error=str(error))
            self._away = self._foreign = True
        except Exception as error:  # Ray's own, of many kinds, and a timeout
            if not self._away and self._clock() - self._heard_at >= AWAY_S:
                self._away = True
                log.error("replicas_away", kind=self.kind, error=repr(error)[:300])

    def _learn(self, about: Description) -> None:
        was, self._about, self._described_at = self._about, about, self._clock()
        if was is not None and was.info != about.info:
            log.warning("engine_changed", kind=self.kind, was=str(was.info), now=str(about.info))

    def _heard(self) -> None:
        self._heard_at = self._clock()
        if self._away:
            self._away = False
            log.info("replicas_back", kind=self.kind)

    async def close(self) -> None:
        """Leave the cluster, if no other engine needs it."""
        if self._opened:
            self._opened = False
            self._handle = None
            await self._link.close(self.kind)

    @property
    def _described(self) -> Description:
        if self._about is None:
            raise self.failed(f"{self.title} is not running")
        return self._about

    async def _results(
        self,
        method: str,
        argument: object,
        stop: Stop,
        lost: Callable[[], None],
        goes_on: Callable[[], bool],
    ) -> AsyncGenerator[Any]:
        """What the replica gives; `lost` is told before another one begins again, and `goes_on`
        says whether what was given last was more than the lost one had given.

        Raises the replica's errors as our own, `PoolTimeout` when nothing came in time, and the
        kind's failure when what was lost cannot be had again in time.
        """
        if self._foreign:
            raise self.failed(f"{self.title} is of another version")
        config, losses = self._link.config, 0
        within_s, until = config.failover_s if self._away else config.wait_s, None
        began = self._clock()
        while not stop.is_set:
            left_s = max(0.0, began + within_s - self._clock())
            once = self._once(method, argument, stop, left_s, until, goes_on)
            try:
                async with aclosing(once) as items:
                    async for item in items:
                        yield item
                        if goes_on():
                            until = None
                return
            except _Unheard:  # another one is asked, perhaps
                log.info("replica_unheard", kind=self.kind)
            except _Promoted:  # it is asked again, as what it is now
                began = self._clock()
            except _Lost as loss:
                losses += 1
                log.warning("replica_lost", kind=self.kind, losses=losses, error=str(loss))
                if losses > LOSSES:
                    raise self.failed(f"{self.title} was lost") from loss.__cause__
                until = until or self._clock() + config.failover_s
                lost()

    async def _once(
        self,
        method: str,
        argument: object,
        stop: Stop,
        within_s: float,
        until: float | None,
        goes_on: Callable[[], bool],
    ) -> AsyncGenerator[Any]:
        """One try; `until` it must have gone on.

        Raises `_Lost`, of a replica that falls silent too, `_Unheard` for one that never was heard,
        and `_Promoted` for speculation that came true before the replica had begun with it.
        """
        if self._handle is None:
            raise self.failed(f"{self.title} is not running")
        loop = asyncio.get_running_loop()
        errand = CURRENT.get()
        order = errand.order(self._clock())
        response = getattr(self._handle, method).remote(argument, order)
        late = promoted = given = silent = heard = False

        def hurry() -> None:
            nonlocal promoted
            if not given:
                promoted = True
                response.cancel()

        def expire() -> None:
            nonlocal late
            late = True
            response.cancel()

        def silence() -> None:
            nonlocal silent
            silent = True
            response.cancel()

        def cancel() -> None:
            with suppress(RuntimeError):  # the loop has ended
                loop.call_soon_threadsafe(response.cancel)

        first_s = within_s if until is None else max(0.0, until - self._clock())
        timer = loop.call_later(first_s, expire)
        sign = loop.call_later(SILENT_S, silence)
        try:
            with stop.calling(cancel), errand.promoting(hurry):
                async for item in response:
                    sign.cancel()
                    heard = True
                    self._heard()
                    if isinstance(item, Alive):
                        sign = loop.call_later(SILENT_S, silence)
                        continue
                    timer.cancel()
                    if isinstance(item, Failure):
                        raise item.error()
                    given = True
                    if not isinstance(item, Begun):
                        yield item
                        if goes_on():
                            until = None
                    hang_s = self._link.config.hang_s
                    rest_s = hang_s if until is None else max(0.0, until - self._clock())
                    timer = loop.call_later(rest_s, expire)
                    sign = loop.call_later(SILENT_S, silence)
        except AntiphonError:
            raise
        except Exception as error:  # Ray's own: told apart by what we asked for ourselves
            if stop.is_set:
                return
            if promoted and not given:
                raise _Promoted from error
            if silent and not late:
                raise (_Lost("it gives no sign of life") if heard else _Unheard) from error
            raise self._meaning(error, late=late, given=given or until is not None) from error
        finally:
            timer.cancel()
            sign.cancel()
            response.cancel()

    def _meaning(self, error: Exception, *, late: bool, given: bool) -> Exception:
        from ray.exceptions import RayActorError, RayTaskError
        from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError

        if late:
            if given or self._away:
                return self.failed(f"{self.title} does not answer")
            return PoolTimeout("waited too long for a free engine", retry_after_s=5.0)
        if isinstance(error, BackPressureError):
            return AtCapacity("too many requests wait for this engine", retry_after_s=5.0)
        if isinstance(error, DeploymentUnavailableError):
            return self.failed(f"{self.title} is down")
        if isinstance(error, RayTaskError) and not isinstance(error.cause, RayActorError):
            log.error("replica_raised", kind=self.kind, error=str(error))
            return self.failed(f"{self.title} failed")
        return _Lost(type(error).__name__)


class RayTranscriber(_Remote):
    """`Transcriber` on Ray."""

    kind, failed, title = "stt", SttFailed, "speech recognition"

    @property
    def languages(self) -> frozenset[str]:
        return self._described.languages

    async def transcribe(self, window: SpeechWindow, stop: Stop) -> Transcript:
        """Stopped before there were words: none."""
        results = self._results("transcribe", window, stop, _nothing, _always)
        async with aclosing(results):
            async for transcript in results:
                assert isinstance(transcript, Transcript)
                return transcript
        return Transcript("", window.language or "", no_speech=1.0)


class RayEndOfTurn(_Remote):
    """`EndOfTurnModel` on Ray."""

    kind, failed, title = "eot", EngineError, "end-of-turn detection"

    async def probability(self, audio: Float32, stop: Stop) -> float:
        """0.0 when stopped before the look."""
        results = self._results("probability", audio, stop, _nothing, _always)
        async with aclosing(results):
            async for probability in results:
                return float(probability)
        return 0.0


class RaySynthesizer(_Remote):
    """`Synthesizer` on Ray. Unlike a local one it takes as many calls as the gateway's quota."""

    kind, failed, title = "tts", TtsFailed, "speech synthesis"

    @property
    def rate_hz(self) -> int:
        return self._described.rate_hz

    @property
    def voices(self) -> tuple[Voice, ...]:
        return self._described.voices if self._about is not None else ()

    @property
    def blends_voices(self) -> bool:
        return self._described.blends_voices

    async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        """A clause, whole, whatever becomes of the replica that began it."""
        async for speech in self.synthesize_timed(request, stop):
            if len(speech.audio):
                yield speech.audio

    async def synthesize_timed(
        self, request: SpeechRequest, stop: Stop
    ) -> AsyncIterator[TimedSpeech]:
        """As `synthesize`, with when each word is said, if the engine in the replica knows."""
        audio = Continuation(self.rate_hz)
        results = self._results(
            "synthesize", request, stop, audio.begin_again, lambda: audio.goes_on
        )
        async with aclosing(results):
            async for speech in results:
                if stop.is_set:
                    return
                fresh = audio.feed(speech.audio)
                if len(fresh) or speech.words:
                    yield TimedSpeech(fresh, speech.words)


def on_ray(
    config: EngineConfig, parts: tuple[Part, ...]
) -> tuple[RayTranscriber, RayEndOfTurn, RaySynthesizer]:
    """The three engines, not started, on one way to the cluster."""
    assert config.ray is not None
    link = RayLink(config.ray, parts)
    return RayTranscriber(link), RayEndOfTurn(link), RaySynthesizer(link)


def _take_back_sigterm() -> None:
    """Ray's library has put a handler of its own in the place of the server's: it would abort."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGTERM))
        signal.siginterrupt(signal.SIGTERM, False)


def _nothing() -> None:
    """Nothing was given that could be given twice."""


def _always() -> bool:
    """There is one result: it is all."""
    return True
