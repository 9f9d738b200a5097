"""Whatever happens to its owners, a pool has everything back, and a seat has one call at a time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.config import PoolConfig
from pipeline.engines.ports import Stop
from pipeline.errors import AntiphonError, SttFailed, Superseded
from pipeline.pool import STT, TTS, Purpose, ResourcePool, Supply


class Engine:
    """Counts with a pause before each number, and knows how many calls it had at once."""

    def __init__(self) -> None:
        self.running = 0
        self.most = 0
        self.begun: list[str] = []

    async def count(self, name: str, to: int, fails: bool, stop: Stop) -> AsyncIterator[int]:
        self.running += 1
        self.most = max(self.most, self.running)
        self.begun.append(name)
        try:
            for number in range(to):
                await asyncio.sleep(0)
                if stop.is_set:
                    return
                yield number
            if fails:
                raise SttFailed("no")
        finally:
            self.running -= 1


@dataclass(frozen=True)
class Visit:
    """One lease: when it is asked for, what for, and when its owner is cancelled, in loop turns."""

    owner: str
    at: int
    purpose: Purpose
    deadline: float | None
    calls: int
    reads: int
    fails: bool
    cancelled_after: int | None


visits = st.lists(
    st.builds(
        Visit,
        owner=st.sampled_from("abcde"),
        at=st.integers(0, 12),
        purpose=st.sampled_from(Purpose),
        deadline=st.none() | st.floats(-1, 1),
        calls=st.integers(0, 2),
        reads=st.integers(0, 4),
        fails=st.booleans(),
        cancelled_after=st.none() | st.integers(0, 25),
    ),
    max_size=14,
)


async def visit(pool: ResourcePool, plan: Visit) -> None:
    for _ in range(plan.at):
        await asyncio.sleep(0)
    with suppress(AntiphonError):
        async with pool.lease(
            STT, plan.owner, purpose=plan.purpose, deadline=plan.deadline
        ) as slot:
            for _ in range(plan.calls):
                left = plan.reads
                async for _ in slot.stream(
                    lambda engine, stop: engine.count(plan.owner, 3, plan.fails, stop)  # type: ignore[attr-defined]
                ):
                    if not left:
                        break
                    left -= 1


async def live(plans: list[Visit], engines: list[Engine], seats: int, guesses: int | None) -> None:
    config = PoolConfig(max_waiting=6, max_waiting_per_owner=3)
    supply = Supply(tuple(engines), seats=seats, guesses=guesses)
    async with ResourcePool({STT: supply}, config) as pool:
        tasks = []
        for plan in plans:
            task = asyncio.ensure_future(visit(pool, plan))
            tasks.append((task, plan.cancelled_after))
        for turn in range(40):
            for task, after in tasks:
                if after == turn:
                    task.cancel()
            pool.promote("a" if turn % 7 == 0 else "b")
            state = pool.status()["stt"]
            assert state.claimed + state.stopping <= seats * len(engines)
            assert state.waiting <= 6
            await asyncio.sleep(0)
        async with asyncio.timeout(20):
            await asyncio.gather(*(task for task, _ in tasks), return_exceptions=True)
            while pool.status()["stt"].stopping:
                await asyncio.sleep(0)
        for owner in "abcde":
            assert pool.claims(owner) == {"stt": 0}
        state = pool.status()["stt"]
        assert (state.claimed, state.busy, state.stopping, state.waiting) == (0, 0, 0, 0)
        station = pool._stations[STT]
        assert not station.granted
        assert not station.claims
        assert all(seat.free for seat in station.instances.seats)
    assert all(not engine.running for engine in engines)
    assert all(engine.most <= seats for engine in engines)


@settings(max_examples=250, deadline=None)
@given(visits, st.integers(1, 2), st.integers(1, 2), st.sampled_from((None, 1)))
def test_cancelled_anywhere_everything_is_given_back(
    plans: list[Visit], engines: int, seats: int, guesses: int | None
) -> None:
    asyncio.run(live(plans, [Engine() for _ in range(engines)], seats, guesses))


@pytest.mark.parametrize("turns", range(30))
async def test_a_lease_cancelled_at_each_point_of_its_life_leaves_nothing(turns: int) -> None:
    engine = Engine()
    async with ResourcePool({STT: [engine]}) as pool:
        before = Visit("a", 0, Purpose.FINAL, None, 1, 9, False, None)
        first = asyncio.ensure_future(visit(pool, before))
        cancelled = Visit("b", 1, Purpose.FINAL, None, 2, 9, False, None)
        second = asyncio.ensure_future(visit(pool, cancelled))
        for _ in range(turns):
            await asyncio.sleep(0)
        second.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        async with asyncio.timeout(5):
            await visit(pool, before)  # the seat is free, or will be
        assert pool.claims("b") == {"stt": 0}
        state = pool.status()["stt"]
        assert (state.claimed, state.busy, state.stopping, state.waiting) == (0, 0, 0, 0)
    assert engine.most == 1


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans()), min_size=1, max_size=16))
def test_one_seat_serves_equals_in_order_and_an_error_does_not_block_the_next(
    calls: list[tuple[int, bool]],
) -> None:
    async def run() -> None:
        engine, outcomes = Engine(), dict[str, object]()

        async def one(name: str, to: int, fails: bool) -> None:
            try:
                async with pool.lease(STT, name, purpose=Purpose.FINAL) as slot:
                    outcomes[name] = [
                        n
                        async for n in slot.stream(
                            lambda engine, stop: engine.count(name, to, fails, stop)  # type: ignore[attr-defined]
                        )
                    ]
            except SttFailed:
                outcomes[name] = "failed"

        async with ResourcePool({STT: [engine]}) as pool, asyncio.TaskGroup() as tasks:
            for number, (to, fails) in enumerate(calls):
                tasks.create_task(one(str(number), to, fails))
        assert engine.most == 1
        assert engine.begun == [str(number) for number in range(len(calls))]
        assert outcomes == {
            str(number): "failed" if fails else list(range(to))
            for number, (to, fails) in enumerate(calls)
        }

    asyncio.run(run())


async def test_the_older_partial_of_two_ends_as_superseded() -> None:
    async with ResourcePool({STT: [Engine()]}) as pool, pool.lease(STT, "ben"):

        async def partial(name: str) -> str:
            async with pool.lease(STT, "anna", purpose=Purpose.PARTIAL):
                return name

        older = asyncio.ensure_future(partial("older"))
        await asyncio.sleep(0)
        newer = asyncio.ensure_future(partial("newer"))
        with pytest.raises(Superseded):
            await older
        assert pool.claims("anna") == {"stt": 1}
        assert pool.status()["stt"].waiting == 1
        newer.cancel()
        await asyncio.gather(newer, return_exceptions=True)


async def test_a_promoted_speculation_goes_before_batch_work() -> None:
    went: list[str] = []
    async with ResourcePool({TTS: [Engine()]}) as pool:

        async def one(owner: str, purpose: Purpose) -> None:
            async with pool.lease(TTS, owner, purpose=purpose):
                went.append(owner)

        async with asyncio.TaskGroup() as tasks, pool.lease(TTS, "ben"):
            tasks.create_task(one("reader", Purpose.BATCH))
            tasks.create_task(one("guess", Purpose.SPECULATION))
            tasks.create_task(one("anna", Purpose.SPECULATION))
            await asyncio.sleep(0)
            assert pool.status()["tts"].waiting == 3
            assert pool.status()["tts"].oldest_ms >= 0
            pool.promote("anna")
    assert went == ["anna", "reader", "guess"]


async def test_guesses_that_run_on_leave_seats_to_real_work() -> None:
    went: list[str] = []
    done = asyncio.Event()
    async with ResourcePool({TTS: Supply((Engine(),), seats=3, guesses=1)}) as pool:

        async def one(owner: str, purpose: Purpose) -> None:
            async with pool.lease(TTS, owner, purpose=purpose):
                went.append(owner)
                await done.wait()

        async with asyncio.TaskGroup() as tasks:

            async def ask(owner: str, purpose: Purpose = Purpose.SPECULATION) -> None:
                tasks.create_task(one(owner, purpose))
                await asyncio.sleep(0)
                await asyncio.sleep(0)

            for owner in ("anna", "ben", "cleo"):
                await ask(owner)
            assert went == ["anna"]
            await ask("typed", Purpose.FIRST_CLAUSE)
            assert went == ["anna", "typed"]
            pool.promote("anna")  # hers is no guess any more: there is room for the next one
            await asyncio.sleep(0)
            assert went == ["anna", "typed", "ben"]
            done.set()
    assert went == ["anna", "typed", "ben", "cleo"]


async def test_a_guess_that_waits_for_others_goes_at_once_when_it_comes_true() -> None:
    async with ResourcePool({TTS: Supply((Engine(),), seats=2, guesses=1)}) as pool:

        async def guess(owner: str) -> None:
            async with pool.lease(TTS, owner, purpose=Purpose.SPECULATION):
                pass

        async with pool.lease(TTS, "anna", purpose=Purpose.SPECULATION):
            waiting = asyncio.ensure_future(guess("ben"))
            await asyncio.sleep(0)
            assert pool.status()["tts"].waiting == 1
            pool.promote("ben")
            await waiting
