"""Requests over HTTP that make speech or read it: those at work, the last ones, what each took.

It knows no route and no engine: a route opens a `Tracked` and writes down what happens.
"""

from __future__ import annotations

import asyncio
import time
from array import array
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Literal

import structlog
from starlette.requests import ClientDisconnect

from pipeline.errors import AtCapacity, RateLimited
from server.failures import failure_of

log = structlog.get_logger(__name__)

Work = Literal["speech", "transcription"]
Outcome = Literal["completed", "cancelled", "failed"]
"""Cancelled: its client went away."""

KEPT = 200
"""Requests that are over and still shown."""
MOST_SKIPPED = 50
"""Skipped stretches that are quoted of a request, the first ones; of the others where they stand,
while it is at work, and then only how many."""
RETRY_S = 5.0
"""When to come back where too many are at work."""
QUOTED = 80
"""Characters shown of a skipped stretch."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A stretch of a request's text that was not voiced, as offsets of characters, and why."""

    start: int
    end: int
    text: str
    reason: str


@dataclass(eq=False, slots=True)
class Tracked:
    """One request. Its route calls the methods; times are kept from when it came, in seconds."""

    id: str
    """Its `x-request-id`; a client may use one twice."""
    owner: str
    """Its name in the pool, its own alone."""
    work: Work
    came_at: float
    """Seconds since the epoch."""
    _clock: Callable[[], float]
    _began: float
    user: str | None = None
    """Whose it is; None: nobody was asked."""
    remote: str = "unknown"
    """From where."""
    characters: int = 0
    """Of the text that is to be spoken, or that was heard."""
    audio_s: float = 0.0
    """Audio made, or heard, so far."""
    queue_s: float | None = None
    position: int | None = None
    """Its place in the queue when it came: 0 did not wait."""
    ttfa_s: float | None = None
    total_s: float | None = None
    outcome: Outcome | None = None
    """None: it is at work."""
    code: str | None = None
    """The error's, if it failed."""
    skipped: list[Skipped] = field(default_factory=list)
    skipped_count: int = 0
    skipped_spans: array[int] = field(default_factory=lambda: array("I"))
    """Where every stretch that was skipped starts and ends, in turn; empty when it is over."""
    _last_skipped: Skipped | None = None

    def elapsed_s(self) -> float:
        """How long ago it came."""
        return self._clock() - self._began

    def queued(self, seconds: float, position: int) -> None:
        """It got its first engine after so long; only the first call counts."""
        if self.queue_s is None:
            self.queue_s, self.position = seconds, position

    def first_output(self) -> None:
        """Its first audio, or first words, are about to leave; only the first call counts."""
        if self.ttfa_s is None:
            self.ttfa_s = self.elapsed_s()

    def skip(self, start: int, end: int, text: str, reason: str) -> None:
        """A stretch of its text is not voiced. Neighbours for one reason are one stretch."""
        last = self._last_skipped
        joins = last is not None and (last.end, last.reason) == (start, reason)
        if last is not None and joins:
            start, text = last.start, last.text + text
        self._last_skipped = Skipped(start, end, text[:QUOTED], reason)
        if joins:
            self.skipped_spans[-1] = end
        else:
            self.skipped_count += 1
            self.skipped_spans.extend((start, end))
        if self.skipped_count <= MOST_SKIPPED:
            self.skipped[self.skipped_count - 1 :] = [self._last_skipped]

    @property
    def skipped_more(self) -> int:
        """Stretches that were skipped besides those that are quoted."""
        return self.skipped_count - len(self.skipped)


class Requests:
    """All of one server's: bounded, those at work and those that are remembered."""

    def __init__(
        self,
        most: int,
        ended: Callable[[Tracked], None] = lambda tracked: None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`most` may be at work at once; `ended` is told of each that is over."""
        self._most = most
        self._tell = ended
        self._clock = clock
        self._numbers = count(1)
        self._active: dict[str, Tracked] = {}
        self._over: deque[Tracked] = deque(maxlen=KEPT)
        self._idle = asyncio.Event()
        self._idle.set()
        self.total = 0
        self.failed = 0

    @property
    def active(self) -> int:
        """Those at work."""
        return len(self._active)

    def __iter__(self) -> Iterator[Tracked]:
        """Those at work, then those that are over, the newest first of each."""
        yield from reversed(self._active.values())
        yield from reversed(self._over)

    @contextmanager
    def tracked(
        self, request_id: str, work: Work, user: str | None = None, remote: str = "unknown"
    ) -> Iterator[Tracked]:
        """A request is at work for as long as the scope; how it is left is its outcome.

        Raises `AtCapacity` when there are as many as there may be, and `RateLimited` when half of
        those are this user's: nobody alone shuts all others out.
        """
        self.total += 1
        owner = f"{work}-{next(self._numbers)}"
        tracked = Tracked(
            request_id, owner, work, time.time(), self._clock, self._clock(), user, remote
        )
        try:
            if len(self._active) >= self._most:
                raise AtCapacity("too many requests are at work already", retry_after_s=RETRY_S)
            self._check_share(user)
            self._active[owner] = tracked
            self._idle.clear()
            yield tracked
        except (asyncio.CancelledError, GeneratorExit, ClientDisconnect):
            tracked.outcome = "cancelled"
            raise
        except BaseException as error:
            tracked.outcome, tracked.code = "failed", failure_of(error).code
            raise
        else:
            tracked.outcome = "completed"
        finally:
            self._end(tracked)

    def _check_share(self, user: str | None) -> None:
        if user is None:
            return
        share = max(1, self._most // 2)
        if sum(one.user == user for one in self._active.values()) >= share:
            raise RateLimited(
                f"at most {share} requests of one user's at once; wait for one to end",
                retry_after_s=RETRY_S,
            )

    async def idle(self) -> None:
        """Wait until none is at work."""
        await self._idle.wait()

    def _end(self, tracked: Tracked) -> None:
        tracked.total_s = tracked.elapsed_s()
        self.failed += tracked.outcome == "failed"
        self._active.pop(tracked.owner, None)
        if not self._active:
            self._idle.set()
        tracked.skipped_spans = array("I")
        self._over.append(tracked)
        self._tell(tracked)
        shown = describe(tracked)
        log.info(
            "request_ended", work=tracked.work, outcome=tracked.outcome, code=tracked.code,
            audio_s=shown["audio_s"], skipped=tracked.skipped_count, **shown["times_ms"],
        )  # fmt: skip


def describe(tracked: Tracked) -> dict[str, Any]:
    """One request as `/admin/requests` shows it: nothing of its words but what was skipped."""
    return {
        "id": tracked.id,
        "user": tracked.user,
        "route": ROUTES[tracked.work],
        "came_at": round(tracked.came_at, 3),
        "outcome": tracked.outcome or "active",
        "code": tracked.code,
        "times_ms": {
            "queue": _ms(tracked.queue_s),
            "ttfa": _ms(tracked.ttfa_s),
            "total": _ms(tracked.elapsed_s() if tracked.total_s is None else tracked.total_s),
        },
        "queue_position": tracked.position,
        "characters": tracked.characters,
        "audio_s": round(tracked.audio_s, 3),
        "skipped": [
            {"start": s.start, "end": s.end, "text": s.text, "reason": s.reason}
            for s in tracked.skipped
        ],
        "skipped_count": tracked.skipped_count,
    }


ROUTES: dict[Work, str] = {
    "speech": "/v1/audio/speech",
    "transcription": "/v1/audio/transcriptions",
}


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(1000 * seconds, 1)
