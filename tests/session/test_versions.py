"""Files of older versions go on under this one with all that is in them; one of a newer is left."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from pipeline.errors import StoreFailed
from session import sqlite_store
from session.keeping import Keeping
from session.sqlite_store import FILE, MIGRATIONS, SqliteStore
from session.store import Record
from tests.support import call, live_server

STORED = Path(__file__).parent / "stored"
FILES = sorted(STORED.glob("version_*.sql"))
TOKENS = {
    "parked": "kpW0SyqSHFH37wCUll8OPhbFwWsc3sXgNKXfaUhD31Y",
    "killed": "H8ftGgm6fhdR6OISG0Fatk5yX1F_2BWMTvIB-tN47ZM",
}
"""As the clients of the first version hold them."""
REPLY = "This is a scripted reply. It has two sentences."
SAID = {
    "parked": ["What was said before?", REPLY, "And then?", REPLY],
    "killed": ["Who was here?", REPLY],
}


def restored(dump: Path, folder: Path) -> Path:
    """The file that a version made; what it parked can be resumed for ever."""
    with closing(sqlite3.connect(folder / FILE)) as db:
        db.executescript(dump.read_text())
        db.execute("PRAGMA journal_mode = WAL")
        with db:
            db.execute("UPDATE sessions SET until = 9e9 WHERE until IS NOT NULL")
    return folder


def schema(folder: Path) -> list[tuple[str]]:
    with closing(sqlite3.connect(folder / FILE)) as db:
        rows = db.execute("SELECT sql FROM sqlite_master ORDER BY name").fetchall()
    return [(" ".join(sql.split()),) for (sql,) in rows if sql]


async def opened(folder: Path) -> None:
    store = SqliteStore(folder, 10_000_000)
    try:
        await store.open(0.0)
    finally:
        await store.close()


def test_there_is_a_file_of_every_version_there_was() -> None:
    assert [file.stem for file in FILES] == [f"version_{one + 1}" for one in range(len(MIGRATIONS))]


@pytest.mark.parametrize("dump", FILES, ids=lambda file: file.stem)
async def test_an_older_versions_sessions_go_on_where_they_were(dump: Path, tmp_path: Path) -> None:
    folder = restored(dump, tmp_path)
    async with live_server(ANTIPHON_DATA_DIR=str(folder)) as server:
        for how, token in TOKENS.items():
            async with call(server.ws_url, {"resume": token, "speed": 4.0}) as caller:
                welcome = caller.of("welcome")[0]
                assert welcome["resumed"] is True
                assert [item["text"] for item in welcome["history"]] == SAID[how]
                assert welcome["next_turn"] == len(SAID[how]) // 2 + 1
                await caller.say("text", text="And now?")
                assert (await caller.play())["saved"] is True


@pytest.mark.parametrize("dump", FILES, ids=lambda file: file.stem)
async def test_an_older_file_becomes_one_as_this_version_makes_it(
    dump: Path, tmp_path: Path
) -> None:
    (tmp_path / "old").mkdir()
    await opened(restored(dump, tmp_path / "old"))
    await opened(tmp_path / "new")
    assert schema(tmp_path / "old") == schema(tmp_path / "new")


async def test_a_step_that_fails_leaves_the_file_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = restored(FILES[-1], tmp_path)
    before = schema(folder)
    with monkeypatch.context() as patched:
        step = "ALTER TABLE sessions ADD COLUMN mood TEXT; UPDATE nowhere SET mood = 'good'"
        patched.setattr(sqlite_store, "MIGRATIONS", (*MIGRATIONS, step))
        with pytest.raises(StoreFailed, match="no such table: nowhere"):
            await opened(folder)
    assert schema(folder) == before
    await opened(folder)


async def test_one_that_this_version_cannot_read_hides_no_other(tmp_path: Path) -> None:
    folder = restored(FILES[-1], tmp_path)
    store = SqliteStore(folder, 10_000_000)
    async with Keeping(store, 600.0) as keeping:
        later = b'{"format": 99}'
        await store.save(Record("s_later", None, (b"token",), 9e9, later))
        assert len(await keeping.all_parked()) == len(TOKENS)
