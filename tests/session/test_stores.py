"""What every `SessionStore` does: the same tests for SQLite and for Redis."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from session.redis_store import RedisStore
from session.redis_url import client
from session.sqlite_store import SqliteStore
from session.store import Record, SessionStore, Taken

Opened = Callable[[], AbstractAsyncContextManager[SessionStore]]
NOW = 1_000.0


def record(
    session: str = "s_1", user: str | None = None, token: bytes = b"token",
    until: float | None = None, body: bytes = b"{}",
) -> Record:  # fmt: skip
    return Record(session, user, (token,), until, body)


@pytest.fixture(params=["sqlite", "redis"])
def opened(request: pytest.FixtureRequest, tmp_path: Path) -> Opened:
    """Opens one server's store; several opened share what is in it."""
    if request.param == "redis":
        url = request.getfixturevalue("redis_url")
        return lambda: _redis(url)
    return lambda: _sqlite(tmp_path)


@asynccontextmanager
async def _sqlite(folder: Path) -> AsyncIterator[SessionStore]:
    store = SqliteStore(folder, 10_000_000, clock=lambda: NOW)
    await store.open(2_000.0)
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def _redis(url: str, **options: Any) -> AsyncIterator[RedisStore]:
    async with client(url, answer_s=30.0) as redis:
        me = f"gateway-{id(redis)}"
        store = RedisStore(redis, me, 600.0, clock=lambda: NOW, lease_s=0.2, **options)
        await store.open(2_000.0)
        yield store
        await store.close()


async def test_what_is_parked_is_found_by_its_token_alone(opened: Opened) -> None:
    async with opened() as store:
        await store.save(record(until=1_500.0, body=b"said"))
        assert await store.take("s_1", b"other", None, 1_000.0, b"new") is None
        found = await store.take("s_1", b"token", None, 1_000.0, b"new")
        assert found is not None
        assert (found.session, found.body) == ("s_1", b"said")


async def test_a_taken_one_answers_to_its_old_and_its_new_token(opened: Opened) -> None:
    async with opened() as store:
        await store.save(record(until=1_500.0))
        await store.take("s_1", b"token", None, 1_000.0, b"new")
        assert await store.knows("s_1", b"token", None, 1_000.0)
        assert await store.knows("s_1", b"new", None, 1_000.0)


async def test_a_token_is_no_use_to_another_user(opened: Opened) -> None:
    async with opened() as store:
        await store.save(record(user="anna", until=1_500.0))
        for stranger in ("ben", None):
            assert await store.take("s_1", b"token", stranger, 1_000.0, b"new") is None
        assert await store.take("s_1", b"token", "anna", 1_000.0, b"new") is not None


async def test_what_is_kept_no_longer_is_not_found(opened: Opened) -> None:
    async with opened() as store:
        await store.save(record(until=1_500.0))
        assert await store.take("s_1", b"token", None, 1_500.0, b"new") is None
        await store.expire(1_500.0, 0.0)
        assert not await store.parked(10)


async def test_a_known_users_are_kept_for_the_user_but_cannot_be_resumed(opened: Opened) -> None:
    async with opened() as store:
        await store.save(record("s_1", "anna", b"a", until=1_500.0))
        await store.save(record("s_2", None, b"b", until=1_500.0))
        await store.expire(1_600.0, 1_000.0)
        assert await store.take("s_1", b"a", "anna", 1_600.0, b"new") is None
        assert [one.session for one in await store.of_user("anna")] == ["s_1"]
        assert await store.count(1_600.0) == await store.count(2_400.0) == 0
        assert not await store.standing("s_1")
        assert not await store.knows("s_1", b"b", None, 1_400.0)
        await store.expire(2_600.0, 1_000.0)
        assert not await store.of_user("anna")


async def test_whom_another_server_has_taken_cannot_be_saved_here_any_more(opened: Opened) -> None:
    async with opened() as one, opened() as other:
        await one.save(record())
        assert await other.take("s_1", b"token", None, 1_000.0, b"new") is not None
        with pytest.raises(Taken):
            await one.save(record())
        await other.save(record(until=1_500.0))
        assert await one.take("s_1", b"token", None, 1_000.0, b"newer") is not None


