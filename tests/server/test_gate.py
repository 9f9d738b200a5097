"""Who may enter over a real connection; whoever may not is told, counted once and noted once."""

from __future__ import annotations

import asyncio
import base64
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import websockets

from server import doorstep, exchange, peer
from server.gate import REASONS
from server.headers import HEADER_BYTES
from server.jwks import KeySet
from tests.server.speech_client import client, until
from tests.server.test_auth import rsa_jwk, signed_rsa
from tests.support import LiveServer, call, live_server
from tests.tokens import AUTH, SECRET, bearer, claims, token

SPEECH = {"input": "Hello.", "response_format": "pcm"}


@dataclass
class Watched:
    """A server, and what it counts and writes down of those it turns away."""

    server: LiveServer
    http: httpx.AsyncClient
    folder: Path

    @property
    def counted(self) -> Counter[str]:
        barred = self.server.house.metrics._barred
        return Counter({why: int(barred.labels(why)._value.get()) for why in REASONS})

    @property
    def file(self) -> Path:
        return self.folder / "audit-8000.jsonl"

    @property
    def noted(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    async def turned_away(self, why: str, times: int = 1) -> dict[str, Any]:
        """It was for this reason, so often, and nobody else was; the last line of the audit."""
        await until(lambda: self.counted[why] >= times)
        await until(lambda: len(self.of("refused")) >= times)
        assert +self.counted == Counter({why: times})
        assert [line["why"] for line in self.of("refused")] == [why] * times
        return self.of("refused")[-1]

    def of(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.noted if line["event"] == event]


@asynccontextmanager
async def watched(folder: Path, **environ: str) -> AsyncIterator[Watched]:
    audit = {"ANTIPHON_AUDIT_MB": "1", "ANTIPHON_DATA_DIR": str(folder)}
    async with live_server(**{**audit, **environ}) as server, client(server.url) as http:
        yield Watched(server, http, folder)


@pytest.fixture
async def guarded(tmp_path: Path) -> AsyncIterator[Watched]:
    """One that asks for tokens."""
    async with watched(tmp_path, **AUTH) as it:
        yield it


@pytest.fixture
async def open_house(tmp_path: Path) -> AsyncIterator[Watched]:
    """One that asks for none."""
    async with watched(tmp_path) as it:
        yield it


def raw_token(**header: Any) -> str:
    parts = (json.dumps(each).encode() for each in (header, claims()))
    return ".".join(base64.urlsafe_b64encode(part).rstrip(b"=").decode() for part in parts) + "."


BAD = [
    (token(secret="another secret of the same length..."), "token_bad"),
    ("nonsense", "token_bad"),
    (token(exp=1), "token_expired"),
    (token(nbf=10**11), "token_early"),
    (token(aud="somebody else"), "token_audience"),
    (raw_token(alg="none"), "token_algorithm"),
    (raw_token(alg="RS256"), "token_algorithm"),
    ("st_never-was-one", "token_used"),
    ("ek_never-was-one", "token_used"),
]
NAMES = [f"{why}-{number}" for number, (_, why) in enumerate(BAD)]


async def refused_handshake(url: str, **options: Any) -> httpx.Response:
    with pytest.raises(websockets.InvalidStatus) as refused:
        await websockets.connect(url, **options)
    answer = refused.value.response
    return httpx.Response(answer.status_code, headers=list(answer.headers.raw_items()))


# --- with a token ---------------------------------------------------------------------------------


async def test_three_ways_to_show_a_token_on_a_socket(guarded: Watched) -> None:
    url = guarded.server.ws_url
    realtime = guarded.server.url.replace("http", "ws") + "/v1/realtime"
    key = f"openai-insecure-api-key.{token('anna')}"
    async with (
        call(url, {}, additional_headers=bearer(token("anna"))),
        call(url, {"token": token("bert")}),
        call(url, {}, subprotocols=["antiphon.v1", key]) as native,
        websockets.connect(realtime, subprotocols=["realtime", key]) as browser,
        websockets.connect(realtime, additional_headers=bearer(token("carl"))),
    ):
        assert (native.socket.subprotocol, browser.subprotocol) == ("antiphon.v1", "realtime")
        await until(lambda: len(guarded.server.house.sessions) == 5)
        listed = (await guarded.http.get("/admin/sessions")).json()
        assert sorted(one["user"] for one in listed) == ["anna", "anna", "anna", "bert", "carl"]
        await until(lambda: len(guarded.of("connected")) == 5)
    assert sorted(line["user"] for line in guarded.of("connected")) == [
        "anna", "anna", "anna", "bert", "carl",
    ]  # fmt: skip
    await until(lambda: len(guarded.of("disconnected")) == 5)
    assert not +guarded.counted


ROUTES = [
    ("POST", "/v1/audio/speech"),
    ("POST", "/v1/audio/transcriptions"),
    ("GET", "/v1/audio/voices"),
    ("GET", "/v1/models"),
    ("POST", "/v1/sessions"),
    ("POST", "/v1/realtime/client_secrets"),
]


@pytest.mark.parametrize(("method", "route"), ROUTES)
async def test_every_route_of_sessions_and_speech_wants_a_token(
    guarded: Watched, method: str, route: str
) -> None:
    answer = await guarded.http.request(method, route)
    assert (answer.status_code, answer.json()["error"]["code"]) == (401, "UNAUTHORIZED")
    assert answer.headers["www-authenticate"] == "Bearer"
    line = await guarded.turned_away("token_missing")
    assert (line["route"], line["request"]) == (route, answer.headers["x-request-id"])
    allowed = await guarded.http.request(method, route, headers=bearer(token()))
    assert allowed.status_code in (200, 400)


@pytest.mark.parametrize("route", ["/", "/healthz", "/readyz", "/web/app.js"])
async def test_the_page_and_the_probes_want_none(guarded: Watched, route: str) -> None:
    assert (await guarded.http.get(route)).status_code == 200


@pytest.mark.parametrize(("shown", "why"), BAD, ids=NAMES)
async def test_a_bad_token_is_refused_before_a_socket_opens(
    guarded: Watched, shown: str, why: str
) -> None:
    answer = await refused_handshake(guarded.server.ws_url, additional_headers=bearer(shown))
    assert (answer.status_code, answer.headers["www-authenticate"]) == (401, "Bearer")
    line = await guarded.turned_away(why)
    assert (line["route"], shown in json.dumps(line)) == ("/ws", False)


@pytest.mark.parametrize(("shown", "why"), BAD, ids=NAMES)
async def test_a_bad_token_in_the_hello_closes(guarded: Watched, shown: str, why: str) -> None:
    async with call(guarded.server.ws_url) as caller:
        await caller.say("hello", token=shown)
        assert await caller.closed() == 4401
        assert [error["code"] for error in caller.of("error")] == ["UNAUTHORIZED"]
    await guarded.turned_away(why)


@pytest.mark.parametrize(("shown", "why"), BAD, ids=NAMES)
async def test_a_bad_token_is_refused_over_http(guarded: Watched, shown: str, why: str) -> None:
    answer = await guarded.http.post("/v1/audio/speech", json=SPEECH, headers=bearer(shown))
    assert answer.status_code == 401
    await guarded.turned_away("token_bad" if why == "token_used" else why)


async def test_a_hello_without_a_token_closes(guarded: Watched) -> None:
    async with call(guarded.server.ws_url) as caller:
        await caller.say("hello")
        assert await caller.closed() == 4401
    await guarded.turned_away("token_missing")


async def test_audio_instead_of_a_hello_closes(guarded: Watched) -> None:
    async with call(guarded.server.ws_url) as caller:
        await caller.socket.send(bytes(640))
        assert await caller.closed() == 4401
    await guarded.turned_away("token_missing")


async def test_silence_instead_of_a_hello_closes(
    guarded: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert doorstep.TOKEN_S == 5.0
    monkeypatch.setattr(doorstep, "TOKEN_S", 0.1)
    async with call(guarded.server.ws_url) as caller:
        assert await caller.closed() == 4401
    await guarded.turned_away("token_missing")


async def test_realtime_without_a_token_is_refused_before_it_opens(guarded: Watched) -> None:
    shown = token()
    url = guarded.server.url.replace("http", "ws") + "/v1/realtime?token=" + shown
    assert (await refused_handshake(url)).status_code == 401
    line = await guarded.turned_away("token_missing")
    assert shown not in json.dumps(line)


async def test_a_token_in_the_address_is_not_looked_at(guarded: Watched) -> None:
    shown = token()
    answer = await guarded.http.get(f"/v1/models?token={shown}&access_token={shown}")
    assert answer.status_code == 401
    await guarded.turned_away("token_missing")
    assert shown not in guarded.file.read_text()


async def test_a_hello_with_a_mistake_may_be_said_again(guarded: Watched) -> None:
    async with call(guarded.server.ws_url) as caller:
        await caller.say("text", text="let me in")
        assert (await caller.until("error"))["code"] == "BAD_MESSAGE"
        await caller.say("hello", token=token(), voice="zelda")
        assert (await caller.until("error"))["code"] == "NOT_FOUND"
        await caller.say("hello")
        await caller.until("welcome")


async def test_strangers_take_no_place(tmp_path: Path) -> None:
    one_place = {"ANTIPHON_MAX_SESSIONS": "1", "ANTIPHON_WAITING_ROOM": "0"}
    async with (
        watched(tmp_path, **AUTH, **one_place) as it,
        call(it.server.ws_url),
        call(it.server.ws_url),
        call(it.server.ws_url, {"token": token()}),
    ):
        pass


async def test_more_strangers_than_there_is_room_for_are_told_to_come_again(
    guarded: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doorstep, "MOST", 1)
    async with call(guarded.server.ws_url):
        await until(lambda: guarded.server.house.doorstep._here == 1)
        async with call(guarded.server.ws_url) as second:
            assert await second.closed() == 1013


async def test_with_a_token_one_comes_back_to_a_full_house_too(tmp_path: Path) -> None:
    one_place = {"ANTIPHON_MAX_SESSIONS": "1", "ANTIPHON_WAITING_ROOM": "0"}
    async with watched(tmp_path, **AUTH, **one_place) as it:
        async with call(it.server.ws_url, {"token": token("anna")}) as lost:
            resume = lost.of("welcome")[0]["resume"]
        await until(lambda: it.server.house.keeping and it.server.house.keeping.parked)
        async with call(it.server.ws_url, {"token": token("bert")}) as inside:
            async with call(it.server.ws_url) as thief:
                await thief.say("hello", token=token("carl"), resume=resume)
                assert await thief.closed() == 1013
            shown = {"additional_headers": bearer(token("anna"))}
            async with call(it.server.ws_url, **shown) as back:
                await back.say("hello", resume=resume)
                await back.until("waiting", position=1)
                await inside.say("bye")
                assert (await back.until("welcome"))["resumed"] is True


# --- session tokens -------------------------------------------------------------------------------


async def session_token(it: Watched, **others: Any) -> str:
    answer = await it.http.post("/v1/sessions", headers=bearer(token(**others)))
    assert answer.headers["cache-control"] == "no-store"
    value: str = answer.json()["token"]
    return value


async def test_a_session_token_lets_its_user_in_once(guarded: Watched) -> None:
    shown = await session_token(guarded, user="anna", limits={"turns_per_minute": 7})
    async with call(guarded.server.ws_url, {"token": shown}) as caller:
        assert caller.of("welcome")[0]["limits"]["turns_per_minute"] == 7
        (session,) = guarded.server.house.sessions
        assert session.identity.user == "anna"
    async with call(guarded.server.ws_url) as again:
        await again.say("hello", token=shown)
        assert await again.closed() == 4401
    await guarded.turned_away("token_used")


async def test_a_token_for_one_session_is_not_spent_on_a_full_house(tmp_path: Path) -> None:
    one_place = {"ANTIPHON_MAX_SESSIONS": "1", "ANTIPHON_WAITING_ROOM": "0"}
    async with watched(tmp_path, **AUTH, **one_place) as it:
        url = it.server.ws_url
        realtime = url.replace("/ws", "/v1/realtime")
        shown = await session_token(it, user="anna")
        given = await it.http.post("/v1/realtime/client_secrets", headers=bearer(token("anna")))
        secret = {"additional_headers": bearer(given.json()["value"])}
        async with call(url, {"token": token("ben")}) as inside:
            for options in ({}, {"additional_headers": bearer(shown)}):
                async with call(url, **options) as caller:
                    await caller.say("hello", token=shown)
                    assert (await caller.until("error"))["code"] == "AT_CAPACITY"
                    assert await caller.closed() == 1013
            async with websockets.connect(realtime, **secret) as socket:
                assert json.loads(await socket.recv())["type"] == "error"
                await socket.wait_closed()
                assert socket.close_code == 1013
            await inside.say("bye")
            await inside.closed()
        async with websockets.connect(realtime, **secret) as socket:
            assert json.loads(await socket.recv())["type"] == "session.created"
        await until(lambda: not len(it.server.house.sessions))
        async with call(url, {"token": shown}):
            (session,) = it.server.house.sessions
            assert session.identity.user == "anna"
        assert (await refused_handshake(realtime, **secret)).status_code == 401
        async with call(url) as again:  # and only once
            await again.say("hello", token=shown)
            assert await again.closed() == 4401


async def test_a_session_token_serves_again_for_the_session_that_it_began(guarded: Watched) -> None:
    shown, url = await session_token(guarded, user="anna"), guarded.server.ws_url
    async with call(url, {"token": shown}) as caller:
        resume = caller.of("welcome")[0]["resume"]
        await caller.say("text", text="My name is Anna.")
        await caller.play()
    async with call(url, {"token": shown, "resume": resume}) as caller:
        welcome = caller.of("welcome")[0]
        assert welcome["resumed"] is True
        assert welcome["history"][0]["text"] == "My name is Anna."
        again = welcome["resume"]
        await caller.say("configure")
        await caller.until("configured")
    async with call(url, {"token": shown, "resume": again}) as caller:
        assert caller.of("welcome")[0]["resumed"] is True
        await caller.say("bye")
        await caller.closed()


@pytest.mark.parametrize("whose", ["nobody", "ben", "over"])
async def test_without_its_session_a_used_one_opens_nothing(guarded: Watched, whose: str) -> None:
    shown, url = await session_token(guarded, user="anna"), guarded.server.ws_url
    async with call(url, {"token": shown}) as caller:
        resume = caller.of("welcome")[0]["resume"]
        await caller.say("bye")
        await caller.closed()
    assert guarded.server.house.keeping is not None
    await guarded.server.house.keeping._writing.idle()  # it is forgotten
    if whose == "nobody":
        resume = "made up"
    async with call(url, {"token": token(user="ben")}) as ben:
        if whose == "ben":
            resume = ben.of("welcome")[0]["resume"]
        async with call(url) as caller:
            await caller.say("hello", token=shown, resume=resume)
            assert await caller.closed() == 4401
    await guarded.turned_away("token_used")


async def test_a_session_token_gives_no_other_and_reads_no_text(guarded: Watched) -> None:
    shown = bearer(await session_token(guarded))
    for route in ("/v1/sessions", "/v1/realtime/client_secrets", "/v1/audio/speech"):
        assert (await guarded.http.post(route, json={}, headers=shown)).status_code == 401
    await guarded.turned_away("token_bad", times=3)


LISTS = ["/v1/audio/voices", "/v1/models"]


async def test_a_session_token_reads_what_there_is_to_choose_while_its_session_lasts(
    guarded: Watched,
) -> None:
    older = await session_token(guarded, user="anna")
    shown, url = bearer(older), guarded.server.ws_url
    async with call(url, {"token": older}) as caller:
        resume = caller.of("welcome")[0]["resume"]
        for route in LISTS:
            assert (await guarded.http.get(route, headers=shown)).status_code == 200
        elsewhere = {**shown, "Origin": "https://evil.example"}
        assert (await guarded.http.get(LISTS[0], headers=elsewhere)).status_code == 403
    await guarded.turned_away("origin")
    keeping = guarded.server.house.keeping
    assert keeping is not None
    await until(lambda: keeping.parked == 1)
    assert (await guarded.http.get(LISTS[0], headers=shown)).status_code == 200
    newer = await session_token(guarded, user="anna")
    async with call(url, {"token": newer, "resume": resume}) as caller:
        assert caller.of("welcome")[0]["resumed"] is True
        assert (await guarded.http.get(LISTS[0], headers=bearer(newer))).status_code == 200
        await caller.say("bye")
        await caller.closed()
    await until(lambda: not len(guarded.server.house.sessions))
    for over in (shown, bearer(newer)):
        assert (await guarded.http.get(LISTS[0], headers=over)).status_code == 401
    assert guarded.counted["token_bad"] == 2


async def test_a_page_reads_what_there_is_to_choose_before_it_connects(guarded: Watched) -> None:
    waiting = await session_token(guarded)
    for route in LISTS:
        assert (await guarded.http.get(route, headers=bearer(waiting))).status_code == 200
    async with call(guarded.server.ws_url, {"token": waiting}):  # it was not used up by that
        pass


async def test_a_session_token_that_expired_or_never_was_reads_no_list(guarded: Watched) -> None:
    shown = bearer(await session_token(guarded))
    guarded.server.house.gate.passes._clock = lambda: time.time() + 3_600
    for route in LISTS:
        assert (await guarded.http.get(route, headers=shown)).status_code == 401
        assert (await guarded.http.get(route, headers=bearer("st_made-up"))).status_code == 401
    await guarded.turned_away("token_bad", times=4)


async def test_a_client_secret_brings_its_user(guarded: Watched) -> None:
    asked = await guarded.http.post("/v1/realtime/client_secrets", headers=bearer(token("anna")))
    url = guarded.server.url.replace("http", "ws") + "/v1/realtime"
    shown = {"additional_headers": bearer(asked.json()["value"])}
    async with websockets.connect(url, **shown):
        await until(lambda: len(guarded.server.house.sessions) == 1)
        (session,) = guarded.server.house.sessions
        assert session.identity.user == "anna"
    assert (await refused_handshake(url, **shown)).status_code == 401
    await guarded.turned_away("token_used")


# --- what a user may spend ------------------------------------------------------------------------


async def test_the_instructions_that_a_client_secret_brings_are_paid_for(guarded: Watched) -> None:
    shown = bearer(token("anna", limits={"characters_per_minute": 100}))
    brings = {"session": {"type": "realtime", "instructions": "x" * 80}}
    url = guarded.server.url.replace("http", "ws") + "/v1/realtime"
    told = []
    for _ in range(2):
        asked = await guarded.http.post("/v1/realtime/client_secrets", json=brings, headers=shown)
        secret = {"additional_headers": bearer(asked.json()["value"])}
        async with websockets.connect(url, **secret) as socket:
            told.append(json.loads(await socket.recv()))
    assert [message["type"] for message in told] == ["session.created", "error"]
    assert told[1]["error"]["code"] == "rate_limit_exceeded"
    assert socket.close_code == 1013


async def test_a_user_may_have_as_many_sessions_as_its_token_says(guarded: Watched) -> None:
    shown = token("anna", limits={"sessions": 1})
    async with call(guarded.server.ws_url, {"token": shown}) as first:
        assert first.of("welcome")[0]["limits"]["sessions"] == 1
        async with call(guarded.server.ws_url) as second:
            await second.say("hello", token=shown)
            assert (await second.until("error"))["code"] == "RATE_LIMITED"
            assert await second.closed() == 1013
        async with call(guarded.server.ws_url, {"token": token("bert")}):
            pass


async def test_who_comes_back_is_not_one_too_many_beside_its_own_old_socket(
    guarded: Watched,
) -> None:
    shown, url = token("anna", limits={"sessions": 1}), guarded.server.ws_url
    async with call(url, {"token": shown}) as old:
        resume = old.of("welcome")[0]["resume"]
        async with call(url, {"token": shown, "resume": resume}) as new:
            assert new.of("welcome")[0]["resumed"] is True
            assert await old.closed() == 4009
            async with call(url) as other:  # and is still the only one
                await other.say("hello", token=shown)
                assert await other.closed() == 1013


async def test_coming_back_with_the_same_instructions_costs_nothing(guarded: Watched) -> None:
    shown = token("anna", limits={"characters_per_minute": 1_000})
    hello = {"token": shown, "instructions": "x" * 600}
    for _ in range(4):
        async with call(guarded.server.ws_url, hello) as caller:
            welcome = caller.of("welcome")[0]
            assert welcome["resumed"] is ("resume" in hello)
            hello["resume"] = welcome["resume"]
    async with call(guarded.server.ws_url, hello | {"instructions": "y" * 600}) as caller:
        assert caller.of("welcome")[0]["resumed"] is True  # other ones are a debt
        await caller.say("text", text="Hello.")
        assert (await caller.until("error"))["code"] == "RATE_LIMITED"


async def test_sessions_and_requests_spend_from_one_budget(guarded: Watched) -> None:
    shown = token("anna", limits={"characters_per_minute": 100})
    async with call(guarded.server.ws_url, {"token": shown, "instructions": "x" * 80}):
        asked = {**SPEECH, "input": "This has more than twenty characters."}
        answer = await guarded.http.post("/v1/audio/speech", json=asked, headers=bearer(shown))
        assert answer.status_code == 429
        assert int(answer.headers["retry-after"]) > 0
        other = bearer(token("bert"))
        assert (await guarded.http.post("/v1/audio/speech", json=asked, headers=other)).is_success
    await until(lambda: len(guarded.of("requested")) == 2)
    lines = guarded.of("requested")
    assert [(line["user"], line["outcome"]) for line in lines] == [
        ("anna", "failed"), ("bert", "completed"),
    ]  # fmt: skip


# --- keys elsewhere -------------------------------------------------------------------------------


JWKS = {"ANTIPHON_AUTH_JWKS_URL": "https://issuer.example/keys"}


def issuer(monkeypatch: pytest.MonkeyPatch, answer: httpx.Response | Exception) -> None:
    def respond(request: httpx.Request) -> httpx.Response:
        if isinstance(answer, Exception):
            raise answer
        return answer

    known = KeySet.__init__

    def made(self: KeySet, url: str) -> None:
        known(self, url, transport=httpx.MockTransport(respond))

    monkeypatch.setattr(KeySet, "__init__", made)


async def test_tokens_signed_elsewhere_are_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer(monkeypatch, httpx.Response(200, json={"keys": [rsa_jwk()]}))
    async with watched(tmp_path, **JWKS) as it:
        async with call(it.server.ws_url, {"token": signed_rsa()}):
            pass
        assert (await it.http.get("/v1/models", headers=bearer(token()))).status_code == 401
        await it.turned_away("token_algorithm")


async def test_keys_that_cannot_be_fetched_are_told_as_such(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer(monkeypatch, httpx.ConnectError("no route"))
    async with watched(tmp_path, **JWKS) as it:
        answer = await it.http.get("/v1/models", headers=bearer(signed_rsa()))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "TIMEOUT")
        assert answer.headers["retry-after"]
        async with call(it.server.ws_url) as caller:
            await caller.say("hello", token=signed_rsa())
            assert await caller.closed() == 1013
        assert not +it.counted


# --- origins, hosts, the admin's door -------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    [
        "https://evil.example",
        "null",
        "http://[",
        "http://localhost",
        "file://",
    ],
)
async def test_a_page_from_elsewhere_may_not_connect(open_house: Watched, origin: str) -> None:
    url = open_house.server.ws_url
    assert (await refused_handshake(url, additional_headers={"Origin": origin})).status_code == 403
    line = await open_house.turned_away("origin")
    assert line["origin"] == origin


