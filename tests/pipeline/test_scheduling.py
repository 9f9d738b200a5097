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
from pipeline.scheduling import (
    LATEST_DUE_S,
    PATIENCE_S,
    REQUEST_EVERY_S,
    REQUESTS,
    Purpose,
    Queue,
    Request,
)
from tests.support import jain

FIRST, FINAL, LATER = Purpose.FIRST_CLAUSE, Purpose.FINAL, Purpose.LATER_CLAUSE
PARTIAL, BATCH, SPECULATION = Purpose.PARTIAL, Purpose.BATCH, Purpose.SPECULATION
REQUEST, REQUEST_LATER = Purpose.REQUEST, Purpose.REQUEST_LATER


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
    purposes = (SPECULATION, BATCH, REQUEST_LATER, REQUEST, PARTIAL, LATER, FINAL, FIRST)
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
    other = Request("other", SPECULATION)
    queue = line(Request("guess", SPECULATION), other)
    queue.add(Request("early", LATER, 9.0), 0.5)
    other.promote(1.0)
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


def test_what_is_asked_at_once_counts_as_asked_one_after_the_other() -> None:
    queue = Queue()
    for number in range(3):
        queue.add(Request("greedy", FIRST), 0.1 * number)
    queue.take(1.0)
    queue.add(Request("anna", FIRST), 1.2)
    queue.left("greedy", 1.3)
    queue.add(Request("ben", FIRST), 1.4)
    order = []
    for now in (1.5, 1.6, 1.7, 1.8):
        chosen = queue.take(now)
        assert chosen is not None
        order.append(chosen.owner)
        queue.left(chosen.owner, now)
    assert order == ["anna", "greedy", "ben", "greedy"]


def test_who_is_at_an_engine_lets_all_pass_who_press_and_are_at_fewer() -> None:
    queue = Queue()
    for _ in range(4):
        queue.add(Request("greedy", FIRST), 0.0)
    for _ in range(2):
        queue.add(Request("anna", FIRST), 5.0)
    queue.add(Request("guess", SPECULATION), 5.0)
    order = ["greedy", "anna", "greedy", "anna", "greedy", "greedy", "guess"]
    assert served(queue, 5.0) == order


def test_an_owners_own_requests_keep_their_order_however_often_it_leaves() -> None:
    queue = Queue()
    queue.add(Request("anna", SPECULATION), 0.0)
    for now in (10.0, 20.0, 30.0):
        queue.add(Request("anna", FIRST), now)
        queue.left("anna", now + 1.0)
    assert [queue.take(40.0).purpose for _ in range(2)] == [SPECULATION, FIRST]  # type: ignore[union-attr]


def test_who_is_being_served_is_not_late_with_what_else_it_asks_for() -> None:
    queue = line(*(Request("greedy", FIRST) for _ in range(16)))
    queue.take(0.0)
    assert queue.late_s(9.0) == 0.0
    queue.left("greedy", 9.0)
    assert queue.late_s(10.0) == 1.0
    queue.add(Request("anna", FIRST, -5.0), 9.5)
    queue.take(10.0)
    assert queue.late_s(10.0) == 0.5


def test_early_work_holds_up_nobody_whose_audio_runs_dry() -> None:
    queue = line(
        Request("full", LATER, 8.0), Request("low", LATER, 0.3), Request("low", LATER, 0.6)
    )
    assert served(queue) == ["low", "low", "full"]


def test_batch_work_goes_in_turns_too() -> None:
    queue = line(*(Request("greedy", BATCH) for _ in range(3)), Request("anna", BATCH))
    assert served(queue) == ["greedy", "anna", "greedy", "greedy"]


# --- requests over HTTP ---------------------------------------------------------------------------


def test_sessions_go_before_requests_that_came_before_them() -> None:
    queue = line(Request("request", REQUEST))
    queue.add(Request("early", LATER, 9.0), 0.5)
    queue.add(Request("anna", FIRST), 0.6)
    assert served(queue, 0.7) == ["anna", "early", "request"]


