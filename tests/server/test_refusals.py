"""Requests that are none, too large, too slow, or that try to write into somebody's log: each is
refused, counted once and noted once, as those of `test_gate.py` are."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from server import exchange, peer, upload
from tests.server.speech_client import until
from tests.server.test_auth import rsa_jwk, rsa_key
from tests.server.test_gate import (
    JWKS,
    SPEECH,
    Watched,
    ask,
    guarded,
    issuer,
    open_house,
    refused_handshake,
    watched,
)
from tests.support import call
from tests.tokens import AUTH, bearer, claims, token

__all__ = ["guarded", "open_house"]

POST = b"POST /v1/realtime/client_secrets HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
_TOO_SLOW = b"HTTP/1.1 408 "
FORM = (
    b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    b"Content-Type: multipart/form-data; boundary=x\r\n"
)


async def drip(it: Watched, first: bytes, drop: bytes) -> bytes:
    """What comes back for a beginning, and then a little more again and again, until it does:
    a 408, which is lost now and then when the next drop meets a closed door."""
    reader, writer = await asyncio.open_connection("127.0.0.1", it.server.port)
    try:
        writer.write(first)
        answer = asyncio.create_task(reader.read())
        async with asyncio.timeout(20):
            while not answer.done():
                writer.write(drop)
                await asyncio.wait([answer], timeout=0.02)
        with contextlib.suppress(ConnectionError):
            return await answer
        return _TOO_SLOW
    finally:
        writer.close()


# --- tokens ---------------------------------------------------------------------------------------


async def test_a_public_key_that_is_taken_for_the_secret_opens_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer(monkeypatch, httpx.Response(200, json={"keys": [rsa_jwk()]}))
    pem = rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signing = jwt.PyJWT()
    monkeypatch.setattr(jwt.algorithms.HMACAlgorithm, "prepare_key", lambda _, key: key)
    forged = signing.encode(claims("anna"), pem, "HS256")  # which PyJWT would not do of itself
    monkeypatch.undo()
    issuer(monkeypatch, httpx.Response(200, json={"keys": [rsa_jwk()]}))
    for folder, settings, why in (
        ("keys", JWKS, "token_algorithm"),
        ("both", {**JWKS, **AUTH}, "token_bad"),
    ):
        async with watched(tmp_path / folder, **settings) as it:
            shown = {"additional_headers": bearer(forged)}
            assert (await refused_handshake(it.server.ws_url, **shown)).status_code == 401
            await it.turned_away(why)


@pytest.mark.parametrize(
    "user", ["anna\nadmin", "anna\r", "\x1b[2Janna", "anna\u2028", "", " \t\n"]
)
async def test_a_name_that_would_begin_a_line_is_no_users(guarded: Watched, user: str) -> None:
    answer = await guarded.http.get("/v1/models", headers=bearer(token(user)))
    assert answer.status_code == 401
    await guarded.turned_away("token_bad")
    assert len(guarded.file.read_bytes().splitlines()) == 1


# --- what is too large ----------------------------------------------------------------------------


async def test_a_body_in_chunks_is_not_read_past_its_bound(open_house: Watched) -> None:
    async def in_chunks() -> AsyncIterator[bytes]:
        for _ in range(4):
            yield b"x" * 50_000

    url = "/v1/realtime/client_secrets"
    assert (await open_house.http.post(url, content=in_chunks())).status_code == 400
    await open_house.turned_away("too_large")


async def test_a_text_to_be_read_is_not_read_past_its_bound(tmp_path: Path) -> None:
    async with watched(tmp_path, ANTIPHON_SPEECH_CHARACTERS="10") as it:
        answer = await it.http.post("/v1/audio/speech", json={**SPEECH, "input": "x" * 1_000_000})
        assert answer.status_code in (400, 413)
        await it.turned_away("too_large")


async def test_a_file_that_says_it_is_too_large_is_not_waited_for(open_house: Watched) -> None:
    answer = await ask(open_house, FORM + b"Content-Length: 999999999999\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 413 ")
    await open_house.turned_away("too_large")


async def test_a_handshake_with_too_large_headers_opens_no_socket(open_house: Watched) -> None:
    many = {f"x-{number}": "x" * 1_000 for number in range(20)}
    refused = await refused_handshake(open_house.server.ws_url, additional_headers=many)
    assert refused.status_code == 400
    await open_house.turned_away("too_large")


# --- what is too slow -----------------------------------------------------------------------------


async def test_a_head_that_comes_letter_by_letter_is_not_waited_for(
    open_house: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peer, "HEAD_S", 0.3)
    answer = await drip(open_house, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: ", b"x")
    assert answer.startswith(_TOO_SLOW)
    await open_house.turned_away("slow")


async def test_a_body_that_comes_letter_by_letter_is_not_waited_for(
    open_house: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exchange, "BODY_S", 0.3)
    answer = await drip(open_house, POST + b"Content-Length: 90000\r\n\r\n", b" ")
    assert answer.startswith(_TOO_SLOW)
    await open_house.turned_away("slow")


@pytest.mark.parametrize("bound", ["GAP_S", "UPLOAD_S"])
async def test_a_file_that_does_not_come_is_not_waited_for(
    open_house: Watched, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    monkeypatch.setattr(upload, bound, 0.3)
    begun = FORM + b"Content-Length: 90000\r\n\r\n--x\r\n"
    begun += b'Content-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
    answer = await (ask(open_house, begun) if bound == "GAP_S" else drip(open_house, begun, b"x"))
    assert answer.startswith(_TOO_SLOW)
    await open_house.turned_away("slow")


# --- what is no request, or more than one ---------------------------------------------------------


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 5\r\nContent-Length: 6\r\n",
        b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 5 5\r\n",
        b"Content-Length: 0x5\r\n",
        b"Transfer-Encoding: chunked, identity\r\n",
    ],
    ids=repr,
)
async def test_a_body_of_which_two_could_be_read_is_not_read(
    open_house: Watched, headers: bytes
) -> None:
    smuggled = b"0\r\n\r\nGET /admin/sessions HTTP/1.1\r\nHost: localhost\r\n\r\n"
    kept_alive = POST.replace(b"Connection: close\r\n", b"")
    answer = await ask(open_house, kept_alive + headers + b"\r\n" + smuggled)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert answer.count(b"HTTP/1.1 ") == 1
    await open_house.turned_away("malformed")


@pytest.mark.parametrize(
    "value",
    [b"a\r\n\tSet-Cookie: evil=1", b"a%0d%0aSet-Cookie: evil=1", b"a\xe2\x80\xa8b", b"\xff"],
)
async def test_a_request_id_writes_no_header_of_ours_and_no_line(
    open_house: Watched, value: bytes
) -> None:
    sent = b"GET /v1/nowhere HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-Request-Id: "
    answer = await ask(open_house, sent + value + b"\r\n\r\n")
    head = answer.partition(b"\r\n\r\n")[0].lower()
    assert b"set-cookie" not in head
    assert value.lower() not in head
    await until(lambda: len(open_house.of("refused")) == 1)
    assert open_house.file.read_text().strip().isprintable()
    assert "cookie" not in json.dumps(open_house.noted).lower()


@pytest.mark.parametrize("path", ["/nowhere", "/ws/../../etc/passwd", "/web/..%2f..%2fsettings.py"])
async def test_a_socket_that_leads_nowhere_is_turned_away_as_a_path_is(
    open_house: Watched, path: str
) -> None:
    handshake = (
        f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    assert (await ask(open_house, handshake.encode())).startswith(b"HTTP/1.1 40")
    await open_house.turned_away("path")


# --- who finds no room ----------------------------------------------------------------------------


@pytest.fixture
async def full(tmp_path: Path) -> AsyncIterator[Watched]:
    """One that asks for tokens, and in which somebody has the only place."""
    one_place = {"ANTIPHON_MAX_SESSIONS": "1", "ANTIPHON_WAITING_ROOM": "0"}
    async with watched(tmp_path, **AUTH, **one_place) as it:
        shown = token("anna", limits={"sessions": 1})
        async with call(it.server.ws_url, {"token": shown}):
            yield it


@pytest.mark.parametrize(
    ("user", "code", "closed"), [("bert", "AT_CAPACITY", 1013), ("anna", "RATE_LIMITED", 1013)]
)
async def test_who_finds_no_room_is_counted_once_and_noted_once(
    full: Watched, user: str, code: str, closed: int
) -> None:
    async with call(full.server.ws_url) as caller:
        await caller.say("hello", token=token(user, limits={"sessions": 1}))
        assert await caller.closed() == closed
    await until(lambda: full.of("refused"))
    refused = full.server.house.metrics._turned_away.collect()[0].samples
    assert {one.labels["code"]: one.value for one in refused if one.value} == {code: 1.0}
    assert [line["why"] for line in full.of("refused")] == [code]
    assert not +full.counted
