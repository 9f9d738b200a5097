"""A session outlasts its connection: what its client, its model, and its operator see of that."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.engines import scripted
from server.voice_socket import NativeTalk
from session import writing
from session.manager import Ticket
from session.sqlite_store import FILE
from tests.contract.chat_backend import ChatBackend, chat_backend, chunk, head, stalls
from tests.support import Caller, LiveServer, call, live_server

LOST = 1001
"""The close code of a browser's page that goes."""


@asynccontextmanager
async def served(**environ: str) -> AsyncIterator[tuple[LiveServer, ChatBackend]]:
    async with (
        chat_backend() as backend,
        live_server(
            ANTIPHON_LLM_ENGINE="openai", ANTIPHON_LLM_BASE_URL=backend.url, **environ
        ) as server,
    ):
        yield server, backend


async def asked(caller: Caller, text: str) -> dict[str, Any]:
    """A typed turn, heard to its end."""
    await caller.say("text", text=text)
    return await caller.play()


def welcome(caller: Caller) -> dict[str, Any]:
    return caller.of("welcome")[0]


async def sessions(server: LiveServer) -> dict[str, int]:
    async with httpx.AsyncClient(base_url=server.url) as http:
        counts: dict[str, int] = (await http.get("/status")).json()["sessions"]
        return counts


async def parked(server: LiveServer, count: int = 1) -> None:
    """Wait until so many are."""
    async with asyncio.timeout(10):
        while (await sessions(server))["parked"] != count:
            await asyncio.sleep(0.01)


async def test_a_lost_connection_parks_the_session_and_its_token_brings_it_back() -> None:
    async with served() as (server, backend):
        async with call(server.ws_url, {"voice": "tone-low"}) as caller:
            token, session = welcome(caller)["resume"], welcome(caller)["session"]
            assert (await asked(caller, "My name is Anna."))["saved"] is True
        await parked(server)
        assert (await sessions(server))["active"] == 0
        async with httpx.AsyncClient(base_url=server.url) as http:
            (listed,) = (await http.get("/admin/sessions")).json()
        assert (listed["id"], listed["state"], listed["turns"]) == (session, "parked", 1)
        async with call(server.ws_url, {"resume": token}) as caller:
            back = welcome(caller)
            assert (back["session"], back["resumed"], back["voice"]) == (session, True, "tone-low")
            assert (back["next_turn"], back["next_reply"]) == (2, 2)
            assert [(item["role"], item["text"]) for item in back["history"]] == [
                ("user", "My name is Anna."),
                ("assistant", "Hello, you."),
            ]
            await asked(caller, "What is my name?")
        said = [message["content"] for message in backend.requests[-1]["messages"][1:]]
        assert said == ["My name is Anna.", "Hello, you.", "What is my name?"]


async def answers(_: object) -> None:
    """What an engine elsewhere does that is there."""


