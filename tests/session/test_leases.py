"""A session's lease in Redis: one owner, and whoever was one before writes nothing any more."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from pipeline.errors import StoreAway, StoreFailed
from session import redis_store
from session.redis_hashes import key
from session.redis_store import LEASE_S, RedisStore
from session.redis_url import client
from session.store import Record, Taken
from tests.session.half_a_cluster import HalfACluster
from tests.session.lease_model import LeaseModel
from tests.valkey import Valkey, valkey
from tests.virtual_time import run

NOW, TTL_S = 1_000.0, 3.0
PATIENT_S = 30.0
"""A busy machine is not an absent Redis."""
GATEWAYS = ("one", "two", "three")


@dataclass
class Clock:
    """Redis' own, in ms."""

    now_ms: int = 1_000_000

    def __call__(self) -> int:
        return self.now_ms


@dataclass
class Gateway:
    """One gateway's store, which does not wait for others to let go."""

    redis: Redis
    name: str
    clock: Clock
    asked: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        async def ask(owner: str, session: str, within_s: float) -> None:
            self.asked.append((owner, session))
            raise StoreAway("in these tests nobody lets go")

        self.store = RedisStore(
            self.redis, self.name, 600.0, ask=ask, clock=lambda: NOW,
            lease_s=TTL_S, lease_clock=self.clock,
        )  # fmt: skip

    async def save(self, body: bytes = b"{}", *, parks: bool = False) -> bool:
        try:
            until = NOW + 600 if parks else None
            await self.store.save(Record("s_1", None, (b"token",), until, body))
        except Taken:
            return False
        return True

    async def claim(self) -> Record | None:
        try:
            return await self.store.take("s_1", b"token", None, NOW, b"token")
        except StoreAway:
            return None

    @property
    def fence(self) -> int:
        return self.store._fences.get("s_1", 0)


async def test_while_a_lease_holds_its_owner_is_asked_and_nobody_else_gets_it(
    redis_url: str,
) -> None:
    async with client(redis_url, PATIENT_S) as redis:
        clock = Clock()
        one, two = Gateway(redis, "one", clock), Gateway(redis, "two", clock)
        assert await one.save()
        assert await two.claim() is None
        assert two.asked == [("one", "s_1")]
        clock.now_ms += 2_900
        assert await one.store.renew() == []
        clock.now_ms += 2_900
        assert await two.claim() is None


async def test_whoever_lets_go_can_be_followed_at_once(redis_url: str) -> None:
    async with client(redis_url, PATIENT_S) as redis:
        clock = Clock()
        one, two = Gateway(redis, "one", clock), Gateway(redis, "two", clock)
        await one.save(b"before")
        assert await one.save(b"what was said", parks=True)
        record = await two.claim()
        assert record is not None
        assert record.body == b"what was said"


async def test_a_write_of_a_former_owner_is_refused_by_its_fence(redis_url: str) -> None:
    async with client(redis_url, PATIENT_S) as redis:
        clock = Clock()
        one, two = Gateway(redis, "one", clock), Gateway(redis, "two", clock)
        await one.save()
        clock.now_ms += 3_000  # it was stopped, and lost its lease
        assert await two.claim() is not None
        assert await two.save(b"newer")
        assert not await one.save(b"late")
        assert not await one.save(b"late", parks=True)
        clock.now_ms += 10_000  # even when nobody has it any more
        assert not await one.save(b"late")
        assert (await two.store.of_user("nobody")) == []
        record = await Gateway(redis, "three", clock).claim()
        assert record is not None
        assert record.body == b"newer"


async def test_it_learns_that_it_lost_it_from_its_next_renewal(redis_url: str) -> None:
    async with client(redis_url, PATIENT_S) as redis:
        clock = Clock()
        one, two = Gateway(redis, "one", clock), Gateway(redis, "two", clock)
        await one.save()
        clock.now_ms += 3_000
        await two.claim()
        assert await one.store.renew() == ["s_1"]
        assert await one.store.renew() == []
        assert await two.store.renew() == []


async def test_leases_are_renewed_while_those_that_were_lost_are_still_being_ended(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "RENEW_S", 0.01)
    clock, told, both = Clock(), set[str](), asyncio.Event()

    async def takes_its_time(session: str) -> None:
        told.add(session)
        if len(told) == 2:
            both.set()
        await asyncio.Event().wait()

    async with client(redis_url, PATIENT_S) as redis:
        one, two = (
            RedisStore(redis, name, 600.0, lost=takes_its_time, lease_s=TTL_S, lease_clock=clock)
            for name in ("one", "two")
        )
        for session in ("s_1", "s_2", "s_3"):
            await one.save(Record(session, None, (b"token",), None, b"{}"))
        clock.now_ms += 3_000
        for session in ("s_1", "s_2"):
            assert await two.take(session, b"token", None, NOW, b"new") is not None
        async with asyncio.timeout(20), asyncio.TaskGroup() as tasks:
            renewing = tasks.create_task(one.renewing())
            await both.wait()
            clock.now_ms += 3_000
            while int(await redis.hget(key("s_3"), "leased") or 0) <= clock.now_ms:
                await asyncio.sleep(0.01)
            renewing.cancel()
        assert told == {"s_1", "s_2"}


