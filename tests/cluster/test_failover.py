"""Two gateways behind nginx, with users that talk: one is killed, one is drained, Redis goes away.

CLUSTER_USERS makes it a longer form: 20 users.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.cluster.stage import Cluster, balancer, cluster, doors, laid_out
from tests.cluster.talkers import Talker, history_is_whole
from tests.contract.chat_backend import head, reply, sends
from tests.support import call
from tests.tokens import AUTH, bearer, token

USERS = int(os.environ.get("CLUSTER_USERS", "6"))
BACK_WITHIN_S = 5.0
REDIS_AWAY_S = 10.0
NEWCOMERS = 8
ADMIN = "admin"
# How many turns a minute is no matter here.
KNOWN = {**AUTH, "ANTIPHON_ADMIN_TOKEN": ADMIN, "ANTIPHON_TURNS_PER_MINUTE": "10000"}

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@asynccontextmanager
async def talking(stage: Cluster) -> AsyncIterator[list[Talker]]:
    """Users who talk for as long as the scope, and then stop between two turns."""
    stage.backend.answer = sends(head(), reply("I see. ", "Go on."))
    names = [f"user{number:02}" for number in range(USERS)]
    talkers = [Talker(name, stage.ws_url, bearer(token(name))) for name in names]
    async with asyncio.TaskGroup() as tasks:
        for talker in talkers:
            tasks.create_task(talker.talk())
        await asyncio.gather(*(talker.turns(2) for talker in talkers))
        yield talkers
        for talker in talkers:
            talker.stop = True


async def sessions(url: str) -> dict[str, str]:
    async with httpx.AsyncClient(base_url=url, headers=bearer(ADMIN)) as http:
        rows = (await http.get("/admin/sessions")).json()
    return {row["id"]: row["gateway"] for row in rows if row["state"] != "parked"}


def test_nginx_takes_the_configuration(tmp_path: Path) -> None:
    command = laid_out(tmp_path, 8001, 8002, 8080)
    ran = subprocess.run([*command, "-t"], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert "warn" not in ran.stderr


async def test_of_two_that_were_given_up_the_one_that_is_back_is_asked_at_once(
    tmp_path: Path,
) -> None:
    """One drains just after the other one has come back: nobody is told that there is none."""
    ready = {"one": False, "two": False}
    async with AsyncExitStack() as stack:
        ports = await stack.enter_async_context(doors(ready))
        port = await stack.enter_async_context(balancer(tmp_path, *ports))
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http:
            assert (await http.get("/")).status_code == 503
            for back, away in (("one", "two"), ("two", "one")):
                ready[back], ready[away] = True, False
                answer = await http.get("/")
                assert answer.status_code == 200
                assert answer.headers["x-gateway"] == back


async def test_a_killed_gateways_users_go_on_at_the_other_and_a_drain_loses_nothing(
    tmp_path: Path,
) -> None:
    # The place of a session that its gateway took with it counts for a while, and is waited for.
    async with cluster(tmp_path, **KNOWN, ANTIPHON_SESSIONS_PER_USER="1") as stage:
        async with talking(stage) as talkers:
            spread = await sessions(stage.one.url)
            assert len(spread) == USERS
            assert len(set(spread.values())) == 2, "nginx gave all of them to one gateway"
            await stage.one.kill()
            await asyncio.gather(*(talker.turns(3) for talker in talkers))
            lost = [talker for talker in talkers if talker.away_s]
            assert 0 < len(lost) < USERS
            print("back after", [round(max(talker.away_s), 2) for talker in lost])
            for talker in lost:
                assert [welcome["resumed"] for welcome in talker.welcomes] == [False, True]
                assert talker.welcomes[0]["session"] == talker.welcomes[1]["session"]
                assert max(talker.away_s) <= BACK_WITHIN_S
            for talker in talkers:
                assert history_is_whole(talker, stage.backend), talker.name
            # The first one comes back, and the other one is told to go.
            await stage.one.start()
            before = {talker.name: len(talker.welcomes) for talker in talkers}
            assert await stage.two.drain() == 0
            await asyncio.gather(*(talker.turns(3) for talker in talkers))
            print("after the drain", [round(talker.away_s[-1], 2) for talker in talkers])
            for talker in talkers:
                assert len(talker.welcomes) == before[talker.name] + 1
                assert talker.welcomes[-1]["resumed"] is True
                assert talker.closes[-1] == 1012
                assert talker.away_s[-1] <= BACK_WITHIN_S
                assert history_is_whole(talker, stage.backend), talker.name
        for talker in talkers:
            assert talker.unsaved == 0
            assert set(talker.statuses) == {"completed"}


async def test_newcomers_are_not_kept_waiting_by_a_gateway_that_hangs(tmp_path: Path) -> None:
    async with cluster(tmp_path, ANTIPHON_ADMIN_TOKEN=ADMIN) as stage, AsyncExitStack() as calls:
        for _ in range(4):
            await calls.enter_async_context(call(stage.ws_url, {}))
        spread = Counter((await sessions(stage.one.url)).values())
        assert sorted(spread.values()) == [2, 2]
        stage.one.pause()
        try:
            waited_s = []
            for _ in range(NEWCOMERS):
                began = time.monotonic()
                await calls.enter_async_context(call(stage.ws_url, {}))
                waited_s.append(time.monotonic() - began)
        finally:
            stage.one.go_on()
        print("welcomed after", [round(each, 2) for each in waited_s])
        assert max(waited_s) <= BACK_WITHIN_S
        async with asyncio.timeout(60):  # then it is given its share again
            while True:
                caller = await calls.enter_async_context(call(stage.ws_url, {}))
                here = caller.of("welcome")[0]["session"]
                at = await sessions(stage.one.url)
                (fullest, _), *_ = Counter(at.values()).most_common()
                if at[here] != fullest:
                    break
                await asyncio.sleep(0.5)


async def test_redis_stopped_or_killed_for_ten_seconds_ends_no_session(tmp_path: Path) -> None:
    async with cluster(tmp_path, **KNOWN) as stage:
        async with talking(stage) as talkers:
            stage.redis.pause()
            await asyncio.sleep(REDIS_AWAY_S)
            stage.redis.go_on()
            await asyncio.gather(*(talker.turns(2) for talker in talkers))
            stage.redis.kill()
            await asyncio.sleep(REDIS_AWAY_S)
            stage.redis.start()
            for talker in talkers:
                await healed(talker)
            async with httpx.AsyncClient(base_url=stage.one.url, headers=bearer(ADMIN)) as http:
                metrics = (await http.get("/metrics")).text
            assert 'antiphon_redis_failures_total{work="sessions"} 0.0' not in metrics
        for talker in talkers:
            assert len(talker.welcomes) == 1, talker.closes
            assert set(talker.statuses) == {"completed"}
            assert talker.unsaved
            assert history_is_whole(talker, stage.backend), talker.name


async def healed(talker: Talker) -> None:
    """Until a turn of this user's is saved again."""
    async with asyncio.timeout(60):
        while True:
            unsaved = talker.unsaved
            await talker.turns(1)
            if talker.unsaved == unsaved:
                return
