"""Two gateways that share a Redis: one session, one list, one budget."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets
from redis import Redis

from pipeline.errors import StartError
from tests import recordings
from tests.contract.chat_backend import ChatBackend, chat_backend
from tests.support import SCRIPTED, Caller, LiveServer, call, live_server, server_process, silence
from tests.tokens import SECRET, token
from tests.valkey import lone_cluster, valkey


@asynccontextmanager
async def two_gateways(
    redis_url: str, **environ: str
) -> AsyncIterator[tuple[LiveServer, LiveServer, ChatBackend]]:
    async with chat_backend() as backend:
        shared = {
            "ANTIPHON_REDIS_URL": redis_url,
            "ANTIPHON_LLM_ENGINE": "openai",
            "ANTIPHON_LLM_BASE_URL": backend.url,
            **environ,
        }
        async with live_server(**shared) as one, live_server(**shared) as two:
            yield one, two, backend


def welcome(caller: Caller) -> dict[str, Any]:
    return caller.of("welcome")[0]


async def asked(caller: Caller, text: str) -> dict[str, Any]:
    await caller.say("text", text=text)
    return await caller.play()


async def listed(server: LiveServer) -> dict[str, dict[str, Any]]:
    async with httpx.AsyncClient(base_url=server.url) as http:
        return {row["id"]: row for row in (await http.get("/admin/sessions")).json()}


async def test_a_session_goes_on_at_another_gateway_with_its_history(redis_url: str) -> None:
    async with two_gateways(redis_url) as (one, two, backend):
        async with call(one.ws_url, {}) as caller:
            assert (await asked(caller, "My name is Anna."))["saved"] is True
        async with call(two.ws_url, {"resume": welcome(caller)["resume"]}) as back:
            assert welcome(back)["resumed"] is True
            assert welcome(back)["session"] == welcome(caller)["session"]
            await asked(back, "What is my name?")
        said = [message["content"] for message in backend.requests[-1]["messages"][1:]]
        assert said == ["My name is Anna.", "Hello, you.", "What is my name?"]


async def test_of_two_sockets_at_two_gateways_the_newest_has_the_session(redis_url: str) -> None:
    async with two_gateways(redis_url) as (one, two, _), call(one.ws_url, {}) as old:
        await asked(old, "My name is Anna.")
        async with call(two.ws_url, {"resume": welcome(old)["resume"]}) as new:
            assert welcome(new)["resumed"] is True
            assert await old.closed() == 4009
            assert len(welcome(new)["history"]) == 2
            async with call(one.ws_url, {"resume": welcome(new)["resume"]}) as newest:
                assert welcome(newest)["resumed"] is True
                assert await new.closed() == 4009


async def test_each_gateway_lists_everybody_and_can_end_anybody(redis_url: str) -> None:
    async with two_gateways(redis_url) as (one, two, _):
        async with call(one.ws_url, {}) as lost:
            await asked(lost, "Hello.")
        async with call(one.ws_url, {}) as here, call(two.ws_url, {}) as there:
            ids = [welcome(caller)["session"] for caller in (lost, here, there)]
            for server in (one, two):
                rows = await listed(server)
                assert [rows[session]["state"] for session in ids] == [
                    "parked", "listening", "listening",
                ]  # fmt: skip
                names = [rows[session]["gateway"] for session in ids[1:]]
                assert names == [one.house.name, two.house.name]
            async with httpx.AsyncClient(base_url=one.url) as http:
                detail = await http.get(f"/admin/sessions/{ids[2]}")
                assert detail.json()["gateway"] == two.house.name
                for session in (ids[2], ids[0]):
                    assert (await http.delete(f"/admin/sessions/{session}")).status_code == 204
                assert (await http.delete("/admin/sessions/nobody")).status_code == 404
            assert await there.closed() == 1000
            assert set(await listed(two)) == {ids[1]}
        async with call(two.ws_url, {"resume": welcome(lost)["resume"]}) as caller:
            assert welcome(caller)["resumed"] is False


async def test_a_users_data_is_shown_and_forgotten_from_any_gateway(redis_url: str) -> None:
    known = {"additional_headers": {"Authorization": f"Bearer {token(sub='anna')}"}}
    environ = {"ANTIPHON_AUTH_SECRET": SECRET, "ANTIPHON_ADMIN_TOKEN": "admin"}
    async with two_gateways(redis_url, **environ) as (one, two, _):
        async with call(one.ws_url, {}, **known) as parked:
            await asked(parked, "Remember this.")
        async with call(one.ws_url, {}, **known) as caller:
            await asked(caller, "And that.")
            headers = {"authorization": "Bearer admin"}
            async with httpx.AsyncClient(base_url=two.url, headers=headers) as http:
                shown = (await http.get("/v1/users/anna/data")).json()["sessions"]
                said = {row["items"][0]["text"] for row in shown}
                assert said == {"Remember this.", "And that."}
                gone = (await http.delete("/v1/users/anna/data")).json()
                assert gone["forgotten"] == 2
                assert not (await http.get("/v1/users/anna/data")).json()["sessions"]
            assert await caller.closed() == 1000


async def test_of_a_session_that_does_not_end_at_another_gateway_nothing_is_stored_again(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hangs(*_: object) -> set[str]:
        return set()

    known = {"additional_headers": {"Authorization": f"Bearer {token(sub='anna')}"}}
    admin = {"authorization": "Bearer admin"}
    environ = {"ANTIPHON_AUTH_SECRET": SECRET, "ANTIPHON_ADMIN_TOKEN": "admin"}
    async with (
        two_gateways(redis_url, **environ) as (one, two, _),
        httpx.AsyncClient(base_url=two.url, headers=admin) as http,
        call(one.ws_url, {}, **known) as caller,
    ):
        monkeypatch.setattr(one.house.sessions, "end_user", hangs)
        assert (await http.delete("/v1/users/anna/data")).status_code == 200  # nothing was stored
        await caller.say("text", text="Remember this.")
        assert await caller.closed() == 4009
        assert one.house.keeping is not None
        await one.house.keeping.written()
        assert not await one.house.keeping.of_user("anna")


async def test_a_user_cannot_have_twice_as_much_at_two_gateways(redis_url: str) -> None:
    known = {"additional_headers": {"Authorization": f"Bearer {token(sub='anna')}"}}
    environ = {
        "ANTIPHON_AUTH_SECRET": SECRET, "ANTIPHON_TURNS_PER_MINUTE": "4",
        "ANTIPHON_SESSIONS_PER_USER": "2", "ANTIPHON_CHARACTERS_PER_MINUTE": "1000",
        "ANTIPHON_AUDIO_S_PER_MINUTE": "20",
    }  # fmt: skip
    async with (
        two_gateways(redis_url, **environ) as (one, two, _),
        call(one.ws_url, {}, **known) as here,
        call(two.ws_url, {}, **known) as there,
    ):
        for server in (one, two):  # two sessions there are, and no gateway gives a third
            async with call(server.ws_url, **known) as third:
                assert await third.closed() == 1013
                assert third.of("error")[0]["code"] == "RATE_LIMITED"
        answered = 0
        for number in range(10):
            caller = (here, there)[number % 2]
            await caller.say("text", text="Go on.", id=str(number))
            while True:
                message = await caller.next()
                if isinstance(message, bytes):
                    continue
                if message["type"] == "error":
                    assert message["code"] == "RATE_LIMITED"
                    break
                if message["type"] == "reply_audio_end":
                    answered += 1
                    await caller.say(
                        "playback", reply=message["reply"], played_ms=message["audio_ms"], done=True
                    )
                if message["type"] == "reply_done":
                    break
        assert answered <= 5  # four a minute, and what a slow test takes
        assert answered >= 3
        async with httpx.AsyncClient(headers=known["additional_headers"]) as http:
            spoken = [
                await http.post(
                    f"{server.url}/v1/audio/speech",
                    json={"input": "A word. " * 80, "response_format": "pcm"},
                )
                for server in (one, two)
            ]
            assert [answer.status_code for answer in spoken] == [200, 429]
            # Of the 20 s of audio a microphone at one of them takes 8, a file there 2.
            await here.speak(silence(8.0))
            await here.say("configure", pace="quick")
            await here.until("configured")  # so all of it was heard
            heard = [
                await http.post(
                    f"{server.url}/v1/audio/transcriptions",
                    files={"file": ("a.wav", recordings.wav(recordings.silence(seconds)))},
                )
                for server, seconds in ((one, 2), (two, 19))
            ]
            assert [answer.status_code for answer in heard] == [200, 429]


async def test_at_its_limit_a_user_comes_back_at_another_gateway(redis_url: str) -> None:
    shown = token(sub="anna")
    environ = {"ANTIPHON_AUTH_SECRET": SECRET, "ANTIPHON_SESSIONS_PER_USER": "1"}
    async with (
        two_gateways(redis_url, **environ) as (one, two, _),
        call(one.ws_url, {"token": shown}) as old,
    ):
        await asked(old, "My name is Anna.")
        back = {"token": shown, "resume": welcome(old)["resume"]}
        async with call(two.ws_url, back) as new:
            assert welcome(new)["resumed"] is True
            assert len(welcome(new)["history"]) == 2
            assert await old.closed() == 4009
            async with call(one.ws_url) as other:
                await other.say("hello", token=shown)
                assert await other.closed() == 1013


async def test_a_token_for_one_session_serves_once_whichever_gateway_is_asked(
    redis_url: str,
) -> None:
    known = {"Authorization": f"Bearer {token(sub='anna')}"}
    async with (
        two_gateways(redis_url, ANTIPHON_AUTH_SECRET=SECRET) as (one, two, _),
        httpx.AsyncClient() as http,
    ):

        async def reads(server: LiveServer) -> int:
            shown = {"Authorization": f"Bearer {passed}"}
            return (await http.get(f"{server.url}/v1/models", headers=shown)).status_code

        passed = (await http.post(f"{one.url}/v1/sessions", headers=known)).json()["token"]
        assert (await reads(one), await reads(two)) == (200, 200)
        async with call(two.ws_url, {"token": passed}) as caller:
            assert (await asked(caller, "My name is Anna."))["saved"] is True
            assert (await reads(one), await reads(two)) == (200, 200)
            async with websockets.connect(one.ws_url) as thief:
                await thief.send(json.dumps({"type": "hello", "token": passed}))
                await thief.wait_closed()
                assert thief.close_code == 4401
        back = {"token": passed, "resume": welcome(caller)["resume"]}
        async with call(one.ws_url, back) as again:  # it is the same client: it has both
            assert welcome(again)["resumed"] is True
        unused = (await http.post(f"{two.url}/v1/sessions", headers=known)).json()["token"]
        assert (await http.delete(f"{one.url}/v1/me/data", headers=known)).status_code == 200
        passed = unused
        assert (await reads(one), await reads(two)) == (401, 401)


async def test_while_redis_is_away_sessions_go_on_and_when_it_is_back_all_is_stored() -> None:
    with valkey() as redis:
        async with two_gateways(redis.url, ANTIPHON_IDLE_S="300") as (one, two, _):
            async with call(one.ws_url, {}) as caller, call(two.ws_url, {}) as other:
                await asked(caller, "Before.")
                redis.pause()
                done = await asked(caller, "Meanwhile.")
                assert (done["status"], done["saved"]) == ("completed", False)
                async with call(two.ws_url) as late:
                    await late.say("hello", resume="unknown.s_unknown")
                    assert await late.closed() == 1013
                    (error,) = late.of("error")
                    assert error["code"] == "TIMEOUT"
                    assert error["retry_after_ms"]
                async with httpx.AsyncClient(base_url=two.url) as http:
                    text = (await http.get("/metrics")).text
                assert 'antiphon_redis_failures_total{work="sessions"} 0.0' not in text
                redis.go_on()
                async with asyncio.timeout(60):
                    while not (await asked(caller, "Again."))["saved"]:
                        await asyncio.sleep(0.1)
                assert (await asked(other, "And I."))["status"] == "completed"
            async with call(two.ws_url, {"resume": welcome(caller)["resume"]}) as back:
                said = [item["text"] for item in welcome(back)["history"] if item["role"] == "user"]
                assert said[:3] == ["Before.", "Meanwhile.", "Again."]


async def test_a_redis_that_refuses_writes_costs_nobody_the_conversation() -> None:
    with valkey() as redis, Redis.from_url(redis.url) as operator:
        async with two_gateways(redis.url) as (one, two, _):
            async with call(one.ws_url, {}) as caller:
                assert (await asked(caller, "My name is Anna."))["saved"] is True
            token = welcome(caller)["resume"]
            operator.config_set("maxmemory", 1)
            async with call(two.ws_url) as refused:
                await refused.say("hello", resume=token)
                assert await refused.closed() == 1013
            operator.config_set("maxmemory", 0)
            async with call(two.ws_url, {"resume": token}) as back:
                assert welcome(back)["resumed"] is True
                assert len(welcome(back)["history"]) == 2


async def test_a_gateway_whose_redis_refuses_it_ends_with_a_line_that_says_so() -> None:
    with valkey("--replica-serve-stale-data", "no") as redis:
        with Redis.from_url(redis.url) as operator:
            operator.replicaof("127.0.0.1", 1)
        with pytest.raises(StartError, match=r"^ANTIPHON_REDIS_URL: .*MasterDown"):
            async with live_server(ANTIPHON_REDIS_URL=redis.url):
                pass


async def failures(url: str) -> tuple[float, ...]:
    """How often Redis failed this gateway's sessions, and what it has with others."""
    async with httpx.AsyncClient(base_url=url) as http:
        text = (await http.get("/metrics")).text
    found = re.findall(r'antiphon_redis_failures_total{work="(?:sessions|gateways)"} (\S+)', text)
    assert len(found) == 2
    return tuple(map(float, found))