def test_first_clauses_of_requests_go_before_any_later_one() -> None:
    queue = line(Request("begun", REQUEST_LATER, 0.1))
    for number in range(5):
        queue.add(Request(f"new {number}", REQUEST), 0.9)
    assert served(queue, 5.0) == [*(f"new {number}" for number in range(5)), "begun"]


def test_of_later_clauses_the_one_goes_first_that_runs_dry_first() -> None:
    queue = line(Request("in 8 s", REQUEST_LATER, 8.0), Request("in 3 s", REQUEST_LATER, 3.0))
    assert served(queue) == ["in 3 s", "in 8 s"]


def test_a_standing_queue_of_requests_delays_a_session_by_one_of_them_a_second() -> None:
    queue, now = line(*(Request(f"r{n}", REQUEST) for n in range(40))), 10.0
    went = []
    for _ in range(20):  # an engine of 0.25 s, and a session that always wants it
        queue.add(Request("anna", FIRST), now)
        chosen = queue.take(now)
        assert chosen is not None
        went.append(chosen.owner)
        now += 0.25
        queue.left(chosen.owner, now)
    assert went.count("anna") == 15
    assert [owner for owner in went if owner != "anna"] == ["r0", "r1", "r2", "r3", "r4"]


def test_a_later_clause_is_not_kept_waiting_for_ever_by_first_ones() -> None:
    queue, now = line(Request("begun", REQUEST_LATER)), 0.0
    for number in range(100):  # more first clauses than the engine can make
        queue.add(Request(f"a{number}", REQUEST), now)
        queue.add(Request(f"b{number}", REQUEST), now)
        now += 0.3
        chosen = queue.take(now)
        assert chosen is not None
        queue.left(chosen.owner, now)
        if chosen.owner == "begun":
            break
    assert now < 8.0


def test_requests_may_wait_without_the_server_being_overloaded() -> None:
    queue = line(Request("request", REQUEST), Request("more", REQUEST_LATER))
    assert queue.late_s(60.0) == 0.0
    queue.add(Request("anna", FIRST), 60.0)
    assert queue.late_s(61.0) == 1.0


def test_a_guess_is_not_late_until_it_has_come_true() -> None:
    """It may stand behind other guesses while engines are free."""
    queue = line(Request("anna", SPECULATION), now=10.0)
    assert queue.take(20.0, guesses=False) is None
    assert queue.late_s(20.0) == 0.0
    ben = Request("ben", SPECULATION)
    queue.add(ben, 20.0)
    ben.promote(20.5)
    assert queue.late_s(21.0) == 0.5
    assert queue.take(21.0, guesses=False).owner == "ben"  # type: ignore[union-attr]


def test_the_place_in_the_queue_counts_those_who_go_before() -> None:
    requests = [Request(name, REQUEST) for name in "abc"]
    queue = line(*requests)
    assert [queue.position(request, 0.1) for request in requests] == [1, 2, 3]
    queue.add(Request("anna", FIRST), 0.1)
    assert queue.position(requests[0], 0.1) == 2


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
    queue = Queue()
    queue.add(Request("patient", LATER, 1e9), 0.0)
    for number in range(1_000):
        queue.add(Request(f"owner {number}", FIRST), 0.0)
        queue.take(0.0)
        queue.left(f"owner {number}", 0.0)
    assert not queue._at_engines
    assert queue._of_owner == {"patient": 1}


# --- the rules, in other words --------------------------------------------------------------------


