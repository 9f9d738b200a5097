"""Sessions in SQLite: what is confirmed is there, whoever dies, and what does not fit is told."""

from __future__ import annotations

import asyncio
import sqlite3
import stat
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from pipeline.errors import StoreFailed
from session import sqlite_store
from session.sqlite_store import FILE, SqliteStore
from session.store import Record

ROOT = Path(__file__).parents[2]
KILLS = 200


def record(
    session: str = "s_1", user: str | None = None, token: bytes = b"token",
    until: float | None = None, body: bytes = b"{}",
) -> Record:  # fmt: skip
    return Record(session, user, (token,), until, body)


@asynccontextmanager
async def opened(
    folder: Path, most_bytes: int = 10_000_000, until: float = 2_000.0, now: float = 1_000.0
) -> AsyncIterator[SqliteStore]:
    store = SqliteStore(folder, most_bytes, clock=lambda: now)
    await store.open(until)
    try:
        yield store
    finally:
        await store.close()


async def test_what_a_dead_server_had_is_parked_and_a_living_ones_is_not(tmp_path: Path) -> None:
    async with opened(tmp_path) as living:
        await living.save(record("here", token=b"here"))
        dead = SqliteStore(tmp_path, 10_000_000)
        await dead.open(2_000.0)
        await dead.save(record("orphan", token=b"orphan"))
        await dead.close()  # its lock is let go, as a kill would; its session is still its own
        third = SqliteStore(tmp_path, 10_000_000)
        await third.open(until=3_000.0)
        assert [await third.count(now) for now in (2_999.0, 3_000.0)] == [1, 0]
        await third.close()


async def test_one_that_is_taken_for_dead_goes_on_writing(tmp_path: Path) -> None:
    async with opened(tmp_path) as living:
        await living.save(record())
        for lock in (tmp_path / "servers").iterdir():
            lock.unlink()  # somebody cleans up
        async with opened(tmp_path) as other:
            assert await other.count(1_000.0) == 1
            await living.save(record(body=b"newer"))
            assert await other.count(1_000.0) == 0


async def test_what_a_server_had_that_died_for_good_is_found_by_another_and_expires(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, until=2_000.0, now=1_000.0) as living:
        dead = SqliteStore(tmp_path, 10_000_000)
        await dead.open(2_000.0)
        await dead.save(record("orphan", "anna", token=b"orphan"))
        await living.save(record("here", token=b"here"))
        await living.expire(5_000.0, 0.0)
        assert await living.count(1_000.0) == 0  # it lives, however long ago it wrote
        await dead.close()
        await living.expire(5_010.0, 0.0)
        assert [await living.count(now) for now in (6_009.0, 6_010.0)] == [1, 0]
        await living.expire(6_010.0, 0.0)
        assert not await living.of_user("anna")
        assert await living.knows("here", b"here", None, 6_010.0)


async def test_a_users_data_leaves_the_file_and_its_log(tmp_path: Path) -> None:
    async with opened(tmp_path) as store:
        await store.save(record("s_1", "anna", b"a", until=1_500.0, body=b"a secret of hers"))
        await store.save(record("s_2", "ben", b"b", until=1_500.0, body=b"a secret of his"))
        assert await store.forget_user("anna") == 1
        there = written(tmp_path)
    assert b"a secret of hers" not in there
    assert b"a secret of his" in there


async def test_a_reader_that_leaves_is_waited_for_before_a_user_is_said_to_be_forgotten(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path) as store:
        await store.save(record("s_1", "anna", body=b"a secret of hers"))
        reader = reads(tmp_path)
        forgetting = asyncio.create_task(store.forget_user("anna"))
        await asyncio.sleep(0)  # it has begun
        await store.save(record("s_2"))  # nobody else is held up
        assert not forgetting.done()
        reader.close()
        assert await forgetting == 1
        assert b"a secret of hers" not in written(tmp_path)


async def test_with_a_reader_that_stays_nobody_is_said_to_be_forgotten_until_it_is_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "EMPTY_S", 0.0)
    async with opened(tmp_path) as store:
        await store.save(record("s_1", "anna", body=b"a secret of hers"))
        reader = reads(tmp_path)
        with pytest.raises(StoreFailed, match="cannot be emptied"):
            await store.forget_user("anna")
        reader.close()
        assert await store.forget_user("anna") == 0
        assert b"a secret of hers" not in written(tmp_path)