async def test_a_gateway_whose_redis_cluster_is_lost_goes_on_and_heals(tmp_path: Path) -> None:
    with lone_cluster(tmp_path) as redis:
        environ = {**SCRIPTED, "ANTIPHON_REDIS_URL": redis.url.replace("redis", "redis+cluster", 1)}
        with server_process(**environ) as server:
            async with call(server.ws_url, {}) as caller:
                assert (await asked(caller, "Before."))["saved"] is True
                redis.kill()
                done = await asked(caller, "Meanwhile.")
                assert (done["status"], done["saved"]) == ("completed", False)
                async with asyncio.timeout(60):
                    while min(await failures(server.url)) < 5:
                        await asyncio.sleep(0.1)
                redis.start()
                async with asyncio.timeout(60):
                    while not (await asked(caller, "Again."))["saved"]:
                        await asyncio.sleep(0.1)


@pytest.mark.parametrize("work", ["store.renew", "gateways.look", "ledger._look_after"])
async def test_a_fault_in_what_runs_beside_the_sessions_ends_neither_them_nor_it(
    redis_url: str, monkeypatch: pytest.MonkeyPatch, work: str
) -> None:
    monkeypatch.setattr("server.fellows.AGAIN_S", 0.01)
    known = {"additional_headers": {"Authorization": f"Bearer {token(sub='anna')}"}}
    environ = {"ANTIPHON_AUTH_SECRET": SECRET, "ANTIPHON_REDIS_URL": redis_url}
    async with live_server(**environ) as server, call(server.ws_url, {}, **known) as caller:
        part, name = work.split(".")
        owner = getattr(server.house.fellows, part)
        worked, times = getattr(owner, name), 0
        again = asyncio.Event()

        async def fails_first(*about: Any) -> Any:
            nonlocal times
            times += 1
            if times == 1:
                raise LookupError("nobody foresaw this")
            again.set()
            return await worked(*about)

        monkeypatch.setattr(owner, name, fails_first)
        async with asyncio.timeout(20):
            await again.wait()
        assert (await asked(caller, "I am here."))["saved"] is True


async def test_one_that_was_pushed_out_while_it_was_stopped_is_told_so(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with two_gateways(redis_url) as (one, two, _), call(one.ws_url, {}) as old:
        await asked(old, "Hello.")

        async def hangs(node: str) -> list[str]:
            return []

        fellows = one.house.fellows
        assert fellows is not None
        with monkeypatch.context() as patched:  # it neither renews nor answers
            patched.setattr(fellows.store, "renew", hangs)
            patched.setattr(one.house.sessions, "make_way", lambda session: asyncio.sleep(60))
            async with call(two.ws_url, {"resume": welcome(old)["resume"]}) as new:
                assert welcome(new)["resumed"] is True
                patched.undo()
                assert await old.closed() == 4009
                assert (await asked(new, "I am here."))["saved"] is True
