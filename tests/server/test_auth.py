"""Tokens: which are taken, for whom, and which are not, by name."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import time
from functools import cache
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from pipeline.errors import Unauthorized
from server.auth import TOKEN_CHARACTERS, Authenticator, User
from server.jwks import read_keys
from session.buckets import Allowance
from tests.tokens import SECRET, claims, token


class Fixed:
    """Keys that are known."""

    def __init__(self, *jwks: dict[str, Any]) -> None:
        self.keys = read_keys(json.dumps({"keys": jwks}).encode())

    async def find(self, algorithm: str, kid: str | None) -> Any:
        if (algorithm, kid) not in self.keys:
            raise Unauthorized("not one of ours", "token_bad")
        return self.keys[algorithm, kid]


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2_048)


@cache
def ec_key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


def rsa_jwk(**others: Any) -> dict[str, Any]:
    return {**RSAAlgorithm.to_jwk(rsa_key().public_key(), as_dict=True), "kid": "r", **others}


def ec_jwk(**others: Any) -> dict[str, Any]:
    return {**ECAlgorithm.to_jwk(ec_key().public_key(), as_dict=True), "kid": "e", **others}


def by_secret(**options: Any) -> Authenticator:
    return authenticator(SECRET, None, **options)


def by_keys(*jwks: dict[str, Any]) -> Authenticator:
    return authenticator("", Fixed(*jwks))


def authenticator(secret: str, keys: Fixed | None, **options: Any) -> Authenticator:
    chosen = {"audience": "antiphon", "skew_s": 30.0, "allowance": Allowance(), **options}
    return Authenticator(secret, keys, **chosen)


async def why(known: Authenticator, shown: str) -> str:
    with pytest.raises(Unauthorized) as refused:
        await known.user(shown)
    assert not shown or shown not in str(refused.value)
    return refused.value.why


async def test_a_good_token_says_who_it_is() -> None:
    assert await by_secret().user(token("anna")) == User("anna", Allowance())


async def test_what_its_limits_say_holds_and_of_the_rest_the_settings() -> None:
    user = await by_secret().user(token(limits={"turns_per_minute": 5, "sessions": 2}))
    assert user.allowance == Allowance(turns_per_minute=5, sessions=2)


@pytest.mark.parametrize(
    ("others", "reason"),
    [
        ({"exp": 1}, "token_expired"),
        ({"nbf": 10**11}, "token_early"),
        ({"iat": 10**11}, "token_early"),
        ({"aud": "somebody else"}, "token_audience"),
        ({"aud": ["somebody", "else"]}, "token_audience"),
        ({"exp": None}, "token_bad"),
        ({"aud": None}, "token_bad"),
        ({"sub": None}, "token_bad"),
        ({"user": ""}, "token_bad"),
        ({"user": "x" * 201}, "token_bad"),
        ({"user": "anna\nadmin"}, "token_bad"),
        ({"user": "\x1b[2J"}, "token_bad"),
        ({"exp": "soon"}, "token_bad"),
        ({"exp": float("inf")}, "token_bad"),
        ({"limits": {"turns_per_minute": 0}}, "token_bad"),
        ({"limits": {"turns_per_minute": float("nan")}}, "token_bad"),
        ({"limits": {"turns_per_minute": "many"}}, "token_bad"),
        ({"limits": {"sessions": 2.5}}, "token_bad"),
        ({"limits": {"wishes": 3}}, "token_bad"),
        ({"limits": [1]}, "token_bad"),
    ],
)
async def test_what_is_wrong_with_a_token_has_a_name(others: dict[str, Any], reason: str) -> None:
    assert await why(by_secret(), token(**others)) == reason


async def test_another_audience_may_be_chosen_and_one_of_several_is_enough() -> None:
    known = by_secret(audience="voices")
    assert await why(known, token()) == "token_audience"
    assert (await known.user(token(aud=["voices", "files"]))).id == "anna"


async def test_clocks_may_differ_a_little_and_no_more() -> None:
    now = int(time.time())
    assert (await by_secret(skew_s=30.0).user(token(exp=now - 10))).id == "anna"
    assert (await by_secret(skew_s=30.0).user(token(nbf=now + 20))).id == "anna"
    assert await why(by_secret(skew_s=0.0), token(exp=now - 10)) == "token_expired"
    assert await why(by_secret(skew_s=30.0), token(exp=now - 60)) == "token_expired"
    assert await why(by_secret(skew_s=0.0), token(nbf=now + 20)) == "token_early"


async def test_another_secret_is_not_ours() -> None:
    assert (
        await why(by_secret(), token(secret="another secret of the same length...")) == "token_bad"
    )


def part(value: object) -> str:
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


async def test_a_changed_claim_is_noticed() -> None:
    head, _, signature = token().split(".")
    assert await why(by_secret(), f"{head}.{part(claims('bert'))}.{signature}") == "token_bad"


@pytest.mark.parametrize(
    "algorithm", ["none", "None", "NONE", "HS512", "HS384", "PS256", "EdDSA", ""]
)
async def test_no_algorithm_is_taken_that_a_key_is_not_for(algorithm: str) -> None:
    shown = f"{part({'alg': algorithm})}.{part(claims())}."
    assert await why(by_secret(), shown) == "token_algorithm"
    assert await why(authenticator(SECRET, Fixed(rsa_jwk())), shown) == "token_algorithm"


async def test_a_good_signature_by_another_algorithm_is_not_taken() -> None:
    shown = jwt.encode(claims(), SECRET * 2, "HS512")
    assert await why(authenticator(SECRET * 2, None), shown) == "token_algorithm"


async def test_a_public_key_is_no_shared_secret() -> None:
    # By hand, as an attacker would: the library refuses to sign with a public key.
    pem = rsa_key().public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    signed = f"{part({'alg': 'HS256', 'kid': 'r'})}.{part(claims())}"
    mac = hmac.new(pem, signed.encode(), hashlib.sha256).digest()
    shown = f"{signed}.{base64.urlsafe_b64encode(mac).rstrip(b'=').decode()}"
    assert await why(by_keys(rsa_jwk()), shown) == "token_algorithm"
    assert await why(authenticator(SECRET, Fixed(rsa_jwk())), shown) == "token_bad"


def signed_rsa(**headers: Any) -> str:
    return jwt.encode(claims(), rsa_key(), "RS256", headers={"kid": "r", **headers})


def signed_ec(**headers: Any) -> str:
    return jwt.encode(claims(), ec_key(), "ES256", headers={"kid": "e", **headers})


async def test_public_keys_are_taken_each_by_its_own_algorithm() -> None:
    known = by_keys(rsa_jwk(), ec_jwk())
    assert (await known.user(signed_rsa())).id == "anna"
    assert (await known.user(signed_ec())).id == "anna"
    assert await why(known, signed_rsa(kid="e")) == "token_bad"
    assert await why(known, jwt.encode(claims(), rsa_key(), "RS512", headers={"kid": "r"})) == (
        "token_algorithm"
    )


async def test_a_secret_and_public_keys_may_serve_side_by_side() -> None:
    known = authenticator(SECRET, Fixed(rsa_jwk()))
    assert (await known.user(token("bert"))).id == "bert"
    assert (await known.user(signed_rsa())).id == "anna"


async def test_with_public_keys_alone_no_secret_serves() -> None:
    assert await why(by_keys(rsa_jwk()), token()) == "token_algorithm"
    empty = f"{part({'alg': 'HS256'})}.{part(claims())}."
    assert await why(by_keys(rsa_jwk()), empty) == "token_algorithm"


@pytest.mark.parametrize(
    "left_out",
    [
        {"kty": "oct", "kid": "s", "k": part(SECRET), "alg": "HS256"},
        {"use": "enc"},
        {"alg": "RS512"},
        {"kid": "d", "d": "AQAB"},
        {"n": "AQAB"},
        {"n": 7},
        {"n": None},
        {"kty": "OKP"},
    ],
)
def test_a_set_gives_public_keys_for_signatures_and_no_others(left_out: dict[str, Any]) -> None:
    jwk = left_out if left_out.get("kty") == "oct" else rsa_jwk(**left_out)
    assert not read_keys(json.dumps({"keys": [jwk, None, 7, "x"]}).encode())


def test_an_rsa_key_that_is_too_short_is_left_out() -> None:
    short = rsa.generate_private_key(65_537, 1_024)
    jwk = RSAAlgorithm.to_jwk(short.public_key(), as_dict=True)
    assert not read_keys(json.dumps({"keys": [jwk]}).encode())


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b'{"keys": 7}', b"[" * 100_000, b"\xff"])
def test_what_is_no_key_set_is_told(document: bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - whichever
        read_keys(document)


@pytest.mark.parametrize(
    "shown",
    [
        "", ".", "..", "a.b.c", "é.é.é", "x" * (TOKEN_CHARACTERS + 1), "\x00", "eyJ.eyJ.eyJ",
        f"{part([])}.{part({})}.x", f"{part({'alg': ['HS256']})}.{part({})}.x",
        f"{part({'alg': 'HS256', 'crit': ['x'], 'x': 1})}.{part(claims())}.x",
        f"{base64.urlsafe_b64encode(b'[' * 5_000).decode()}.e30.x",
    ],
)  # fmt: skip
async def test_nonsense_is_not_a_token(shown: str) -> None:
    assert await why(by_secret(), shown) == "token_bad"
