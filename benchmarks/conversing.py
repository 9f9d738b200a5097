"""How many people one device can converse with, from how long its engines take. Pure: virtual time.

One device does one batch after the other; what is due first goes first, and takes with it what of
its kind waits. It knows no network and no processor: the whole server is replayed elsewhere.
"""

from __future__ import annotations

import heapq
import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

Kind = Literal["hear", "first", "later"]
"""A window to transcribe, a reply's first clause, one of its later ones."""

PARTIAL_WAIT_S = 1.0
"""Words so far are due so much later than a turn's last ones."""


@dataclass(frozen=True, slots=True)
class Talk:
    """How people talk, and what is not the device's work. Stated, not measured."""

    speech_s: float = 4.0
    """A turn of the user's; each is drawn from half of it to one and a half."""
    pause_s: float = 0.5
    """Between the end of a reply and the next turn."""
    endpoint_s: float = 0.25
    """From the last sample of speech until its words are asked for, finally."""
    partial_every_s: float = 1.5
    """While somebody speaks the words so far are asked for so often."""
    llm_first_s: float = 0.2
    """The language model's first clause: time to first token and a few tokens more."""
    first_s: float = 1.0
    """Audio of a reply's first clause."""
    later_s: float = 3.0
    """Audio of each later one."""
    later_clauses: int = 2


@dataclass(frozen=True, slots=True)
class Service:
    """Seconds of the device's time that a batch takes, by kind and size."""

    seconds: Mapping[Kind, Mapping[int, float]]

    def most(self, kind: Kind) -> int:
        """The largest batch there is a time for."""
        return max(self.seconds[kind])

    def of(self, kind: Kind, size: int) -> float:
        """Of a batch of this size: the time of the next larger one that was measured."""
        return self.seconds[kind][min(known for known in self.seconds[kind] if known >= size)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of all turns."""

    latencies_s: tuple[float, ...]
    """Voice to voice, sorted."""
    stalls: int
    """Later clauses that were not there when the audio before them had been played."""
    busy: float
    """The share of the time in which the device worked."""

    @property
    def p95_s(self) -> float:
        """Without an answer to any turn: for ever."""
        if not self.latencies_s:
            return math.inf
        return self.latencies_s[int(0.95 * (len(self.latencies_s) - 1))]


@dataclass(order=True, slots=True)
class _Job:
    due: float
    number: int
    kind: Kind = field(compare=False)
    user: _User | None = field(compare=False)
    """None: the words so far, which nobody waits for."""


@dataclass(eq=False, slots=True)
class _User:
    ended: float = 0.0
    """When the last turn's speech did."""
    plays_until: float = 0.0
    left: int = 0
    """Later clauses that are not made yet."""


class _Device:
    """The events of one run, in the order of their times."""

    def __init__(self, users: int, service: Service, talk: Talk, seed: int) -> None:
        self._service, self._talk = service, talk
        self._random = random.Random(seed)
        self._events: list[tuple[float, int, Callable[[float], None]]] = []
        self._waiting: list[_Job] = []
        self._count = 0
        self._free_at = 0.0
        self._worked = 0.0
        self._latencies: list[float] = []
        self._stalls = 0
        for _ in range(users):
            self._at(self._random.uniform(0, 5), partial(self._speak, _User()))

    def run(self, until_s: float) -> Outcome:
        now = 0.0
        while self._events and now < until_s:
            now, _, happens = heapq.heappop(self._events)
            happens(now)
            if self._waiting and now >= self._free_at:
                self._work(now)
        return Outcome(tuple(sorted(self._latencies)), self._stalls, self._worked / now)

    def _at(self, time_s: float, happens: Callable[[float], None]) -> None:
        self._count += 1
        heapq.heappush(self._events, (time_s, self._count, happens))

    def _ask(self, kind: Kind, due: float, user: _User | None, _: float = 0.0) -> None:
        self._count += 1
        heapq.heappush(self._waiting, _Job(due, self._count, kind, user))

    def _speak(self, user: _User, now: float) -> None:
        """One turn: the words so far now and then, at its end all of them."""
        talk = self._talk
        user.ended = now + talk.speech_s * self._random.uniform(0.5, 1.5)
        at = now + talk.partial_every_s
        while at < user.ended:
            self._at(at, partial(self._ask, "hear", at + PARTIAL_WAIT_S, None))
            at += talk.partial_every_s
        final_at = user.ended + talk.endpoint_s
        self._at(final_at, partial(self._ask, "hear", final_at, user))

    def _work(self, now: float) -> None:
        """One batch: the job that is due first, and those of its kind that are due next."""
        kind = self._waiting[0].kind
        batch: list[_Job] = []
        others: list[_Job] = []
        while self._waiting and len(batch) < self._service.most(kind):
            job = heapq.heappop(self._waiting)
            (batch if job.kind == kind else others).append(job)
        for job in others:
            heapq.heappush(self._waiting, job)
        took = self._service.of(kind, len(batch))
        self._worked += took
        self._free_at = now + took
        self._at(self._free_at, partial(self._done, batch))

    def _done(self, batch: list[_Job], now: float) -> None:
        talk = self._talk
        for job in batch:
            user = job.user
            if user is None:
                continue
            if job.kind == "hear":
                user.left = talk.later_clauses
                begins = now + talk.llm_first_s
                self._at(begins, partial(self._ask, "first", begins, user))
                continue
            if job.kind == "first":
                self._latencies.append(now - user.ended)
                user.plays_until = now + talk.first_s
            else:
                self._stalls += now > user.plays_until
                user.left -= 1
                user.plays_until = max(now, user.plays_until) + talk.later_s
            if user.left:
                self._ask("later", user.plays_until, user)
            else:
                self._at(user.plays_until + talk.pause_s, partial(self._speak, user))


def converse(
    users: int, service: Service, talk: Talk, until_s: float = 300.0, seed: int = 0
) -> Outcome:
    """So many people talk for so long."""
    return _Device(users, service, talk, seed).run(until_s)


def most_users(
    service: Service, talk: Talk, limit: int, within_s: float = 1.0
) -> tuple[int, Outcome | None]:
    """The most people, up to `limit`, whose p95 voice-to-voice latency stays within so long and
    whose replies never stall; what came of their turns. None with 0: not even one."""
    best: tuple[int, Outcome | None] = (0, None)
    for users in range(1, limit + 1):
        outcome = converse(users, service, talk)
        if outcome.p95_s > within_s or outcome.stalls:
            break
        best = users, outcome
    return best