def test_leases_at_one_node_are_renewed_in_time_while_another_one_hangs() -> None:
    async def hang(redis: HalfACluster) -> list[float]:
        store = RedisStore(redis, "one", 600.0)
        for number in range(100):
            await store.save(Record(f"s_{number}", None, (b"token",), None, b"{}"))
        renewing = asyncio.ensure_future(store.renewing())
        redis.hangs = True
        await asyncio.sleep(60.0)
        renewing.cancel()
        return redis.gaps_s(asyncio.get_running_loop().time())

    redis = HalfACluster()
    gaps_s = run(hang(redis))
    assert len(gaps_s) == 50
    assert max(gaps_s) < LEASE_S
    assert redis.waited_for < 60, "who hangs is asked again and again for each of them"


async def test_what_was_lost_is_told_though_redis_does_not_say_it_of_all(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis_store, "BATCH", 1)
    async with client(redis_url, PATIENT_S) as redis:
        clock = Clock()
        one, two = Gateway(redis, "one", clock), Gateway(redis, "two", clock)
        await one.save()
        await one.store.save(Record("s_2", None, (b"token",), None, b"{}"))
        clock.now_ms += 3_000
        await two.claim()
        await redis.set(key("s_2"), "no hash")
        assert await one.store.renew() == ["s_1"]
        with pytest.raises(StoreFailed):
            await one.store.renew()


async def test_a_lapsed_lease_that_nobody_claimed_goes_on(redis_url: str) -> None:
    async with client(redis_url, PATIENT_S) as redis:
        clock = Clock()
        one = Gateway(redis, "one", clock)
        await one.save()
        clock.now_ms += 60_000
        assert await one.store.renew() == []
        assert await one.save(b"more")


async def test_a_redis_that_lost_everything_is_filled_again_and_its_fences_only_grow(
    redis_url: str,
) -> None:
    async with client(redis_url, PATIENT_S) as redis:
        clock = Clock()
        one, two = Gateway(redis, "one", clock), Gateway(redis, "two", clock)
        await one.save()
        clock.now_ms += 3_000
        await two.claim()
        await redis.flushall()
        assert await two.store.renew() == []
        assert await two.save(b"all of it")
        assert not await one.save(b"late")


async def test_what_was_forgotten_is_not_brought_back_by_a_late_write(redis_url: str) -> None:
    async with client(redis_url, PATIENT_S) as redis:
        clock = Clock()
        one, two = Gateway(redis, "one", clock), Gateway(redis, "two", clock)
        await one.save()
        await two.store.forget("s_1")
        assert not await one.save(b"late")
        assert await one.claim() is None


# --- how many there are ---------------------------------------------------------------------------


@dataclass
class Hour:
    """The gateways' clock, in Unix seconds, and Redis' with it."""

    now_s: float = 1_000.0

    def __call__(self) -> float:
        return self.now_s

    def redis_ms(self) -> int:
        return round(1000 * self.now_s)


@asynccontextmanager
async def sharing(url: str, hour: Hour, *names: str) -> AsyncIterator[list[RedisStore]]:
    async with client(url, PATIENT_S) as redis:
        yield [
            RedisStore(
                redis, name, 600.0, clock=hour, lease_s=TTL_S, lease_clock=hour.redis_ms
            )
            for name in names
        ]  # fmt: skip


async def test_a_dead_gateways_sessions_count_as_parked_once_their_leases_end(
    redis_url: str,
) -> None:
    hour = Hour()
    async with sharing(redis_url, hour, "one", "two") as (one, two):
        await one.save(Record("s_1", None, (b"token",), None, b"{}"))
        for _ in range(700):  # and one that is renewed never does
            hour.now_s += 1.0
            await one.renew()
            await one.list_ours()
            await two.expire(hour.now_s, 0.0)
        assert await two.count(hour.now_s) == 0
        hour.now_s += TTL_S + 0.001
        assert await two.count(hour.now_s) == 1
        assert [one.session for one in await two.parked(10)] == ["s_1"]
        hour.now_s += 600
        await two.expire(hour.now_s, 0.0)
        assert await two.count(hour.now_s) == 0
        assert await two.take("s_1", b"token", None, hour.now_s, b"new") is None