async def test_nor_when_that_one_has_parked_it_by_now(opened: Opened) -> None:
    async with opened() as one, opened() as other:
        await one.save(record())
        assert await other.take("s_1", b"token", None, 1_000.0, b"new") is not None
        await other.save(record(token=b"new", until=1_500.0, body=b"newer"))
        for until in (None, 1_500.0):  # its client was there all the time, and leaves now
            with pytest.raises(Taken):
                await one.save(record(until=until))
        back = await one.take("s_1", b"new", None, 1_000.0, b"newest")
        assert back is not None
        assert back.body == b"newer"
        await one.save(record(token=b"newest"))


async def test_a_users_are_forgotten_and_no_other_ones(opened: Opened) -> None:
    async with opened() as store:
        await store.save(record("s_1", "anna", b"a", until=1_500.0))
        await store.save(record("s_2", "anna", b"b"))
        await store.save(record("s_3", "ben", b"c", until=1_500.0))
        assert {one.session for one in await store.of_user("anna")} == {"s_1", "s_2"}
        assert await store.forget_user("anna") == 2
        assert not await store.of_user("anna")
        assert await store.take("s_1", b"a", "anna", NOW, b"new") is None
        assert [one.session for one in await store.parked(10)] == ["s_3"]


@pytest.mark.parametrize("by_another", [True, False])
async def test_what_was_forgotten_is_not_written_again_by_whoever_had_it(
    opened: Opened, by_another: bool
) -> None:
    async with opened() as one, opened() as other:
        await one.save(record("s_1", "anna"))
        assert await (other if by_another else one).forget_user("anna") == 1
        for until in (None, None, 1_500.0):
            with pytest.raises(Taken):
                await one.save(record("s_1", "anna", until=until))
        assert not await other.of_user("anna")


async def test_those_who_may_come_back_are_listed_and_those_who_are_here_are_not(
    opened: Opened,
) -> None:
    async with opened() as store:
        await store.save(record("here", token=b"here"))
        await store.save(record("away", token=b"away", until=1_500.0))
        assert await store.count(NOW) == 1
        assert [await store.standing(one) for one in ("here", "away", "nobody")] == [
            False, True, False,
        ]  # fmt: skip
        assert [one.session for one in await store.parked(10)] == ["away"]
        assert await store.take("away", b"away", None, NOW, b"new") is not None
        assert await store.count(NOW) == 0
        assert not await store.standing("away")


async def test_one_that_is_over_and_kept_for_its_user_cannot_be_resumed(opened: Opened) -> None:
    async with opened() as store:
        await store.save(record("s_1", "anna"))
        await store.save(Record("s_1", "anna", (), 1_500.0, b"{}"))
        assert await store.count(NOW) == 0
        assert not await store.standing("s_1")
        assert not await store.parked(10)
        assert [one.session for one in await store.of_user("anna")] == ["s_1"]
        await store.expire(1_500.0, 400.0)
        assert not await store.of_user("anna")


async def test_one_that_was_over_is_not_found_any_more(opened: Opened) -> None:
    async with opened() as store:
        await store.save(record(until=1_500.0))
        await store.forget("s_1")
        assert await store.take("s_1", b"token", None, NOW, b"new") is None
        assert await store.count(NOW) == 0
        assert not await store.standing("s_1")


async def test_a_session_saved_again_and_again_is_as_it_was_last(opened: Opened) -> None:
    async with opened() as store:
        for number in range(5):
            await store.save(record("s_1", "anna", body=b"%d" % number))
        await store.save(record("s_1", "anna", body=b"last", until=1_500.0))
        found = await store.take("s_1", b"token", "anna", NOW, b"new")
        assert found is not None
        assert (found.user, found.tokens, found.body) == ("anna", (b"token",), b"last")
