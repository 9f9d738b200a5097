"""Where public keys come from: asked for when needed, kept, never waited for long."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from pipeline.errors import KeysUnreachable, Unauthorized
from server import jwks
from server.jwks import AGAIN_S, FRESH_S, MOST_BYTES, STALE_S, KeySet
from tests.server.test_auth import ec_jwk, rsa_jwk


class Issuer:
    """Whoever signs, as its key server answers."""

    def __init__(self, *keys: dict[str, Any]) -> None:
        self.keys = list(keys)
        self.asked = 0
        self.trouble: httpx.Response | Exception | None = None
        self.now = 1_000.0
        self.set = KeySet(
            "https://issuer.example/keys",
            clock=lambda: self.now,
            transport=httpx.MockTransport(self._answer),
        )

    def _answer(self, request: httpx.Request) -> httpx.Response:
        self.asked += 1
        if isinstance(self.trouble, Exception):
            raise self.trouble
        return self.trouble or httpx.Response(200, json={"keys": self.keys})


async def test_keys_are_asked_for_once_and_kept() -> None:
    issuer = Issuer(rsa_jwk(), ec_jwk())
    first = await asyncio.gather(*[issuer.set.find("RS256", "r") for _ in range(20)])
    assert await issuer.set.find("ES256", "e")
    assert all(key is first[0] for key in first)
    assert issuer.asked == 1


async def test_without_an_id_the_only_key_of_its_kind_is_meant() -> None:
    issuer = Issuer(rsa_jwk(), ec_jwk())
    assert await issuer.set.find("RS256", None)
    issuer.keys.append(rsa_jwk(kid="r2"))
    issuer.now += FRESH_S
    with pytest.raises(Unauthorized):
        await issuer.set.find("RS256", None)


async def test_a_new_key_is_found_by_its_id() -> None:
    issuer = Issuer(rsa_jwk())
    await issuer.set.find("RS256", "r")
    issuer.keys = [rsa_jwk(kid="r2")]
    issuer.now += AGAIN_S
    assert await issuer.set.find("RS256", "r2")


async def test_ids_that_strangers_make_up_do_not_have_the_issuer_asked_on_and_on() -> None:
    issuer = Issuer(rsa_jwk())
    for number in range(50):
        with pytest.raises(Unauthorized):
            await issuer.set.find("RS256", f"made up {number}")
        issuer.now += 0.1
    assert issuer.asked == 1


async def test_a_key_that_was_withdrawn_is_forgotten() -> None:
    issuer = Issuer(rsa_jwk(), ec_jwk())
    await issuer.set.find("RS256", "r")
    issuer.keys = [ec_jwk()]
    issuer.now += FRESH_S
    with pytest.raises(Unauthorized):
        await issuer.set.find("RS256", "r")


async def test_an_issuer_that_cannot_be_reached_is_no_ones_fault_and_not_asked_at_once_again() -> (
    None
):
    issuer = Issuer(rsa_jwk())
    issuer.trouble = httpx.ConnectError("no route")
    for _ in range(5):
        with pytest.raises(KeysUnreachable) as unreachable:
            await issuer.set.find("RS256", "r")
        assert unreachable.value.retry_after_s
    assert issuer.asked == 1
    issuer.trouble = None
    issuer.now += AGAIN_S
    assert await issuer.set.find("RS256", "r")


async def test_keys_outlast_a_short_outage_and_not_a_long_one() -> None:
    issuer = Issuer(rsa_jwk())
    await issuer.set.find("RS256", "r")
    issuer.trouble = httpx.Response(500)
    issuer.now += FRESH_S
    assert await issuer.set.find("RS256", "r")
    issuer.now += STALE_S
    with pytest.raises(KeysUnreachable):
        await issuer.set.find("RS256", "r")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(404),
        httpx.Response(302, headers={"location": "http://elsewhere.example/keys"}),
        httpx.Response(200, text="<html>"),
        httpx.Response(200, content=b"x" * (MOST_BYTES + 1)),
        httpx.Response(
            200,
            headers={"content-encoding": "gzip"},
            content=gzip.compress(json.dumps({"keys": [rsa_jwk()]}).encode()),
        ),
    ],
)
async def test_an_answer_that_is_none_is_like_no_answer(answer: httpx.Response) -> None:
    issuer = Issuer()
    issuer.trouble = answer
    with pytest.raises(KeysUnreachable):
        await issuer.set.find("RS256", "r")


async def test_an_answer_that_drips_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwks, "FETCH_S", 0.1)

    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    issuer = Issuer()
    issuer.trouble = httpx.Response(200, content=drip())
    with pytest.raises(KeysUnreachable):
        await issuer.set.find("RS256", "r")