async def test_a_dead_gateways_session_is_kept_for_its_user_afterwards(redis_url: str) -> None:
    hour = Hour()
    async with sharing(redis_url, hour, "one", "two") as (one, two):
        await one.save(Record("s_1", "anna", (b"token",), None, b"{}"))
        hour.now_s += 700
        await two.expire(hour.now_s, 1_000.0)
        assert [one.session for one in await two.of_user("anna")] == ["s_1"]
        assert await two.count(hour.now_s) == 0
        hour.now_s += 1_000
        await two.expire(hour.now_s, 1_000.0)
        assert not await two.of_user("anna")


@pytest.mark.parametrize("parked", [10, 1_000])
async def test_to_look_after_all_sessions_costs_as_much_with_ten_as_with_a_thousand(
    redis_url: str, parked: int
) -> None:
    hour = Hour()
    async with sharing(redis_url, hour, "one") as (store,), client(redis_url, PATIENT_S) as asked:
        for number in range(parked):
            await store.save(Record(f"s_{number}", None, (b"token",), 1_500.0, b"{}"))
        await asked.config_resetstat()
        await store.expire(hour.now_s, 0.0)
        assert await store.count(hour.now_s) == parked
        assert await store.standing("s_7")
        calls = {name: told["calls"] for name, told in (await asked.info("commandstats")).items()}
        calls.pop("cmdstat_config|resetstat", None)
        assert sum(calls.values()) <= 8, calls


STEPS = st.lists(
    st.tuples(
        st.sampled_from(GATEWAYS),
        st.sampled_from(["save", "park", "claim", "renew"]),
        st.integers(0, 4_000),
    ),
    max_size=25,
)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=STEPS)
def test_redis_does_what_the_rules_say(steps: list[tuple[str, str, int]], a_redis: Valkey) -> None:
    asyncio.run(_compared(steps, a_redis.url))


async def _compared(steps: list[tuple[str, str, int]], url: str) -> None:
    async with client(url, PATIENT_S) as redis:
        await redis.flushall()
        clock, model = Clock(), LeaseModel(int(1000 * TTL_S))
        gateways = {name: Gateway(redis, name, clock) for name in GATEWAYS}
        for number, (name, action, later_ms) in enumerate(steps):
            clock.now_ms += later_ms
            gateway, fence, body = gateways[name], gateways[name].fence, b"%d" % number
            match action:
                case "save" | "park":
                    parks = action == "park"
                    done = await gateway.save(body, parks=parks)
                    assert done == bool(model.save(name, fence, clock.now_ms, body, parks=parks))
                case "claim":
                    record = await gateway.claim()
                    there, got = model.body, model.claim(name, clock.now_ms)
                    assert (record is None) == (got is None)
                    if record is not None:
                        assert (record.body, gateway.fence) == (there, got)
                case _:
                    lost = await gateway.store.renew()
                    if fence:
                        assert (not lost) == model.renew(name, fence, clock.now_ms)


# --- Redis itself ---------------------------------------------------------------------------------


async def test_a_redis_that_is_full_refuses_and_keeps_what_it_has() -> None:
    with valkey("--maxmemory", "4mb", "--maxmemory-policy", "noeviction") as server:
        async with client(server.url, PATIENT_S) as redis:
            store = RedisStore(redis, "one", 600.0)
            await store.save(Record("s_1", None, (b"token",), None, b"first"))
            large = Record("s_2", None, (b"other",), None, bytes(8_000_000))
            with contextlib.suppress(StoreFailed):
                await store.save(large)  # this one fills it
            with pytest.raises(StoreFailed) as refused:
                await store.save(large)
            assert not isinstance(refused.value, StoreAway)
            assert await store.knows("s_1", b"token", None, NOW)


async def test_a_redis_that_is_away_is_said_to_be() -> None:
    failures: list[None] = []
    with valkey() as server:
        async with client(server.url, answer_s=2.0) as redis:
            store = RedisStore(redis, "one", 600.0, failed=lambda: failures.append(None))
            await store.save(Record("s_1", None, (b"token",), None, b"first"))
            server.pause()
            with pytest.raises(StoreAway):
                await store.save(Record("s_1", None, (b"token",), None, b"second"))
            server.go_on()
            await store.save(Record("s_1", None, (b"token",), None, b"third"))
            server.kill()
            with pytest.raises(StoreAway):
                await store.take("s_1", b"token", None, NOW, b"new")
            server.start()
            await store.save(Record("s_1", None, (b"token",), None, b"fourth"))
    assert len(failures) >= 2