def reads(folder: Path) -> sqlite3.Connection:
    """Somebody who reads the file as it is now, until closed: a backup."""
    reader = sqlite3.connect(folder / FILE, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM sessions").fetchone()
    return reader


def written(folder: Path) -> bytes:
    return b"".join(file.read_bytes() for file in folder.glob(f"{FILE}*"))


async def test_only_its_owner_may_read_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    async with opened(folder) as store:
        await store.save(record())
        modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.glob(f"{FILE}*")}
    assert set(modes.values()) == {0o600}, modes


async def test_past_the_bound_those_go_first_that_were_parked_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "MOST_SESSIONS", 3)
    async with opened(tmp_path) as store:
        await store.save(record("live", token=b"live"))
        for number in range(4):
            name = f"s_{number}"
            await store.save(record(name, token=name.encode(), until=1_500.0))
        assert [one.session for one in await store.parked(10)] == ["s_2", "s_3"]
        assert await store.knows("s_1", b"live", None, 1_000.0)


async def test_past_the_bound_in_bytes_too(tmp_path: Path) -> None:
    async with opened(tmp_path, most_bytes=1_000_000) as store:
        for number in range(10):
            name = f"s_{number}"
            body = bytes(200_000)
            await store.save(record(name, token=name.encode(), until=1_500.0, body=body))
        assert [one.session for one in await store.parked(10)] == ["s_7", "s_8", "s_9"]


async def test_a_full_file_refuses_and_keeps_what_it_has(tmp_path: Path) -> None:
    async with opened(tmp_path, most_bytes=1_000_000) as store:
        await store.save(record("first", token=b"first"))  # live ones are never put out
        with pytest.raises(StoreFailed, match="full"):
            await store.save(record("large", token=b"large", body=bytes(2_000_000)))
        assert await store.knows("s_1", b"first", None, 1_000.0)
        await store.save(record("first", token=b"first", body=b"more"))


async def test_a_locked_file_is_waited_for_and_then_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "BUSY_S", 0.05)
    async with opened(tmp_path) as store:
        with sqlite3.connect(tmp_path / FILE, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(StoreFailed, match="locked"):
                await store.save(record())
        other.close()
        await store.save(record())


async def test_whoever_comes_back_while_nothing_can_be_written_goes_on_and_is_stored_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "BUSY_S", 0.05)
    async with opened(tmp_path) as store:
        await store.save(record(until=1_500.0, body=b"said"))
        with sqlite3.connect(tmp_path / FILE, isolation_level=None) as other:
            other.execute("BEGIN IMMEDIATE")
            found = await store.take("s_1", b"token", None, 1_000.0, b"new")
            assert found is not None
            assert found.body == b"said"
            assert await store.take("s_1", b"wrong", None, 1_000.0, b"new") is None
        other.close()
        await store.expire(1_500.0, 0.0)  # it had not been written that it came back
        await store.save(record(token=b"new", body=b"said more"))
        assert await store.knows("s_1", b"new", None, 1_600.0)


async def test_a_file_of_a_newer_version_is_not_touched(tmp_path: Path) -> None:
    async with opened(tmp_path):
        pass
    db = sqlite3.connect(tmp_path / FILE)
    with db:
        db.execute("INSERT INTO migrations VALUES (99, 0)")
    db.close()
    store = SqliteStore(tmp_path, 10_000_000)
    with pytest.raises(StoreFailed, match="newer version"):
        await store.open(0.0)
    await store.close()


async def test_a_file_that_is_no_database_is_said_to_be_none(tmp_path: Path) -> None:
    (tmp_path / FILE).write_bytes(b"this is a letter" * 100)
    store = SqliteStore(tmp_path, 10_000_000)
    with pytest.raises(StoreFailed, match="not a database"):
        await store.open(0.0)
    await store.close()


def test_kills_lose_nothing_that_was_confirmed_and_corrupt_nothing(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, ROOT / "tests/session/killed_writers.py", tmp_path, str(KILLS)],
        cwd=ROOT, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    confirmed = int(done.stdout)
    assert confirmed > KILLS  # more than one save a life, or nothing was tried
    db = sqlite3.connect(tmp_path / FILE)
    assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    db.close()
