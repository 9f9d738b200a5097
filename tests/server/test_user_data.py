"""What is kept of a user, to that user: shown, forgotten, and to nobody else."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from session import sqlite_store
from session.sqlite_store import FILE
from tests.server.speech_client import until
from tests.server.test_gate import BAD, NAMES, Watched, guarded, open_house, session_token, watched
from tests.support import call
from tests.tokens import AUTH, bearer, token

__all__ = ["guarded", "open_house"]

MINE = "/v1/me/data"
ADMIN = bearer("open sesame")


async def said(it: Watched, user: str, text: str) -> str:
    """Something that a user says and that is kept; the token that goes on from there."""
    async with call(it.server.ws_url, {"token": token(user)}) as caller:
        await caller.say("text", text=text)
        assert (await caller.play())["saved"] is True
        resume: str = caller.of("welcome")[0]["resume"]
    await until(lambda: not len(it.server.house.sessions))
    return resume


async def asked(it: Watched, method: str, shown: dict[str, str], route: str = MINE) -> Any:
    answer = await it.http.request(method, route, headers=shown)
    assert answer.status_code == 200, answer.text
    return answer.json()


def counted(it: Watched) -> dict[tuple[str, str], float]:
    samples = it.server.house.metrics._user_data.collect()[0].samples
    return {(one.labels["what"], one.labels["by"]): one.value for one in samples if one.value}


async def test_a_user_is_shown_what_is_kept_of_it_and_of_nobody_else(guarded: Watched) -> None:
    await said(guarded, "anna", "My name is Anna.")
    await said(guarded, "bert", "My name is Bert.")
    shown = await asked(guarded, "GET", bearer(token("anna")))
    assert shown["user"] == "anna"
    assert [one["items"][0]["text"] for one in shown["sessions"]] == ["My name is Anna."]
    answer = await guarded.http.get(MINE, headers=bearer(token("carl")))
    assert answer.json() == {"user": "carl", "sessions": []}
    assert answer.headers["cache-control"] == "no-store"


async def test_a_user_is_forgotten_and_nobody_else(guarded: Watched, tmp_path: Path) -> None:
    annas = await said(guarded, "anna", "My name is Anna.")
    berts = await said(guarded, "bert", "My name is Bert.")
    unused = await session_token(guarded, user="anna")
    async with call(guarded.server.ws_url, {"token": token("anna")}) as live:
        assert await asked(guarded, "DELETE", bearer(token("anna"))) == {
            "user": "anna", "forgotten": 2,
        }  # fmt: skip
        assert await live.closed() == 1000
    files = b"".join(file.read_bytes() for file in tmp_path.glob(f"{FILE}*"))
    assert (b"Anna" in files, b"Bert" in files) == (False, True)
    assert (await asked(guarded, "GET", bearer(token("anna"))))["sessions"] == []
    for user, resume, resumed in (("anna", annas, False), ("bert", berts, True)):
        hello = {"token": token(user), "resume": resume}
        async with call(guarded.server.ws_url, hello) as caller:
            assert caller.of("welcome")[0]["resumed"] is resumed
    async with call(guarded.server.ws_url) as caller:
        await caller.say("hello", token=unused)
        assert await caller.closed() == 4401


async def test_while_somebody_reads_the_file_no_user_is_told_to_be_forgotten(
    guarded: Watched, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite_store, "EMPTY_S", 0.0)
    await said(guarded, "anna", "My name is Anna.")
    reader = sqlite3.connect(tmp_path / FILE, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT COUNT(*) FROM sessions").fetchone()
    answer = await guarded.http.delete(MINE, headers=bearer(token("anna")))
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "TIMEOUT")
    assert answer.headers["retry-after"]
    assert not guarded.of("user_data")
    reader.close()
    await asked(guarded, "DELETE", bearer(token("anna")))
    assert all(b"Anna" not in file.read_bytes() for file in tmp_path.glob(f"{FILE}*"))


async def test_whose_data_was_asked_for_is_counted_and_noted_and_by_whom(tmp_path: Path) -> None:
    async with watched(tmp_path, **AUTH, ANTIPHON_ADMIN_TOKEN="open sesame") as it:
        await said(it, "anna", "My name is Anna.")
        mine = bearer(token("anna"))
        await asked(it, "GET", ADMIN, "/v1/users/anna/data")
        await asked(it, "GET", mine)
        await asked(it, "DELETE", mine)
        await asked(it, "DELETE", ADMIN, "/v1/users/anna/data")
        assert counted(it) == {
            ("exported", "operator"): 1, ("exported", "user"): 1,
            ("forgotten", "user"): 1, ("forgotten", "operator"): 1,
        }  # fmt: skip
        await until(lambda: len(it.of("user_data")) == 4)
        lines = it.of("user_data")
        assert [(line["what"], line["by"], line["sessions"]) for line in lines] == [
            ("exported", "operator", 1), ("exported", "user", 1),
            ("forgotten", "user", 1), ("forgotten", "operator", 0),
        ]  # fmt: skip
        assert {line["user"] for line in lines} == {"anna"}
        assert "My name" not in it.file.read_text()


@pytest.mark.parametrize("spelt", ["a/b", "a%2Fb", "x/data", "https:%2F%2Flogin.example%2Fanna"])
async def test_an_operator_finds_a_user_whose_id_has_slashes(tmp_path: Path, spelt: str) -> None:
    user = unquote(spelt)
    async with watched(tmp_path, **AUTH, ANTIPHON_ADMIN_TOKEN="open sesame") as it:
        await said(it, user, "My name has a slash.")
        shown = await asked(it, "GET", ADMIN, f"/v1/users/{spelt}/data")
        assert (shown["user"], len(shown["sessions"])) == (user, 1)
        forgotten = await asked(it, "DELETE", ADMIN, f"/v1/users/{spelt}/data")
        assert forgotten == {"user": user, "forgotten": 1}
        assert (await asked(it, "GET", bearer(token(user))))["sessions"] == []


@pytest.mark.parametrize("method", ["GET", "DELETE"])
@pytest.mark.parametrize(("shown", "why"), BAD, ids=NAMES)
async def test_a_bad_token_is_shown_nothing(
    guarded: Watched, method: str, shown: str, why: str
) -> None:
    answer = await guarded.http.request(method, MINE, headers=bearer(shown))
    assert answer.status_code == 401
    await guarded.turned_away("token_bad" if why == "token_used" else why)
    assert not counted(guarded)
    assert not guarded.of("user_data")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_without_a_token_nobody_is_shown_anything(guarded: Watched, method: str) -> None:
    answer = await guarded.http.request(method, MINE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")
    await guarded.turned_away("token_missing")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_session_token_shows_nothing_and_is_not_used_up(
    guarded: Watched, method: str
) -> None:
    shown = await session_token(guarded)
    assert (await guarded.http.request(method, MINE, headers=bearer(shown))).status_code == 401
    await guarded.turned_away("token_bad")
    async with call(guarded.server.ws_url, {"token": shown}):
        pass


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_another_site_is_shown_nothing(guarded: Watched, method: str) -> None:
    headers = {**bearer(token()), "Origin": "https://evil.example"}
    assert (await guarded.http.request(method, MINE, headers=headers)).status_code == 403
    await guarded.turned_away("origin")


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_users_token_does_not_open_somebody_elses(tmp_path: Path, method: str) -> None:
    async with watched(tmp_path, **AUTH, ANTIPHON_ADMIN_TOKEN="open sesame") as it:
        for user in ("anna", "bert"):
            answer = await it.http.request(
                method, f"/v1/users/{user}/data", headers=bearer(token("anna"))
            )
            assert answer.status_code == 401
        await it.turned_away("admin", times=2)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_where_nobody_is_asked_nobody_is_known(open_house: Watched, method: str) -> None:
    answer = await open_house.http.request(method, MINE)
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NOT_FOUND")
    assert not +open_house.counted


async def test_asking_again_and_again_is_paid_for(guarded: Watched) -> None:
    shown = bearer(token("anna", limits={"turns_per_minute": 2}))
    for _ in range(2):
        await asked(guarded, "GET", shown)
    answer = await guarded.http.get(MINE, headers=shown)
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "RATE_LIMITED")
    assert int(answer.headers["retry-after"]) > 0
    await asked(guarded, "GET", bearer(token("bert")))