@pytest.mark.parametrize("before", [True, False], ids=["comes back", "is here"])
async def test_whose_voice_was_taken_away_is_answered_by_another(
    before: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine runs elsewhere, as on Ray, and was deployed anew with other voices."""
    monkeypatch.setattr(scripted.ScriptedSynthesizer, "away", False, raising=False)
    monkeypatch.setattr(scripted.ScriptedSynthesizer, "look", answers, raising=False)
    async with served() as (server, _), httpx.AsyncClient(base_url=server.url) as http:
        async with call(server.ws_url, {"voice": "tone-low"}) as caller:
            await asked(caller, "Hello.")
            if not before:
                monkeypatch.setattr(scripted, "TONE_HZ", {"alto": 330.0, "bass": 80.0})
                assert (await asked(caller, "Hello again."))["status"] == "completed"
        await parked(server)
        monkeypatch.setattr(scripted, "TONE_HZ", {"alto": 330.0, "bass": 80.0})
        async with call(server.ws_url, {"resume": welcome(caller)["resume"]}) as back:
            assert (welcome(back)["resumed"], welcome(back)["voice"]) == (True, "alto")
            assert (await asked(back, "Are you there?"))["status"] == "completed"
            await back.say("configure", voice="bass")
            assert (await back.until("configured"))["voice"] == "bass"
            assert (await asked(back, "And now?"))["status"] == "completed"
        listed = (await http.get("/v1/audio/voices")).json()
        assert listed["default"] == "alto"
        assert {"alto", "bass"} <= {voice["id"] for voice in listed["voices"]}
        assert "tone" not in {voice["id"] for voice in listed["voices"]}


async def test_a_token_serves_once() -> None:
    async with served() as (server, _):
        async with call(server.ws_url, {}) as caller:
            token = welcome(caller)["resume"]
            await asked(caller, "Hello.")
        async with call(server.ws_url, {"resume": token}) as caller:
            newer = welcome(caller)["resume"]
            await asked(caller, "Hello again.")  # it has answered the ping long since
        await parked(server)
        async with call(server.ws_url, {"resume": token}) as caller:
            assert welcome(caller)["resumed"] is False
        async with call(server.ws_url, {"resume": newer}) as caller:
            assert welcome(caller)["resumed"] is True


async def test_a_token_that_nobody_knows_begins_a_new_session() -> None:
    async with served() as (server, _), call(server.ws_url, {"resume": "unheard-of"}) as caller:
        new = welcome(caller)
        assert (new["resumed"], new["next_turn"]) == (False, 1)
        assert "history" not in new
        assert new["resume"]


async def test_of_two_connections_the_newest_has_the_session() -> None:
    async with served() as (server, backend), call(server.ws_url, {}) as old:
        await asked(old, "My name is Anna.")
        async with call(server.ws_url, {"resume": welcome(old)["resume"]}) as new:
            assert welcome(new)["resumed"] is True
            assert await old.closed() == 4009
            await asked(new, "What is my name?")
            assert len(backend.requests[-1]["messages"]) == 4
            assert (await sessions(server))["active"] == 1


async def test_of_two_who_come_back_at_the_same_moment_too() -> None:
    async with live_server() as server:
        async with call(server.ws_url, {}) as caller:
            token, session = welcome(caller)["resume"], welcome(caller)["session"]
            await asked(caller, "My name is Anna.")
        for _ in range(20):
            await parked(server)
            async with call(server.ws_url) as older, call(server.ws_url) as newer:
                await older.say("hello", resume=token)
                await newer.say("hello", resume=token)
                back = await newer.until("welcome")
                assert (back["session"], back["resumed"]) == (session, True)
                assert await older.closed() == 4009
                (here,) = server.house.sessions
                assert here.identity.session == session
                token = back["resume"]


@pytest.mark.parametrize("ended", ["by itself", "by bye"])
async def test_at_another_server_too_that_shares_the_folder(tmp_path: Path, ended: str) -> None:
    folder = {"ANTIPHON_DATA_DIR": str(tmp_path)}
    async with (
        live_server(**folder) as one,
        live_server(**folder) as two,
        call(one.ws_url, {}) as old,
    ):
        await old.say("text", text="My name is Anna.")
        end = await old.until("reply_audio_end")
        async with call(two.ws_url, {"resume": welcome(old)["resume"]}) as new:
            assert welcome(new)["resumed"] is True
            await old.say("playback", reply=1, played_ms=end["audio_ms"], done=True)
            if ended == "by bye":
                await old.say("bye")
            done = await old.until("reply_done")
            assert (done["status"], done["saved"]) == ("completed", False)
            assert await old.closed() == (1000 if ended == "by bye" else 4009)
            assert not old.of("warning")
            async with httpx.AsyncClient(base_url=one.url) as http, asyncio.timeout(10):
                while (await http.get("/admin/sessions")).json():
                    await asyncio.sleep(0.01)
            assert welcome(new)["history"][0]["text"] == "My name is Anna."
            await asked(new, "What is my name?")
            token = welcome(new)["resume"]
        await parked(two)
        async with call(two.ws_url, {"resume": token}) as new:
            assert (welcome(new)["resumed"], len(welcome(new)["history"])) == (True, 4)


async def test_it_has_it_in_a_full_house_too() -> None:
    async with (
        live_server(ANTIPHON_MAX_SESSIONS="1", ANTIPHON_WAITING_ROOM="2") as server,
        call(server.ws_url, {}) as old,
        call(server.ws_url) as waiting,
    ):
        await waiting.say("hello")
        await waiting.until("waiting")
        async with call(server.ws_url, {"resume": welcome(old)["resume"]}) as new:
            assert welcome(new)["resumed"] is True
            assert await old.closed() == 4009
            assert not waiting.of("welcome")


async def test_whoever_comes_back_goes_before_those_who_wait() -> None:
    async with live_server(ANTIPHON_MAX_SESSIONS="1", ANTIPHON_WAITING_ROOM="2") as server:
        async with call(server.ws_url, {}) as lost:
            token = welcome(lost)["resume"]
        await parked(server)
        async with call(server.ws_url, {}) as inside, call(server.ws_url) as waiting:
            await waiting.say("hello")
            assert (await waiting.until("waiting"))["position"] == 1
            async with call(server.ws_url) as back:
                await back.say("hello", resume=token)
                assert (await waiting.until("waiting", position=2))["position"] == 2
                await inside.say("bye")
                assert (await back.until("welcome"))["resumed"] is True


async def test_whoever_comes_back_finds_room_where_newcomers_find_none() -> None:
    async with live_server(ANTIPHON_MAX_SESSIONS="1", ANTIPHON_WAITING_ROOM="1") as server:
        async with call(server.ws_url, {}) as lost:
            token = welcome(lost)["resume"]
            await asked(lost, "My name is Anna.")
        await parked(server)
        async with call(server.ws_url, {}) as inside, call(server.ws_url) as waiting:
            await waiting.say("hello")
            await waiting.until("waiting", position=1)
            async with call(server.ws_url) as newcomer:
                await newcomer.say("hello", resume="no token of ours")
                assert (await newcomer.until("error"))["code"] == "AT_CAPACITY"
                assert await newcomer.closed() == 1013
            async with call(server.ws_url) as back:
                await back.say("hello", resume=token)
                await back.until("waiting", position=1)
                await waiting.until("waiting", position=2)
                await inside.say("bye")
                assert (await back.until("welcome"))["next_turn"] == 2
            await waiting.until("welcome")


async def test_the_newest_connection_has_it_where_nobody_may_wait() -> None:
    nobody_waits = {"ANTIPHON_MAX_SESSIONS": "1", "ANTIPHON_WAITING_ROOM": "0"}
    async with (
        live_server(**nobody_waits) as server,
        call(server.ws_url, {}) as old,
        call(server.ws_url, {"resume": welcome(old)["resume"]}) as new,
    ):
        assert welcome(new)["resumed"] is True
        assert await old.closed() == 4009


async def test_a_full_house_hears_no_audio_before_it_refuses() -> None:
    nobody_waits = {"ANTIPHON_MAX_SESSIONS": "1", "ANTIPHON_WAITING_ROOM": "0"}
    async with live_server(**nobody_waits) as server, call(server.ws_url, {}):
        async with call(server.ws_url) as caller:
            await caller.socket.send(bytes(640))
            assert (await caller.until("error"))["code"] == "AT_CAPACITY"
            assert await caller.closed() == 1013
        async with call(server.ws_url) as caller:
            await caller.say("bye")
            assert await caller.closed() == 1000
        async with call(server.ws_url) as caller:
            await caller.say("text", text="let me in")
            assert (await caller.until("error"))["code"] == "BAD_MESSAGE"
            await caller.say("hello")
            assert (await caller.until("error"))["code"] == "AT_CAPACITY"


async def test_a_reply_that_the_loss_cut_ends_at_what_was_heard() -> None:
    async with served() as (server, backend):
        backend.answer = stalls(head(), chunk("This was heard. "), chunk("This was never spoken"))
        async with call(server.ws_url, {}) as caller:
            token = welcome(caller)["resume"]
            await caller.say("text", text="Talk to me.")
            while len(caller.audio.get(1, b"")) < 2 * 12_000:
                await caller.next()
            await caller.say("playback", reply=1, played_ms=500)
            await caller.say("configure", pace="patient")
            await caller.until("configured")
        async with call(server.ws_url, {"resume": token}) as caller:
            *_, cut = welcome(caller)["history"]
        assert (cut["role"], cut["status"]) == ("assistant", "interrupted")
        assert "never" not in cut["text"]
        assert "This was heard.".startswith(cut["text"])


async def test_a_fault_before_it_goes_on_costs_no_session(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("nobody thought of this")

    async with live_server() as server:
        async with call(server.ws_url, {}) as caller:
            token = welcome(caller)["resume"]
            await asked(caller, "My name is Anna.")
        await parked(server)
        with monkeypatch.context() as fault:
            fault.setattr(NativeTalk, "_make_session", broken)
            async with call(server.ws_url) as caller:
                await caller.say("hello", resume=token)
                await caller.closed()
        await parked(server)
        async with call(server.ws_url, {"resume": token}) as caller:
            assert welcome(caller)["history"][0]["text"] == "My name is Anna."


async def test_a_typed_turn_sent_again_after_the_loss_is_not_answered_twice() -> None:
    async with served() as (server, backend):
        async with call(server.ws_url, {}) as caller:
            token = welcome(caller)["resume"]
            await caller.say("text", text="Hello.", id="first")
            await caller.play()
        async with call(server.ws_url, {"resume": token}) as caller:
            await caller.say("text", text="Hello.", id="first")
            assert (await caller.until("transcript"))["turn"] == 1
            await asked(caller, "And now?")
        assert len(backend.requests) == 2


async def test_a_tools_answer_may_come_after_the_loss() -> None:
    tool = {"name": "look_up", "parameters": {"type": "object"}}
    async with live_server(ANTIPHON_LLM_ENGINE="scripted") as server:
        async with call(server.ws_url, {"tools": [tool]}) as caller:
            token = welcome(caller)["resume"]
            await caller.say("text", text='look_up {"word": "antiphon"}')
            wanted = await caller.until("tool_call")
            await caller.until("reply_done")
        async with call(server.ws_url, {"resume": token}) as caller:
            await caller.say("tool_result", call=wanted["call"], output="sung in answer")
            assert (await caller.until("reply_started"))["turn"] == 1


async def test_bye_ends_it_for_good() -> None:
    async with served() as (server, _):
        async with call(server.ws_url, {}) as caller:
            token = welcome(caller)["resume"]
            await caller.say("bye")
            assert await caller.closed() == 1000
        assert (await sessions(server))["parked"] == 0
        async with call(server.ws_url, {"resume": token}) as caller:
            assert welcome(caller)["resumed"] is False


async def test_an_operator_ends_it_for_good_parked_or_not() -> None:
    async with live_server() as server, httpx.AsyncClient(base_url=server.url) as http:
        async with call(server.ws_url, {}) as caller:
            await http.delete(f"/admin/sessions/{welcome(caller)['session']}")
            assert await caller.closed() == 1000
        assert (await sessions(server))["parked"] == 0
        async with call(server.ws_url, {}) as caller:
            session = welcome(caller)["session"]
        await parked(server)
        assert (await http.delete(f"/admin/sessions/{session}")).status_code == 204
        assert (await sessions(server))["parked"] == 0
        assert (await http.delete(f"/admin/sessions/{session}")).status_code == 404


async def test_where_it_is_switched_off_nothing_is_kept(tmp_path: Path) -> None:
    async with live_server(ANTIPHON_RESUME_S="0", ANTIPHON_DATA_DIR=str(tmp_path)) as server:
        async with call(server.ws_url, {"resume": "whatever"}) as caller:
            assert (welcome(caller)["resume"], welcome(caller)["resumed"]) == (None, False)
            assert (await asked(caller, "Hello."))["saved"] is False
        assert (await sessions(server))["parked"] == 0
    assert not list(tmp_path.iterdir())


async def test_while_the_file_is_locked_the_session_goes_on_and_says_so_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "SAVE_S", 0.1)
    monkeypatch.setattr(writing, "REST_S", 0.1)
    async with (
        live_server(ANTIPHON_DATA_DIR=str(tmp_path)) as server,
        call(server.ws_url, {}) as caller,
    ):
        assert (await asked(caller, "One."))["saved"] is True
        other = sqlite3.connect(tmp_path / FILE, isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            for text in ("Two.", "Three."):
                done = await asked(caller, text)
                assert (done["status"], done["saved"]) == ("completed", False)
        finally:
            other.close()
        async with asyncio.timeout(20):
            while not (await asked(caller, "Four."))["saved"]:
                await asyncio.sleep(0.1)
        (warning,) = caller.of("warning")
        assert "cannot be saved" in warning["message"]
        async with httpx.AsyncClient(base_url=server.url) as http:
            metrics = (await http.get("/metrics")).text
        assert 'antiphon_session_writes_total{result="failed"}' in metrics
        assert 'antiphon_session_writes_total{result="failed"} 0.0' not in metrics


async def test_a_folder_that_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    from pipeline.errors import StartError

    (tmp_path / "file").write_text("no folder")
    with pytest.raises(StartError, match="ANTIPHON_DATA_DIR"):
        async with live_server(ANTIPHON_DATA_DIR=str(tmp_path / "file")):
            pass


async def test_a_users_data_is_shown_and_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    anna = property(lambda ticket: "anna", lambda ticket, user: None)  # until users are known
    monkeypatch.setattr(Ticket, "user", anna, raising=False)
    async with live_server() as server, httpx.AsyncClient(base_url=server.url) as http:
        async with call(server.ws_url, {}) as caller:
            token = welcome(caller)["resume"]
            await asked(caller, "My name is Anna.")
        await parked(server)
        async with call(server.ws_url, {}) as live:
            shown = (await http.get("/v1/users/anna/data")).json()
            assert [len(one["items"]) for one in shown["sessions"]] == [0, 2]
            assert shown["sessions"][1]["items"][0]["text"] == "My name is Anna."
            assert (await http.get("/v1/users/ben/data")).json()["sessions"] == []
            gone = (await http.delete("/v1/users/anna/data")).json()
            assert gone["forgotten"] == 2
            assert await live.closed() == 1000
        assert (await http.get("/v1/users/anna/data")).json()["sessions"] == []
        async with call(server.ws_url, {"resume": token}) as caller:
            assert welcome(caller)["resumed"] is False


async def test_a_users_data_is_for_the_admin_alone() -> None:
    async with (
        live_server(ANTIPHON_ADMIN_TOKEN="sesame") as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        for method in ("GET", "DELETE"):
            assert (await http.request(method, "/v1/users/anna/data")).status_code == 401
