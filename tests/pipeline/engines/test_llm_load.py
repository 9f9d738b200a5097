"""A day's load on several backends, in virtual time: who is asked, and how long first tokens take.

A backend here gives first tokens in its own time while it has no more to do than its room; past it,
each reply makes all of them slower.
"""

from __future__ import annotations

import heapq
import random
from dataclasses import dataclass, field
from itertools import count

import pytest

from pipeline.engines.llm_router import Router, Trial

REPLY_S = 2.0
"""From a reply's first token to its last."""


@dataclass
class Backend:
    ttft_s: float
    room: int
    down: bool = False


@dataclass
class Day:
    """What happened: times to first token, who answered, and who was asked in vain."""

    ttft_s: list[float] = field(default_factory=list)
    answered: list[int] = field(default_factory=list)
    homes_kept: int = 0
    homes: int = 0
    in_vain: int = 0

    def p95_s(self) -> float:
        return sorted(self.ttft_s)[int(0.95 * len(self.ttft_s))]

    def share(self, backend: int) -> float:
        return self.answered.count(backend) / len(self.answered)


def a_day(
    backends: list[Backend], replies_per_s: float, replies: int = 8_000, slots: int = 64
) -> Day:
    """Replies of 50 conversations arrive by chance; those that find no place wait in order."""
    chance, router, day, order = random.Random(7), Router(len(backends), slots), Day(), count()
    events: list[tuple[float, int, str, Trial | None]] = []
    waiting: list[tuple[float, str]] = []
    homes: dict[str, int] = {}
    now = 0.0
    for _ in range(replies):
        now += chance.expovariate(replies_per_s)
        heapq.heappush(events, (now, next(order), "asked", None))
    while events:
        now, _, what, trial = heapq.heappop(events)
        match what, trial:
            case "asked", None:
                waiting.append((now, f"s{chance.randrange(50)}"))
            case "spoke", Trial():
                router.spoke(trial, now)
                heapq.heappush(events, (now + REPLY_S, next(order), "done", trial))
            case "failed", Trial():
                router.failed(trial, now, "down")
                waiting.insert(0, (now, trial.session))
            case _, Trial():
                router.done(trial)
        while waiting and (begun := router.admit(waiting[0][1], now)) is not None:
            asked, session = waiting.pop(0)
            backend = backends[begun.backend]
            if backend.down:
                day.in_vain += 1
                heapq.heappush(events, (now, next(order), "failed", begun))
                continue
            took = backend.ttft_s * max(1.0, begun.crowd / backend.room)
            heapq.heappush(events, (now + took, next(order), "spoke", begun))
            day.ttft_s.append(now - asked + took)
            day.answered.append(begun.backend)
            day.homes += session in homes
            day.homes_kept += homes.get(session) == begun.backend
            homes[session] = begun.backend
    assert len(day.answered) == replies
    return day


def test_equal_backends_share_equally_and_conversations_stay() -> None:
    day = a_day([Backend(0.2, 20), Backend(0.2, 20), Backend(0.2, 20)], replies_per_s=6)
    assert all(0.25 < day.share(at) < 0.42 for at in range(3))
    assert day.homes_kept / day.homes > 0.8
    assert day.p95_s() == pytest.approx(0.2)


def test_a_backend_with_less_room_gets_less_and_nobody_waits_for_it() -> None:
    day = a_day([Backend(0.3, 2), Backend(0.3, 30)], replies_per_s=8)
    assert day.share(0) < 0.3
    assert day.p95_s() < 1.0


def test_a_backend_that_is_down_costs_a_few_tries_and_no_reply() -> None:
    day = a_day([Backend(0.2, 30, down=True), Backend(0.2, 30)], replies_per_s=4)
    assert set(day.answered) == {1}
    day_s = 8_000 / 4
    assert day.in_vain < 10 + day_s / 30  # the first failures, and a probe every 30 s