@dataclass
class Judge:
    """Knows the rules of the queue as sentences, and checks every choice against them."""

    at_engines: Counter[str] = field(default_factory=Counter)
    left_at: dict[str, float] = field(default_factory=dict)
    went_at: dict[str, float] = field(default_factory=dict)
    request_pressed_at: float = float("-inf")

    def check(self, chosen: Request, waiting: list[Request], now: float) -> None:
        pressing = [r for r in waiting if self._presses(r, now)]
        if pressing:
            assert chosen in pressing, "who presses goes before who does not"
        for other in pressing:
            assert self._busy(chosen) <= self._busy(other), "who is at the fewest engines first"
            if other.owner == chosen.owner:
                assert (chosen.due, chosen.purpose) <= (other.due, other.purpose), (
                    "an owner's own requests go by their deadlines"
                )
            elif self._busy(other) == self._busy(chosen):
                assert self._pressed(chosen) <= self._pressed(other), "the earliest due first"
                if not self._busy(other):
                    went = self.went_at.get(chosen.owner, float("-inf"))
                    assert went <= self._pressed(other), "twice before another one once"
        if not pressing:
            assert chosen.purpose == min(r.purpose for r in waiting)
            alike = [r for r in waiting if r.purpose is chosen.purpose]
            if chosen.purpose is not LATER:
                assert self._busy(chosen) == min(map(self._busy, alike)), "turns, here too"
            else:
                assert chosen.due == min(r.due for r in alike), "the first to run dry"

    def _presses(self, request: Request, now: float) -> bool:
        if request.purpose in REQUESTS and now - self.request_pressed_at < REQUEST_EVERY_S:
            return False  # one of them a second is enough
        return request.due <= now

    def went(self, chosen: Request, now: float) -> None:
        if chosen.purpose in REQUESTS and self._presses(chosen, now):
            self.request_pressed_at = now
        self.at_engines[chosen.owner] += 1
        self.went_at[chosen.owner] = now

    def left(self, owner: str, now: float) -> None:
        self.at_engines[owner] -= 1
        self.left_at[owner] = now

    def _busy(self, request: Request) -> int:
        return self.at_engines[request.owner]

    def _pressed(self, request: Request) -> float:
        """Since when it has waited for others only."""
        return max(request.due, self.left_at.get(request.owner, request.due))