async def test_an_origin_that_would_move_a_readers_cursor_is_noted_without_doing_so(
    open_house: Watched,
) -> None:
    sent = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    answer = await ask(open_house, sent + b"Origin: http://evil\x1b[2J\x9b\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"\x1b" not in answer
    assert (await open_house.turned_away("origin"))["origin"] == "http://evil\x1b[2J\x9b"
    assert open_house.file.read_text().strip().isprintable()


async def test_a_client_without_an_origin_is_no_page(open_house: Watched) -> None:
    async with call(open_house.server.ws_url, {}):
        pass
    assert not +open_house.counted


async def test_our_own_page_may_connect_and_one_that_is_allowed(tmp_path: Path) -> None:
    async with watched(tmp_path, ANTIPHON_ALLOWED_ORIGINS="https://a.example") as it:
        for origin in (it.server.url, "https://a.example"):
            async with call(it.server.ws_url, {}, origin=origin):
                pass
        assert not +it.counted


async def test_a_name_that_was_pointed_at_us_makes_no_page_our_own(open_house: Watched) -> None:
    rebound = {"Origin": "http://evil.example:8000", "Host": "evil.example:8000"}
    answer = await open_house.http.post("/v1/audio/speech", json=SPEECH, headers=rebound)
    assert answer.status_code == 403
    await open_house.turned_away("origin")


async def test_any_name_may_be_ours_if_that_is_wanted(tmp_path: Path) -> None:
    async with watched(tmp_path, ANTIPHON_ALLOWED_HOSTS="*") as it:
        proxied = {"Origin": "https://voice.example", "Host": "voice.example"}
        assert (await it.http.get("/v1/models", headers=proxied)).is_success


async def test_with_names_of_our_own_no_other_is_answered(tmp_path: Path) -> None:
    async with watched(tmp_path, ANTIPHON_ALLOWED_HOSTS="voice.example") as it:
        for host in ("voice.example", "Voice.Example:443", "localhost:1"):
            own = {"Host": host, "Origin": f"https://{host}"}
            assert (await it.http.get("/v1/models", headers=own)).is_success
        other = {"Host": "evil.example"}
        assert (await it.http.get("/v1/models", headers=other)).status_code == 403
        await it.turned_away("host")
        assert (await it.http.get("/readyz", headers=other)).is_success


ADMIN = ["/admin/sessions", "/admin/requests", "/status", "/metrics"]
FROM_ELSEWHERE = [
    {"X-Forwarded-For": "127.0.0.1"},
    {"X-Forwarded-For": "203.0.113.9"},
    {"X-Forwarded-Host": "voice.example"},
    {"X-Forwarded-Proto": "https"},
    {"Forwarded": "for=127.0.0.1"},
    {"X-Real-IP": "127.0.0.1"},
    {"Via": "1.1 proxy"},
    {"CF-Connecting-IP": "127.0.0.1"},
    {"Host": "voice.example"},
    {"Host": "localhost.evil.example"},
    {"Host": "[::1].evil.example"},
    {"Host": ""},
    {"Origin": "https://evil.example"},
]


@pytest.mark.parametrize("headers", FROM_ELSEWHERE, ids=str)
async def test_without_a_token_the_admins_door_is_shut_from_elsewhere(
    open_house: Watched, headers: dict[str, str]
) -> None:
    answer = await open_house.http.get("/admin/sessions", headers=headers)
    assert answer.status_code == 403
    await open_house.turned_away("origin" if "Origin" in headers else "admin")


async def test_a_peer_that_is_not_on_this_machine_is_from_elsewhere(
    open_house: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.headers._is_loopback", lambda address: False)
    for route in ADMIN:
        assert (await open_house.http.get(route)).status_code == 403
    await open_house.turned_away("admin", times=len(ADMIN))


@pytest.mark.parametrize(
    "shown", [{}, bearer("wrong"), {"Authorization": "Bearer"}, {"Authorization": "Basic b3Blbg=="}]
)
async def test_with_one_it_opens_to_it_alone(tmp_path: Path, shown: dict[str, str]) -> None:
    async with watched(tmp_path, ANTIPHON_ADMIN_TOKEN="open sesame") as it:
        for route in ADMIN:
            assert (await it.http.get(route, headers=shown)).status_code == 401
            assert (await it.http.get(route, headers=bearer("open sesame"))).is_success
        await it.turned_away("admin", times=len(ADMIN))
        assert "sesame" not in it.file.read_text()


async def test_a_users_token_is_not_the_admins(tmp_path: Path) -> None:
    async with watched(tmp_path, **AUTH, ANTIPHON_ADMIN_TOKEN="open sesame") as it:
        for shown in (token(), SECRET):
            assert (await it.http.get("/status", headers=bearer(shown))).status_code == 401
        await it.turned_away("admin", times=2)


async def test_what_an_operator_does_is_noted(open_house: Watched) -> None:
    async with call(open_house.server.ws_url, {}) as caller:
        session = caller.of("welcome")[0]["session"]
        assert (await open_house.http.delete(f"/admin/sessions/{session}")).status_code == 204
        assert await caller.closed() == 1000
    await until(lambda: open_house.of("admin"))
    (line,) = open_house.of("admin")
    assert line["action"] == f"DELETE /admin/sessions/{session}"


# --- what is not read -----------------------------------------------------------------------------


async def ask(it: Watched, sent: bytes) -> bytes:
    """What comes back for bytes as they are, until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", it.server.port)
    try:
        writer.write(sent)
        async with asyncio.timeout(20):
            return await reader.read()
    finally:
        writer.close()


@pytest.mark.parametrize(
    "path",
    [
        "/../etc/passwd", "/web/../settings.py", "/web/..%2f..%2fserver%2fsettings.py",
        "/web/%2e%2e/%2e%2e/etc/passwd", "/web/..%5c..%5csettings.py", "/web//etc/passwd",
        "/web/%00", "/web/.", "/web/..", "/web/app.js%00.html", "/web/__init__.py", "//etc/passwd",
        "/%1b[2J%0aadmin", "/.env", "/data/audit.jsonl",
    ],
)  # fmt: skip
async def test_a_path_that_leads_out_leads_nowhere(open_house: Watched, path: str) -> None:
    head = f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
    answer = await ask(open_house, head.encode())
    assert answer.startswith(b"HTTP/1.1 404 ")
    await open_house.turned_away("path")
    assert len(open_house.file.read_bytes().splitlines()) == 1


@pytest.mark.parametrize(
    "header",
    [
        b"X-Request-Id: mine\x00yours", b"X-Request-Id: mine\x0byours", b"Origin : http://x",
        b"X: a\x00b", b"no colon", b"X\x1b: y", b"X-Big: " + b"x" * 100_000,
        b"\r\n".join(b"X-%d: %s" % (number, b"x" * 90) for number in range(1_000)),
    ],
    ids=lambda header: repr(header[:24]),
)  # fmt: skip
async def test_headers_that_are_none_are_not_read(open_house: Watched, header: bytes) -> None:
    sent = b"GET /v1/models HTTP/1.1\r\nHost: localhost\r\n" + header + b"\r\n\r\n"
    assert (await ask(open_house, sent)).startswith(b"HTTP/1.1 400 ")
    why = (+open_house.counted).most_common(1)[0][0]
    assert why in ("malformed", "too_large")
    await open_house.turned_away(why)


async def test_headers_that_come_at_once_and_are_too_large_are_not_read(
    open_house: Watched,
) -> None:
    many = {f"x-{number}": "x" * 1_000 for number in range(HEADER_BYTES // 1_000 + 1)}
    request = open_house.http.build_request("GET", "/v1/models", headers=many)
    assert (await open_house.http.send(request)).status_code == 400


async def test_a_request_id_with_a_line_in_it_is_replaced(open_house: Watched) -> None:
    answer = await open_house.http.get("/v1/models", headers={"X-Request-Id": "a b;c"})
    assert answer.headers["x-request-id"].startswith("req_")


async def test_a_body_that_is_too_large_is_not_read(open_house: Watched) -> None:
    large = b'{"session": {"instructions": "' + b"x" * 200_000 + b'"}}'
    answer = await open_house.http.post("/v1/realtime/client_secrets", content=large)
    assert answer.status_code == 400
    await open_house.turned_away("too_large")


async def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    async with watched(tmp_path, ANTIPHON_TRANSCRIPTION_MB="0.01") as it:
        answer = await it.http.post(
            "/v1/audio/transcriptions", files={"file": ("a.wav", bytes(20_000))}
        )
        assert answer.status_code == 413
        await it.turned_away("too_large")


async def test_a_head_that_does_not_come_to_its_end_is_not_waited_for(
    open_house: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "HEAD_S", 0.1)
    assert (await ask(open_house, b"GET / HTTP/1.1\r\nHost: lo")).startswith(b"HTTP/1.1 408 ")
    await open_house.turned_away("slow")


async def test_whoever_connects_and_says_nothing_is_let_go_and_not_counted(
    open_house: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "HEAD_S", 0.1)
    assert await ask(open_house, b"") == b""
    assert not +open_house.counted


async def test_a_second_head_on_a_connection_is_not_waited_for_either(
    open_house: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "HEAD_S", 0.1)
    whole = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", open_house.server.port)
    writer.write(whole)
    assert (await reader.readuntil(b"}")).startswith(b"HTTP/1.1 200 ")
    writer.write(whole[:20])
    async with asyncio.timeout(20):
        assert (await reader.read()).startswith(b"HTTP/1.1 408 ")
    writer.close()
    await open_house.turned_away("slow")


async def test_a_body_that_does_not_come_is_not_waited_for(
    open_house: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "BODY_S", 0.1)
    head = b"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    assert (await ask(open_house, head + b"Content-Length: 9\r\n\r\n{")).startswith(b"HTTP/1.1 408")
    await open_house.turned_away("slow")


# --- what can be switched off ---------------------------------------------------------------------


async def test_the_page_and_realtime_can_be_switched_off() -> None:
    async with (
        live_server(ANTIPHON_PAGE="off", ANTIPHON_REALTIME="off") as server,
        client(server.url) as http,
    ):
        assert (await http.get("/")).status_code == 404
        operators = await http.get("/admin")
        assert operators.status_code == 200
        for file in re.findall(r'(?:href|src)="(web/[^"]+)"', operators.text):
            assert (await http.get(f"/{file}")).status_code == 200
        assert (await http.post("/v1/realtime/client_secrets")).status_code == 404
        url = server.url.replace("http", "ws") + "/v1/realtime"
        assert (await refused_handshake(url)).status_code == 403
        async with call(server.ws_url, {}):
            pass
