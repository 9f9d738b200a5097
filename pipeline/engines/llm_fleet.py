"""Several backends as one language model: asked by turns of health and work, and once more when one
fails before it has said anything.

`llm_router` decides which, `retry` when and for how long; here are the calls themselves. Why so:
docs/decisions/0009-llm-backends.md.
"""

from __future__ import annotations

import asyncio
import random
import time
from bisect import insort
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing, suppress
from functools import partial
from itertools import count
from operator import itemgetter

import structlog

from pipeline.engines.llm_router import Router, Trial
from pipeline.engines.openai_llm import FIRST_TOKEN_S, OpenAILanguageModel
from pipeline.engines.ports import BackendStatus, Delta, EngineInfo, Prompt, Stop
from pipeline.engines.retry import FAIR_SHARE, TRIES, first_token_s, pause_s
from pipeline.errors import (
    LlmFailed,
    LlmStalled,
    PoolTimeout,
    PromptRefused,
    RateLimited,
    StartError,
)

log = structlog.get_logger(__name__)

BUSY_S = 5.0
"""When to come back if no place became free in time."""
LEAST_BACK_S = 1.0
"""When to come back at the earliest if nobody can be asked."""


class LanguageModelFleet:
    """The `LanguageModel` port over one or several OpenAI-compatible backends.

    `slots`: replies that one backend is asked for at once, at most. `first_token_s`: the longest
    wait for a reply's first token, all tries together.
    """

    def __init__(
        self,
        backends: Sequence[OpenAILanguageModel],
        slots: int,
        *,
        first_token_s: float = FIRST_TOKEN_S,
        clock: Callable[[], float] = time.monotonic,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._backends = tuple(backends)
        self._first_token_s = first_token_s
        self._clock = clock
        self._chance = chance
        self._router = Router(len(self._backends), slots)
        self._started: set[int] = set()
        self._arrivals = count()
        self._waiting: list[tuple[int, asyncio.Future[None]]] = []
        """By order of arrival: who asks once more, or waits again, has its place from before."""

    @property
    def breath_tokens(self) -> int | None:
        """None: backends run on machines of their own, as far as we know."""
        return None

    @property
    def info(self) -> EngineInfo:
        """The first model that is known, and where all of them are."""
        infos = [backend.info for backend in self._backends]
        model = next((info.model for info in infos if info.model), "")
        return EngineInfo("openai", model, ", ".join(info.device for info in infos))

    def backends(self) -> tuple[BackendStatus, ...]:
        """How each one does."""
        now = self._clock()
        return tuple(
            self._router.status(at, backend.info.device, backend.info.model, now)
            for at, backend in enumerate(self._backends)
        )

    async def start(self) -> None:
        """Ask all of them. One that answers is enough; the others are asked again later.

        Raises `StartError` when none does.
        """
        absent = [
            error
            for error in await asyncio.gather(*map(self._meet, range(len(self._backends))))
            if error is not None
        ]
        if len(absent) == len(self._backends):
            raise StartError(" ".join(str(error) for error in absent))

    async def close(self) -> None:
        """Close all connections."""
        for backend in self._backends:
            await backend.close()

    async def generate(self, prompt: Prompt, stop: Stop) -> AsyncGenerator[Delta]:
        """The reply's text as it comes, from one backend.

        Another one is asked, or the same once more, as long as nothing has been said and the time
        is not up. Raises as `OpenAILanguageModel.generate` does, of the last try; `PoolTimeout`
        when all are full for too long; when all rest, the error says when to come back.
        """
        due, number = self._clock() + self._first_token_s, next(self._arrivals)
        failed, avoid, tried = list[LlmFailed | RateLimited](), set[int](), set[int]()
        while trial := await self._admit(number, prompt.session, avoid, due, stop, failed):
            trial.again = trial.backend in tried
            tried.add(trial.backend)
            try:
                async with aclosing(self._try(trial, prompt, stop, due, avoid)) as deltas:
                    async for delta in deltas:
                        yield delta
                return
            except (LlmFailed, RateLimited) as error:
                failed.append(error)
                if trial.spoken or len(failed) == TRIES or isinstance(error, PromptRefused):
                    raise
            avoid.add(trial.backend)
            if not self._router.others(trial, self._clock(), avoid):
                avoid.clear()
                await self._pause(failed, due)

    # --- one try ---------------------------------------------------------------------------------

    async def _try(
        self, trial: Trial, prompt: Prompt, stop: Stop, due: float, avoid: set[int]
    ) -> AsyncGenerator[Delta]:
        """Ask one backend; whatever becomes of it, the router is told."""
        others = self._router.others(trial, trial.began, avoid)
        left_s = due - trial.began
        hurried = left_s < FAIR_SHARE * self._first_token_s
        wait_s = first_token_s(left_s, probe=trial.probe, others=others)
        failure: Exception | None = None
        whole = False
        try:
            if trial.backend not in self._started:
                await self._meet_again(trial.backend, wait_s)
                wait_s = max(0.0, wait_s - (self._clock() - trial.began))
            backend = self._backends[trial.backend]
            async with aclosing(backend.generate(prompt, stop, first_token_s=wait_s)) as deltas:
                async for delta in deltas:
                    if not trial.spoken:
                        self._spoke(trial)
                    yield delta
            whole = not stop.is_set
        except (LlmFailed, RateLimited) as error:
            failure = error
            raise
        finally:
            self._end(trial, failure, whole=whole, hurried=hurried)
            self._wake()

    def _spoke(self, trial: Trial) -> None:
        if trial.probe:
            log.info("llm_breaker_closed", backend=self._backends[trial.backend].info.device)
        self._router.spoke(trial, self._clock())
        self._wake()  # one that is well again has room, and one that keeps up has more

    def _end(self, trial: Trial, failure: Exception | None, *, whole: bool, hurried: bool) -> None:
        """Tell the router how a try ended; a stop, and whatever is not the backend's, is `left`: so
        is a try that began too late, and was cut for it."""
        router, now, at = self._router, self._clock(), trial.backend
        closed = router.closed(at)
        cause = failure.__cause__ if failure is not None else None
        why = str(cause if isinstance(cause, StartError) else failure)
        match failure:
            case None if not whole:
                router.left(trial)
            case None | PromptRefused():
                router.done(trial)
            case RateLimited(retry_after_s=wait_s) | LlmFailed(retry_after_s=float() as wait_s):
                router.limited(trial, now, wait_s or 0.0, why)
            case LlmStalled() if hurried and not trial.spoken:
                router.left(trial)
            case LlmStalled() if not trial.spoken:
                router.missed(trial, now, why)
            case _:
                router.failed(trial, now, why)
        if closed and not router.closed(at):
            where = self._backends[at].info.device
            log.warning("llm_breaker_opened", backend=where, error=why)

    async def _meet(self, at: int) -> StartError | None:
        """At the start: see that it answers; None when it does."""
        try:
            await self._backends[at].start(self._first_token_s)
        except StartError as error:
            if len(self._backends) > 1:
                where = self._backends[at].info.device
                log.warning("llm_backend_absent", backend=where, error=str(error))
            self._router.absent(at, self._clock(), str(error))
            return error
        self._started.add(at)
        return None

    async def _meet_again(self, at: int, within_s: float) -> None:
        """Later: as at the start, and whether it can be used is this one reply's concern."""
        try:
            await self._backends[at].start(within_s)
        except StartError as error:
            # The operator's story, with addresses in it, is not the client's.
            raise LlmFailed("The language model failed: it is not ready.") from error
        self._started.add(at)

    # --- waiting for one -------------------------------------------------------------------------

    async def _admit(
        self,
        number: int,
        session: str,
        avoid: set[int],
        due: float,
        stop: Stop,
        failed: Sequence[LlmFailed | RateLimited],
    ) -> Trial | None:
        """A place at a backend; None when nobody wants it any more. In order of arrival."""
        try:
            while not stop.is_set:
                now = self._clock()
                overtakes = self._waiting and self._waiting[0][0] < number
                trial = None if overtakes else self._router.admit(session, now, avoid)
                if trial is not None:
                    return trial
                if avoid:  # who waits takes what comes, or would hold up those behind it
                    avoid.clear()
                    continue
                if now >= due:
                    raise PoolTimeout("The language model is busy.", retry_after_s=BUSY_S)
                if self._router.well(now):  # but full: until one leaves, or another one is back
                    until = min(due, self._router.next_at(now) or due)
                else:
                    until = self._rested_at(now) or due
                    if until >= due:
                        raise self._nobody(now, failed)
                await self._wait(until - now, stop, number)
            return None
        finally:
            self._wake()

    def _rested_at(self, now: float) -> float | None:
        """When the first that asked for patience is asked again: a little later than it said, for
        it has said so to others too."""
        at = self._router.rested_at(now)
        return None if at is None else at + pause_s(1, self._chance())

    def _nobody(self, now: float, failed: Sequence[LlmFailed | RateLimited]) -> Exception:
        """Why nobody can be asked, and when to come back."""
        back_s = max(LEAST_BACK_S, self._router.back_at(now) - now)
        if failed:
            failed[-1].retry_after_s = back_s
            return failed[-1]
        if self._router.rested_at(now) is not None:
            return RateLimited("The language model is asked too often.", retry_after_s=back_s)
        return LlmFailed("No language model is well enough to be asked.", retry_after_s=back_s)

    async def _pause(self, failed: Sequence[LlmFailed | RateLimited], due: float) -> None:
        """Before the same backends are asked once more. Raises the last failure if time is up."""
        now = self._clock()
        if not self._router.well(now):
            return  # `_admit` knows how long, or that it is no use
        pause = pause_s(len(failed), self._chance())
        if now + pause >= due:
            raise failed[-1]
        await asyncio.sleep(pause)

    async def _wait(self, seconds: float, stop: Stop, number: int) -> None:
        """Until a place may be free, for so long at most, or until nobody wants it any more."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        waits = number, turn
        insort(self._waiting, waits, key=itemgetter(0))
        try:
            with suppress(TimeoutError), stop.calling(partial(_call, turn)):
                async with asyncio.timeout(seconds):
                    await turn
        finally:
            if waits in self._waiting:
                self._waiting.remove(waits)

    def _wake(self) -> None:
        """A place may be free: the one who has waited longest looks, and wakes the next."""
        while self._waiting:
            _, turn = self._waiting.pop(0)
            if not turn.done():
                turn.set_result(None)
                return


def _call(turn: asyncio.Future[None]) -> None:
    """End a wait; from any thread."""

    def end() -> None:
        if not turn.done():
            turn.set_result(None)

    with suppress(RuntimeError):  # the loop is closed
        turn.get_loop().call_soon_threadsafe(end)
