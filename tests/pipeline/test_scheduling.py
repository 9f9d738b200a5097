"""Who goes next: deadlines, purposes, turns among owners, and no one waits for ever."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import AtCapacity, RateLimited
from pipeline.scheduling import LATEST_DUE_S, PATIENCE_S, Purpose, Queue, Request

FIRST, FINAL, LATER = Purpose.FIRST_CLAUSE, Purpose.FINAL, Purpose.LATER_CLAUSE
PARTIAL, BATCH, SPECULATION = Purpose.PARTIAL, Purpose.BATCH, Purpose.SPECULATION


def line(*requests: Request, now: float = 0.0) -> Queue:
    queue = Queue()
    for request in requests:
        queue.add(request, now)
    return queue


def served(queue: Queue, now: float = 0.0) -> list[str]:
    """Who goes, one after the other, if nobody else comes."""
    return [request.owner for request in iter(lambda: queue.take(now), None)]


# --- order ----------------------------------------------------------------------------------------


def test_equals_go_in_order_of_arrival() -> None:
    assert served(line(*(Request(name, FIRST) for name in "dacb"))) == list("dacb")


def test_a_first_clause_is_due_now_and_later_ones_when_their_audio_runs_dry() -> None:
    queue = line(
        Request("in 5 s", LATER, 5.0), Request("in 1 s", LATER, 1.0), Request("now", FIRST)
    )
    assert served(queue) == ["now", "in 1 s", "in 5 s"]


def test_at_one_time_the_purposes_have_an_order() -> None:
    purposes = (SPECULATION, BATCH, PARTIAL, LATER, FINAL, FIRST)
    queue = line(*(Request(purpose.name, purpose) for purpose in purposes))
    assert served(queue) == [purpose.name for purpose in reversed(purposes)]


def test_audio_that_has_run_dry_is_as_pressing_as_a_first_clause_and_no_more() -> None:
    queue = Queue()
    queue.add(Request("new", FIRST), 10.0)
    queue.add(Request("dry", LATER, 3.0), 10.5)
    assert served(queue, 11.0) == ["new", "dry"]


def test_speculation_lets_everybody_pass_who_is_in_no_hurry_either() -> None:
    queue = line(Request("guess", SPECULATION), Request("reader", BATCH))
    queue.add(Request("early", LATER, 9.0), 1.0)
    assert served(queue, 1.0) == ["early", "reader", "guess"]


def test_speculation_that_has_waited_long_goes_before_what_came_after_its_patience() -> None:
    queue = line(Request("guess", SPECULATION))
    queue.add(Request("before", FIRST), 2.9)
    queue.add(Request("after", FIRST), 3.1)
    assert served(queue, 3.2) == ["before", "guess", "after"]


def test_speculation_that_comes_true_is_a_first_clause() -> None:
    queue = line(Request("guess", SPECULATION), Request("other", SPECULATION))
    queue.add(Request("early", LATER, 9.0), 0.5)
    queue.promote("other", 1.0)
    assert served(queue, 1.0) == ["other", "early", "guess"]


# --- turns ----------------------------------------------------------------------------------------


def test_nobody_goes_twice_before_another_one_goes_once() -> None:
    queue = line(*(Request("greedy", FIRST) for _ in range(5)), Request("anna", FIRST))
    queue.add(Request("ben", FIRST), 0.0)
    assert served(queue) == ["greedy", "anna", "ben", "greedy", "greedy", "greedy", "greedy"]


def test_who_comes_back_at_once_lets_the_one_pass_who_was_there_before() -> None:
    queue = line(Request("anna", FIRST), Request("ben", FINAL))
    assert queue.take(0.0).owner == "anna"  # type: ignore[union-attr]
    queue.add(Request("anna", FIRST, -1.0), 0.0)
    assert served(queue) == ["ben", "anna"]


def test_early_work_holds_up_nobody_whose_audio_runs_dry() -> None:
    queue = line(
        Request("full", LATER, 8.0), Request("low", LATER, 0.3), Request("low", LATER, 0.6)
    )
    assert served(queue) == ["low", "low", "full"]


def test_batch_work_goes_in_turns_too() -> None:
    queue = line(*(Request("greedy", BATCH) for _ in range(3)), Request("anna", BATCH))
    assert served(queue) == ["greedy", "anna", "greedy", "greedy"]


# --- partials -------------------------------------------------------------------------------------


def test_a_newer_partial_takes_the_place_of_the_older_one() -> None:
    queue = Queue()
    older, newer = Request("anna", PARTIAL), Request("anna", PARTIAL)
    queue.add(older, 0.0)
    queue.add(Request("ben", PARTIAL), 0.1)
    assert queue.add(newer, 0.4) is older
    assert queue.take(0.4) is newer  # the place in line is kept
    assert served(queue) == ["ben"]


def test_partials_of_others_and_finals_stay() -> None:
    queue = line(Request("anna", FINAL), Request("ben", PARTIAL))
    assert queue.add(Request("anna", PARTIAL), 0.0) is None
    assert len(queue) == 3


def test_a_partial_is_replaced_even_in_a_full_queue() -> None:
    queue = Queue(max_waiting=1)
    queue.add(Request("anna", PARTIAL), 0.0)
    queue.add(Request("anna", PARTIAL), 0.0)
    assert len(queue) == 1


# --- bounds ---------------------------------------------------------------------------------------


def test_a_full_queue_refuses() -> None:
    queue = Queue(max_waiting=2)
    queue.add(Request("anna", FIRST), 0.0)
    queue.add(Request("ben", FIRST), 0.0)
    with pytest.raises(AtCapacity):
        queue.add(Request("cleo", FIRST), 0.0)


def test_nobody_may_fill_the_queue_alone() -> None:
    queue = Queue(max_per_owner=2)
    for _ in range(2):
        queue.add(Request("greedy", FIRST), 0.0)
    with pytest.raises(RateLimited):
        queue.add(Request("greedy", FIRST), 0.0)
    queue.add(Request("anna", FIRST), 0.0)


def test_who_leaves_is_forgotten() -> None:
    queue, leaving = Queue(max_per_owner=1), Request("anna", FIRST)
    queue.add(leaving, 0.0)
    queue.discard(leaving)
    queue.discard(leaving)
    assert queue.take(0.0) is None
    queue.add(Request("anna", FIRST), 0.0)


def test_the_age_of_the_queue_is_that_of_its_oldest() -> None:
    queue = Queue()
    assert queue.oldest_s(5.0) == 0.0
    queue.add(Request("anna", BATCH), 1.0)
    queue.add(Request("ben", FIRST), 2.0)
    queue.take(2.0)
    assert queue.oldest_s(4.0) == 3.0


def test_a_thousand_owners_leave_nothing_behind() -> None:
    queue = Queue(max_waiting=8)
    queue.add(Request("patient", LATER, 1e9), 0.0)
    for number in range(1_000):
        queue.add(Request(f"owner {number}", FIRST), 0.0)
        queue.take(0.0)
    assert len(queue._went) <= 2 * 8 + 1


# --- the rules, in other words --------------------------------------------------------------------


@dataclass
class Judge:
    """Knows the rules of the queue as sentences, and checks every choice against them."""

    queue: Queue
    goes: list[tuple[float, int, str]] = field(default_factory=list)
    came: dict[int, int] = field(default_factory=dict)
    """Request -> number of goes when it came."""
    keep: int = 400

    def came_in(self, request: Request) -> None:
        self.came[id(request)] = len(self.goes)

    def check(self, chosen: Request, waiting: list[Request], now: float) -> None:
        pressing = [r for r in waiting if r.due <= now]
        if pressing:
            assert chosen.due <= now, "who presses goes before who does not"
        for other in pressing:
            if other.owner == chosen.owner:
                assert (other.due, other.purpose, other.number) >= (
                    chosen.due, chosen.purpose, chosen.number,
                ), "an owner's own requests go by their deadlines"  # fmt: skip
            else:
                assert not self._passed_over(other, chosen.owner), "twice before another one once"
                if (other.due, other.purpose) < (chosen.due, chosen.purpose):
                    assert self._has_gone_lately(other.owner, pressing), "the earliest due first"
        if not pressing:
            assert chosen.purpose == min(r.purpose for r in waiting)
            if chosen.purpose is LATER:
                assert chosen.due == min(r.due for r in waiting if r.purpose is LATER)

    def went(self, chosen: Request, now: float) -> None:
        del self.came[id(chosen)]
        self.goes.append((now, len(self.goes), chosen.owner))

    def _passed_over(self, waiting: Request, owner: str) -> bool:
        """Whether `owner` has gone while this pressed, and its own owner has not since."""
        for at, number, who in reversed(self.goes):
            if number < self.came[id(waiting)] or at < waiting.due or who == waiting.owner:
                return False
            if who == owner:
                return True
        return False

    def _has_gone_lately(self, owner: str, pressing: list[Request]) -> bool:
        return any(self._passed_over(other, owner) for other in pressing if other.owner != owner)


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[str, str, Purpose, float | None, float]]:
    step = st.tuples(
        st.sampled_from(("add", "add", "take", "take", "leave", "promote")),
        st.sampled_from("abcd"),
        st.sampled_from(Purpose),
        st.none() | st.floats(-2, 20),
        st.sampled_from((0.0, 0.0, 0.01, 0.2, 1.0)),
    )
    return draw(st.lists(step, max_size=80))


@settings(max_examples=400, deadline=None)
@given(steps())
def test_every_choice_keeps_the_rules(
    todo: list[tuple[str, str, Purpose, float | None, float]],
) -> None:
    queue = Queue(max_waiting=12, max_per_owner=5)
    judge, waiting, now = Judge(queue), list[Request](), 100.0
    for what, owner, purpose, ahead, pause in todo:
        now += pause
        if what == "add":
            request = Request(owner, purpose, None if ahead is None else now + ahead)
            mine = sum(other.owner == owner for other in waiting)
            try:
                replaced = queue.add(request, now)
            except AtCapacity:
                assert len(waiting) == 12
                continue
            except RateLimited:
                assert mine == 5
                continue
            assert now <= request.due <= now + LATEST_DUE_S or replaced is not None
            if replaced is not None:
                waiting.remove(replaced)
            waiting.append(request)
            judge.came_in(request)
            if replaced is not None:
                judge.came[id(request)] = judge.came.pop(id(replaced))
        elif what == "take":
            chosen = queue.take(now)
            assert (chosen is None) == (not waiting)
            if chosen is not None:
                judge.check(chosen, waiting, now)
                waiting.remove(chosen)
                judge.went(chosen, now)
        elif what == "leave" and waiting:
            queue.discard(waiting.pop(0))
        elif what == "promote":
            queue.promote(owner, now)
            assert not any(r.owner == owner and r.purpose is SPECULATION for r in waiting)
        assert len(queue) == len(waiting)


# --- a simulation ---------------------------------------------------------------------------------


@dataclass
class Owner:
    """Somebody who asks, and asks again."""

    name: str
    think_s: float
    """From one answer to the next question, on average."""
    at_once: int = 1
    """Requests that it keeps waiting."""
    got_s: float = 0.0


MIX = (FIRST, FIRST, FINAL, LATER, LATER, LATER, PARTIAL, BATCH, SPECULATION)


@dataclass
class Simulation:
    """Owners and seats in virtual time. A seat's work takes `work_s` on average."""

    owners: list[Owner]
    seats: int
    work_s: float
    seed: int
    mix: tuple[Purpose, ...] = MIX
    check_every: int = 0
    now: float = 0.0
    longest_wait_s: Counter[Purpose] = field(default_factory=Counter)
    most_waiting: int = 0
    """The most who ever waited; and for one who presses, the most goes of others."""
    most_passes: int = 0
    refused: int = 0
    done: int = 0

    def run(self, requests: int) -> None:
        chance, queue = random.Random(self.seed), Queue()
        serial = iter(range(10**9))
        events: list[tuple[float, int, Owner, bool]] = []
        """When, a number against ties, who, and whether a seat falls free."""
        for owner in self.owners:
            for _ in range(owner.at_once):
                heapq.heappush(events, (chance.random() * 0.1, next(serial), owner, False))
        owner_of = {owner.name: owner for owner in self.owners}
        judge, waiting, free = Judge(queue), dict[int, Request](), self.seats
        while events and self.done < requests:
            self.now, _, owner, falls_free = heapq.heappop(events)
            if falls_free:
                free += 1
                self.done += 1
                pause = chance.expovariate(1 / owner.think_s) if owner.think_s else 0.0
                heapq.heappush(events, (self.now + pause, next(serial), owner, False))
            else:
                purpose = self.mix[int(chance.random() * len(self.mix))]
                deadline = self.now + 3 * chance.random() if purpose is LATER else None
                request = Request(owner.name, purpose, deadline)
                replaced = queue.add(request, self.now)
                if self.check_every:
                    judge.came_in(request)
                    waiting[id(request)] = request
                if replaced is not None:  # its owner asks anew later on
                    self.refused += 1
                    if self.check_every:
                        judge.came[id(request)] = judge.came.pop(id(replaced))
                        del waiting[id(replaced)]
                    again = self.now + chance.expovariate(1 / (owner.think_s or self.work_s))
                    heapq.heappush(events, (again, next(serial), owner, False))
                self.most_waiting = max(self.most_waiting, len(queue))
            while free and (chosen := queue.take(self.now)) is not None:
                if self.check_every:
                    if self.done % self.check_every == 0:
                        judge.check(chosen, list(waiting.values()), self.now)
                    judge.went(chosen, self.now)
                    del waiting[id(chosen)]
                free -= 1
                waited_s = self.now - chosen.arrived
                if waited_s > self.longest_wait_s[chosen.purpose]:
                    self.longest_wait_s[chosen.purpose] = waited_s  # type: ignore[assignment]
                who = owner_of[chosen.owner]
                work_s = self.work_s * (0.5 + chance.random())
                who.got_s += work_s
                heapq.heappush(events, (self.now + work_s, next(serial), who, True))


