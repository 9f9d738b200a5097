"""Which Redis an address names, and that all three kinds can be talked to."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from redis import Redis as Asked
from redis.asyncio import Redis, RedisCluster
from redis.exceptions import RedisError

from pipeline.errors import RateLimited, SettingsError
from session.buckets import Allowance
from session.budgets import Budgets
from session.gateways import ASKED_AT_ONCE, Gateways
from session.ledger import Ledger
from session.redis_store import RedisStore
from session.redis_url import Client, Cluster, One, Watched, client, close, read
from session.store import Record
from tests.valkey import BINARY, free_port, valkey

MANY = 250
"""More than a client of redis-py's has connections, unless it is told otherwise."""


def test_an_address_of_one_server_is_read_by_the_client_itself() -> None:
    for url in ("redis://cache:6380/2", "rediss://:word@cache/0", "unix:///run/redis.sock"):
        assert read(url) == One(url)


def test_sentinels_are_named_with_the_service_that_they_watch() -> None:
    assert read("redis+sentinel://anna:w%40rd@a:1,b/voice/3") == Watched(
        (("a", 1), ("b", 26_379)), "voice", 3, {"username": "anna", "password": "w@rd"}
    )
    assert read("rediss+sentinel://a/voice") == Watched((("a", 26_379),), "voice", 0, {"ssl": True})


def test_a_cluster_is_named_by_some_of_its_nodes() -> None:
    assert read("redis+cluster://:word@a:7000,[::1]:7001") == Cluster(
        (("a", 7_000), ("::1", 7_001)), {"password": "word"}
    )


@pytest.mark.parametrize(
    "url",
    [
        "", "cache:6379", "http://cache", "redis://", "redis://cache:port", "redis+sentinel://a",
        "redis+cluster://", "redis+cluster://a,", "redis+sentinel://a/voice/first",
        "redis+cluster://:secret@a?x=1",
    ],
)  # fmt: skip
def test_any_other_is_refused_without_being_shown(url: str) -> None:
    with pytest.raises(SettingsError, match="ANTIPHON_REDIS_URL") as refused:
        read(url)
    assert "secret" not in str(refused.value)


async def test_the_client_follows_from_the_address() -> None:
    clients = [client(url) for url in ("redis://a", "redis+sentinel://a/voice")]
    assert all(isinstance(one, Redis) for one in clients)
    assert isinstance(client("redis+cluster://a:7000"), RedisCluster)


@asynccontextmanager
async def aclosing_all(redis: Client) -> AsyncIterator[None]:
    try:
        yield
    finally:
        await close(redis)


async def goes_through(redis: Client) -> None:
    """Every step of a session's life, at once with others'."""
    one, two = RedisStore(redis, "one", 600.0), RedisStore(redis, "two", 600.0)
    for number in range(20):
        await one.save(Record(f"s_{number}", "anna", (b"token",), None, b"{}"))
    assert await one.renew() == []
    until = time.time() + 500.0
    for number in range(20):
        await one.save(Record(f"s_{number}", "anna", (b"token",), until, b"{}"))
    assert len(await one.parked(100)) == 20
    assert await two.take("s_7", b"token", "anna", 0.0, b"new") is not None
    assert await two.count(time.time()) == 19
    assert (await two.standing("s_7"), await two.standing("s_8")) == (False, True)
    assert len(await one.of_user("anna")) == 20
    known = [one.knows("s_8", b"token", "anna", 0.0) for _ in range(MANY)]
    assert all(await asyncio.gather(*known))
    await one.expire(until + 1, 0.0)
    assert await one.forget_user("anna") == 1  # the one that is here


async def letters_arrive(one: Client, two: Client) -> None:
    """What one gateway asks, another answers; the clients are as patient as a mailbox wants."""

    async def answer(kind: str, about: Any) -> Any:
        return f"{kind} {about}"

    async def reader(kind: str, about: Any) -> None:
        return None

    asks = Gateways(one, one, "asks", reader, lambda: None)
    tells = Gateways(two, two, "tells", answer, lambda: None)
    async with asyncio.TaskGroup() as tasks:
        works = [tasks.create_task(work()) for work in (tells.living, tells.listening)]
        async with asyncio.timeout(20):
            while await asks.look() != ("tells",):
                await asyncio.sleep(0.02)
        assert await asks.ask_all("say", "hello", within_s=10.0) == ["say hello"]
        for work in works:
            work.cancel()


async def limits_hold(redis: Client) -> None:
    """Two sessions at once are this user's at all gateways together, and no third."""
    refused: list[str] = []
    ledgers = [Ledger(redis, lambda: None, refused.append) for _ in range(2)]
    budgets = Budgets(Allowance(sessions=2), 10, time.monotonic)
    with budgets.session("anna") as here, budgets.session("anna") as there:
        async with ledgers[0].session("anna", here), ledgers[1].session("anna", there):
            with pytest.raises(RateLimited):
                async with ledgers[0].session("anna", here):
                    pass
    assert refused == ["sessions"]


async def answers(redis: Client) -> None:
    """Wait until somebody does who takes writes."""
    async with asyncio.timeout(30):
        while True:
            try:
                await redis.set("somebody", "writes")
            except (RedisError, OSError):
                await asyncio.sleep(0.05)
            else:
                return