@st.composite
def steps(draw: st.DrawFn) -> list[tuple[str, str, Purpose, float | None, float]]:
    step = st.tuples(
        st.sampled_from(("add", "add", "take", "take", "left", "leave", "promote")),
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
    judge, waiting, now = Judge(), list[Request](), 100.0
    at_engines: list[str] = []
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
        elif what == "take":
            chosen = queue.take(now)
            assert (chosen is None) == (not waiting)
            if chosen is not None:
                judge.check(chosen, waiting, now)
                waiting.remove(chosen)
                judge.went(chosen, now)
                at_engines.append(chosen.owner)
        elif what == "left" and at_engines:
            queue.left(at_engines[0], now)
            judge.left(at_engines.pop(0), now)
        elif what == "leave" and waiting:
            queue.discard(waiting.pop(0))
        elif what == "promote":
            for request in waiting:
                if request.owner == owner:
                    request.promote(now)
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
        judge, waiting, free = Judge(), dict[int, Request](), self.seats
        while events and self.done < requests:
            self.now, _, owner, falls_free = heapq.heappop(events)
            if falls_free:
                free += 1
                self.done += 1
                queue.left(owner.name, self.now)
                judge.left(owner.name, self.now)
                pause = chance.expovariate(1 / owner.think_s) if owner.think_s else 0.0
                heapq.heappush(events, (self.now + pause, next(serial), owner, False))
            else:
                purpose = self.mix[int(chance.random() * len(self.mix))]
                deadline = self.now + 3 * chance.random() if purpose is LATER else None
                request = Request(owner.name, purpose, deadline)
                replaced = queue.add(request, self.now)
                if self.check_every:
                    waiting[id(request)] = request
                if replaced is not None:  # its owner asks anew later on
                    self.refused += 1
                    if self.check_every:
                        del waiting[id(replaced)]
                    again = self.now + chance.expovariate(1 / (owner.think_s or self.work_s))
                    heapq.heappush(events, (again, next(serial), owner, False))
                self.most_waiting = max(self.most_waiting, len(queue))
            while free and (chosen := queue.take(self.now)) is not None:
                if self.check_every:
                    if self.done % self.check_every == 0:
                        judge.check(chosen, list(waiting.values()), self.now)
                    del waiting[id(chosen)]
                judge.went(chosen, self.now)
                free -= 1
                waited_s = self.now - chosen.arrived
                if waited_s > self.longest_wait_s[chosen.purpose]:
                    self.longest_wait_s[chosen.purpose] = waited_s  # type: ignore[assignment]
                who = owner_of[chosen.owner]
                work_s = self.work_s * (0.5 + chance.random())
                who.got_s += work_s
                heapq.heappush(events, (self.now + work_s, next(serial), who, True))


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


@pytest.mark.parametrize("seed", range(5))
def test_of_more_than_can_be_served_what_waits_stays_within_both_bounds(seed: int) -> None:
    """They come twice as fast as they are served, whoever waits already, and some leave again."""
    chance, queue, now = random.Random(seed), Queue(max_waiting=32, max_per_owner=5), 0.0
    waiting: list[Request] = []
    refused, most = Counter[type[Exception]](), Counter[str]()
    for _ in range(20_000):
        now += chance.expovariate(2.0)
        request = Request(f"owner {int(16 * chance.random() ** 2)}", chance.choice(list(Purpose)))
        try:
            replaced = queue.add(request, now)
        except (AtCapacity, RateLimited) as error:
            refused[type(error)] += 1
        else:
            waiting = [*(one for one in waiting if one is not replaced), request]
        if waiting and chance.random() < 0.05:
            queue.discard(waiting.pop(chance.randrange(len(waiting))))
        if chance.random() < 0.5 and (chosen := queue.take(now)) is not None:
            waiting.remove(chosen)
            queue.left(chosen.owner, now)
        assert len(queue) == len(waiting)
        most["all"] = max(most["all"], len(waiting))
        most["one"] = max(most["one"], *Counter(one.owner for one in waiting).values(), 0)
    assert (most["all"], most["one"]) == (32, 5)
    assert refused[AtCapacity] > 1_000
    assert refused[RateLimited] > 100


SEATS = pytest.mark.parametrize("seats", [1, 2, 3, 4])


def eight(seats: int, last: Owner, think_s: float, *, at_once: int = 1) -> list[float]:
    """What each of seven owners gets of the engines' time, and `last`, in seats."""
    owners = [*(Owner(f"modest {n}", think_s, at_once) for n in range(7)), last]
    simulation = Simulation(owners, seats, 0.3, seed=7, mix=(FIRST, FINAL))
    simulation.run(20_000)
    return [owner.got_s / simulation.now for owner in owners]


@SEATS
@pytest.mark.parametrize("at_once", [1, 2])
def test_of_eight_who_always_want_more_the_greedy_one_gets_no_more(
    seats: int, at_once: int
) -> None:
    """Max-min fairness: nobody who wants more has less than an equal share."""
    shares = eight(seats, Owner("greedy", 0.0, at_once=16), think_s=0.0, at_once=at_once)
    assert jain(shares) >= 0.999


@SEATS
@pytest.mark.parametrize("think_s", [0.1, 0.3, 1.0, 3.0])
def test_the_greedy_one_takes_what_others_leave_and_costs_them_the_rest_of_a_call(
    seats: int, think_s: float
) -> None:
    """Nothing lies idle for somebody who may come; whoever comes waits for a call to end at most.

    Against an eighth who is like the seven; work takes 0.3 s, so that the rest of a call is half
    of it on average.
    """
    with_greedy = eight(seats, Owner("greedy", 0.0, at_once=16), think_s)
    alike = eight(seats, Owner("eighth", think_s), think_s)
    assert sum(with_greedy[:7]) >= 0.88 * sum(alike[:7])
    assert jain(with_greedy[:7]) >= 0.99


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
    monkeypatch.setattr(Queue, "_rank", lambda queue, request, now: (request.due, request.number))
    shares = eight(1, Owner("greedy", 0.0, at_once=16), think_s=0.3)
    assert jain(shares) < 0.5