def jain(shares: list[float]) -> float:
    """Jain's index (Jain, Chiu, Hawe 1984): 1 when all have the same, 1/n when one has all."""
    return sum(shares) ** 2 / (len(shares) * sum(share**2 for share in shares))


def crowd(seed: int, requests: int, check_every: int) -> Simulation:
    """Two seats, which sixteen talkers would half fill, and four pushers would fill alone."""
    talkers = [Owner(f"talker {n}", think_s=2.7) for n in range(16)]
    pushers = [Owner(f"pusher {n}", think_s=0.6, at_once=3) for n in range(4)]
    simulation = Simulation(talkers + pushers, 2, 0.2, seed, check_every=check_every)
    simulation.run(requests)
    return simulation


@settings(max_examples=10, deadline=None)
@given(st.integers(0, 2**32))
def test_a_crowd_of_five_thousand_requests_keeps_the_rules(seed: int) -> None:
    simulation = crowd(seed, 5_000, check_every=1)
    assert simulation.done == 5_000
    assert simulation.most_waiting <= 16 + 4 * 3


def test_among_a_million_requests_nobody_starves() -> None:
    simulation = crowd(1, 1_000_000, check_every=997)
    assert simulation.done == 1_000_000
    assert simulation.most_waiting <= 16 + 4 * 3
    # Once it presses, all 19 others go at most once before its owner does, of at most 0.3 s each
    # at two seats; and a pusher's own three go one after the other.
    rounds_s = 3 * (19 * 0.3 / 2 + 0.3)
    for purpose, longest_s in simulation.longest_wait_s.items():
        patience_s = 3.0 if purpose is LATER else PATIENCE_S[purpose]
        assert longest_s <= patience_s + rounds_s, purpose.name
    assert jain([owner.got_s for owner in simulation.owners[16:]]) > 0.999