async def test_as_many_resume_at_once_as_a_gateway_that_died_had(redis_url: str) -> None:
    async with client(redis_url, 30.0) as redis, client(redis_url, 30.0) as another:
        one, two = RedisStore(redis, "one", 600.0), RedisStore(another, "two", 600.0)
        until, sessions = time.time() + 500.0, [f"s_{number}" for number in range(MANY)]
        parked = (Record(session, None, (b"token",), until, b"{}") for session in sessions)
        await asyncio.gather(*map(one.save, parked))
        taken = [two.take(session, b"token", None, time.time(), b"new") for session in sessions]
        assert all(await asyncio.gather(*taken))


async def test_as_many_ask_at_once_for_what_a_gateway_that_hangs_had(redis_url: str) -> None:
    failures: list[None] = []

    async def reader(kind: str, about: Any) -> None:
        return None

    async with (
        client(redis_url, 30.0) as redis,
        client(redis_url, 30.0, at_once=ASKED_AT_ONCE) as patient,
    ):
        asks = Gateways(redis, patient, "asks", reader, lambda: failures.append(None))
        asking = [asyncio.ensure_future(asks.ask("hangs", "say", 0, 60.0)) for _ in range(MANY)]
        async with asyncio.timeout(30):
            while (await redis.info("clients"))["blocked_clients"] < MANY:
                await asyncio.sleep(0.02)
        for letter in await redis.lrange("antiphon:mailbox:hangs", 0, -1):
            await redis.rpush(json.loads(letter)[2], "true")
        assert await asyncio.gather(*asking) == MANY * [True]
    assert not failures


async def test_an_address_may_say_how_few_connections_there_are(redis_url: str) -> None:
    async with client(f"{redis_url}?max_connections=2", 30.0) as redis:
        await asyncio.gather(*(redis.set("one", 1) for _ in range(MANY)))


async def test_gateways_share_a_cluster_of_two_nodes(tmp_path: Path) -> None:
    with ExitStack() as stack:
        nodes = []
        for number in range(2):
            bus = free_port()
            node = stack.enter_context(
                valkey(
                    "--cluster-enabled", "yes", "--cluster-port", str(bus),
                    "--cluster-config-file", str(tmp_path / f"nodes-{number}.conf"),
                    "--cluster-node-timeout", "5000",
                )
            )  # fmt: skip
            asked = stack.enter_context(Asked.from_url(node.url))
            asked.execute_command(
                "CLUSTER", "ADDSLOTSRANGE", *((0, 8_191), (8_192, 16_383))[number]
            )
            nodes.append((node, bus, asked))
        (first, _, asks), (second, bus, other) = nodes
        other.execute_command("CLUSTER", "SET-CONFIG-EPOCH", 2)
        asks.execute_command("CLUSTER", "MEET", "127.0.0.1", second.port, bus)
        async with asyncio.timeout(30):
            for asked in (asks, other):
                while b"cluster_state:ok" not in asked.execute_command("CLUSTER", "INFO"):
                    await asyncio.sleep(0.05)
        url = f"redis+cluster://127.0.0.1:{first.port},127.0.0.1:{second.port}"
        async with client(url, 30.0) as redis, client(url, 30.0) as another:
            await answers(redis)
            await goes_through(redis)
            await letters_arrive(redis, another)
            await limits_hold(redis)
        held = [asked.dbsize() for asked in (asks, other)]
        assert all(held), "one node has had it all"


async def test_gateways_go_on_at_the_replica_that_sentinels_promote(tmp_path: Path) -> None:
    folder = ("--dir", str(tmp_path))  # a copy is made by way of a file
    with (
        valkey(*folder) as primary,
        valkey(*folder, "--replicaof", f"127.0.0.1 {primary.port}") as replica,
    ):
        port = free_port()
        conf = tmp_path / "sentinel.conf"
        conf.write_text(
            f"port {port}\nbind 127.0.0.1\nsentinel monitor voice 127.0.0.1 {primary.port} 1\n"
            "sentinel down-after-milliseconds voice 500\nsentinel failover-timeout voice 2000\n"
        )
        with (
            subprocess.Popen(  # noqa: ASYNC220 - a moment's work
                [BINARY, str(conf), "--sentinel"], stdout=subprocess.DEVNULL
            ) as sentinel,
            Asked.from_url(replica.url) as asked,
        ):
            try:
                url = f"redis+sentinel://127.0.0.1:{port}/voice"
                redis, another = client(url, 30.0), client(url, 30.0)
                async with aclosing_all(redis), aclosing_all(another):
                    await answers(redis)
                    await goes_through(redis)
                    await letters_arrive(redis, another)
                    await limits_hold(redis)
                    store = RedisStore(redis, "one", 600.0)
                    await store.save(Record("s_last", None, (b"token",), None, b"{}"))
                    async with asyncio.timeout(30):  # Sentinels promote whom they know of
                        while not (
                            asked.exists("antiphon:session:{s_last}")
                            and f":{replica.port}," in told(port)
                        ):
                            await asyncio.sleep(0.05)
                    primary.kill()
                    await answers(redis)
                    await store.save(Record("s_last", None, (b"token",), None, b"{}"))
                    assert await store.renew() == []
                    assert asked.info("replication")["role"] == "master"
            finally:
                sentinel.kill()


def told(port: int) -> str:
    """Which replicas a Sentinel knows, each by its address."""
    with Asked(port=port, decode_responses=True) as sentinel:
        rows = sentinel.execute_command("SENTINEL", "REPLICAS", "voice")
        return "".join(f"{row['ip']}:{row['port']}," for row in rows)
