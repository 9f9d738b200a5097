"""Who someone is: what a signed token says, once its signature, its times and its audience hold.

A token is a JWT (RFC 7519). Which algorithm is taken follows from the key, never from the token:
the shared secret verifies HS256 and nothing else, a public key the one algorithm of its kind.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Annotated, Any, Protocol

import jwt
import msgspec
from jwt.types import Options
from msgspec import Meta, Struct

from pipeline.errors import Unauthorized
from session.buckets import Allowance

TOKEN_CHARACTERS = 8_192
"""A token longer than this is not looked at. Those of identity providers take 1 to 2 kB."""
_PUBLIC = frozenset({"RS256", "ES256"})
_OPTIONS: Options = {
    "require": ["exp", "aud", "sub"],
    "enforce_minimum_key_length": True,
}

_WHY: tuple[tuple[type[jwt.PyJWTError], str, str], ...] = (
    (jwt.ExpiredSignatureError, "token_expired", "the token has expired"),
    (jwt.ImmatureSignatureError, "token_early", "the token is not valid yet"),
    (jwt.InvalidAudienceError, "token_audience", "the token is for somebody else"),
)
"""What is told of a token that was signed by us, or for us; of any other only that it is bad."""


class PublicKeys(Protocol):
    """The keys of whoever signs tokens for us elsewhere."""

    async def find(self, algorithm: str, kid: str | None) -> Any:
        """The public key of this algorithm and id. Raises `Unauthorized`, `KeysUnreachable`."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who is known, and what this one may spend."""

    id: str
    allowance: Allowance


class _Limits(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """The claim `limits`: what is not in it is as the settings say."""

    turns_per_minute: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    characters_per_minute: Annotated[float, Meta(gt=0, le=1e9)] | None = None
    audio_s_per_minute: Annotated[float, Meta(gt=0, le=1e6)] | None = None
    sessions: Annotated[int, Meta(ge=1, le=10_000)] | None = None


class _Claims(Struct):
    sub: Annotated[str, Meta(min_length=1, max_length=200)]
    limits: _Limits = _Limits()


class Authenticator:
    """Verifies tokens: by a shared secret, by public keys, or by either."""

    def __init__(
        self,
        secret: str,
        keys: PublicKeys | None,
        *,
        audience: str,
        skew_s: float,
        allowance: Allowance,
    ) -> None:
        """`secret`: "" for none. `skew_s`: how far another clock than ours may be wrong."""
        self._secret = secret.encode()
        self._keys = keys
        self._audience = audience
        self._skew_s = skew_s
        self._allowance = allowance
        self._jwt = jwt.PyJWT(_OPTIONS)

    async def user(self, token: str) -> User:
        """Who a token speaks for. Raises `Unauthorized`, `KeysUnreachable`."""
        if len(token) > TOKEN_CHARACTERS:
            raise _bad()
        algorithm, kid = _header(token)
        key: Any
        if algorithm == "HS256" and self._secret:
            key = self._secret
        elif algorithm in _PUBLIC and self._keys is not None:
            key = await self._keys.find(algorithm, kid)
        else:
            raise Unauthorized("the token is not signed in a way that is taken", "token_algorithm")
        try:
            claims = self._jwt.decode(
                token, key, [algorithm], audience=self._audience, leeway=self._skew_s
            )
        except jwt.PyJWTError as error:
            raise _told(error) from None
        except (ValueError, RecursionError):
            raise _bad() from None
        return self._user(claims)

    def _user(self, claims: dict[str, Any]) -> User:
        try:
            said = msgspec.convert(claims, _Claims)
        except msgspec.ValidationError as wrong:
            raise Unauthorized(
                f"the token's claims are not of the form: {wrong}", "token_bad"
            ) from None
        if not said.sub.isprintable():  # it stands in logs and addresses
            raise Unauthorized("the token's subject has characters that no name has", "token_bad")
        return User(said.sub, replace(self._allowance, **msgspec.to_builtins(said.limits)))


def _header(token: str) -> tuple[str, str | None]:
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError):
        raise _bad() from None
    algorithm, kid = header.get("alg"), header.get("kid")
    if not isinstance(algorithm, str):
        raise _bad()
    return algorithm, kid if isinstance(kid, str) else None


def _told(error: jwt.PyJWTError) -> Unauthorized:
    for kind, why, message in _WHY:
        if isinstance(error, kind):
            return Unauthorized(message, why)
    if isinstance(error, jwt.MissingRequiredClaimError):
        return Unauthorized(f"the token lacks the claim {error.claim!r}", "token_bad")
    return _bad()


def _bad() -> Unauthorized:
    return Unauthorized("the token is not a good one", "token_bad")