@pytest.mark.parametrize(("seats", "think_s"), [(1, 0.3), (2, 0.1), (3, 0.0)])
def test_one_greedy_of_eight_gets_hardly_more_than_its_share(seats: int, think_s: float) -> None:
    """What the modest leave, in their pauses, is the greedy one's to take: nothing lies idle."""
    modest = [Owner(f"modest {n}", think_s, at_once=1) for n in range(7)]
    greedy = Owner("greedy", think_s=0.0, at_once=16)
    simulation = Simulation([*modest, greedy], seats, 0.3, seed=7, mix=(FIRST, FINAL))
    simulation.run(20_000)
    assert jain([owner.got_s for owner in simulation.owners]) >= 0.95


def test_speculation_under_a_flood_waits_its_patience_and_a_round() -> None:
    flood = [Owner(f"flood {n}", think_s=0.0, at_once=4) for n in range(6)]
    for owner in flood:
        owner.think_s = 0.0
    simulation = Simulation(flood, 1, 0.1, seed=3, mix=(FIRST,) * 9 + (SPECULATION,))
    simulation.run(20_000)
    # All 24 that can wait, of at most 0.15 s each, may be due before it.
    assert PATIENCE_S[SPECULATION] < simulation.longest_wait_s[SPECULATION] <= 3.0 + 24 * 0.15


def test_without_turns_the_greedy_one_would_have_most_of_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(Queue, "_in_turn", lambda queue, requests, since: list(requests))
    modest = [Owner(f"modest {n}", 0.3) for n in range(7)]
    simulation = Simulation([*modest, Owner("greedy", 0.0, 16)], 1, 0.3, seed=7, mix=(FIRST,))
    simulation.run(20_000)
    assert jain([owner.got_s for owner in simulation.owners]) < 0.5
