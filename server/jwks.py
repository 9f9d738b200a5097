"""The public keys of whoever signs tokens elsewhere: a JSON Web Key Set (RFC 7517), fetched when it
is needed, kept for a while, and never waited for long."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import httpx
import jwt
import structlog
from jwt.algorithms import ECAlgorithm, RSAAlgorithm

from pipeline.errors import KeysUnreachable, Unauthorized

log = structlog.get_logger(__name__)

FETCH_S = 5.0
"""The longest that anybody waits for the keys."""
FRESH_S = 600.0
"""Keys are asked for anew after so long: that is how one that was withdrawn is forgotten."""
STALE_S = 3_600.0
"""Past this, keys that could not be asked for anew are not believed any more."""
AGAIN_S = 10.0
"""Not asked more often than so, whatever key ids strangers make up."""
MOST_BYTES = 262_144
MOST_KEYS = 100
RSA_BITS = 2_048
"""The smallest RSA key that is taken (RFC 7518, 3.3)."""

Keys = Mapping[tuple[str, str | None], Any]
"""By algorithm and key id."""


class KeySet:
    """One address's keys."""

    def __init__(
        self,
        url: str,
        *,
        clock: Callable[[], float] = time.monotonic,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._url = url
        self._clock = clock
        self._transport = transport
        self._keys: Keys = {}
        self._fetched_at = self._asked_at = float("-inf")
        self._failed = False
        self._fetching = asyncio.Lock()

    async def find(self, algorithm: str, kid: str | None) -> Any:
        """The public key of this algorithm and id; without an id, the only one there is.

        An id that is not known may be a new key's: the keys are asked for anew. Raises
        `Unauthorized` when there is no such key, `KeysUnreachable` when nobody can say.
        """
        fresh = self._clock() - self._fetched_at < FRESH_S
        key = self._known(algorithm, kid) if fresh else None
        if key is None:
            await self.refresh()
            key = self._known(algorithm, kid)
        if key is not None:
            return key
        if self._failed:
            raise KeysUnreachable(
                "the keys that tokens are signed with cannot be fetched now",
                retry_after_s=AGAIN_S,
            )
        raise Unauthorized("the token is not a good one", "token_bad")

    async def refresh(self) -> None:
        """Ask for the keys, unless somebody has just done so. A failure is logged, not raised."""
        async with self._fetching:  # one asks, the others wait and find the outcome
            now = self._clock()
            if now - self._asked_at < AGAIN_S:
                return
            self._asked_at = now
            try:
                self._keys = read_keys(await self._fetch())
            except (httpx.HTTPError, TimeoutError, ValueError) as error:
                self._failed = True
                log.error("jwks_unreachable", url=self._url, error=str(error) or repr(error))
                if now - self._fetched_at > STALE_S:
                    self._keys = {}
                return
            self._failed = False
            self._fetched_at = now
            if not self._keys:
                log.error("jwks_without_keys", url=self._url)

    def _known(self, algorithm: str, kid: str | None) -> Any:
        if kid is not None:
            return self._keys.get((algorithm, kid))
        alike = [key for (known, _), key in self._keys.items() if known == algorithm]
        return alike[0] if len(alike) == 1 else None

    async def _fetch(self) -> bytes:
        document = bytearray()
        async with (
            asyncio.timeout(FETCH_S),  # httpx's own time limits begin anew with every byte
            httpx.AsyncClient(transport=self._transport, timeout=FETCH_S) as client,
            client.stream("GET", self._url, headers={"accept-encoding": "identity"}) as response,
        ):
            response.raise_for_status()
            if "content-encoding" in response.headers:
                raise ValueError("the answer is compressed, and nobody asked for that")
            async for piece in response.aiter_bytes():
                document += piece
                if len(document) > MOST_BYTES:
                    raise ValueError(f"the answer is longer than {MOST_BYTES} bytes")
        return bytes(document)


def read_keys(document: bytes) -> Keys:
    """The keys of a set that verify signatures. Others, a symmetric one above all, are left out.

    Raises `ValueError` for what is no key set.
    """
    try:
        listed = json.loads(document)["keys"]
    except (KeyError, TypeError, RecursionError) as error:
        raise ValueError("the answer is no key set") from error
    if not isinstance(listed, list):
        raise ValueError("the answer is no key set")
    keys: dict[tuple[str, str | None], Any] = {}
    for jwk in listed[:MOST_KEYS]:
        if not isinstance(jwk, dict) or (algorithm := _algorithm(jwk)) is None:
            continue
        kid = jwk.get("kid")
        if (key := _read(algorithm, jwk)) is not None:
            keys[algorithm, kid if isinstance(kid, str) else None] = key
    return keys


def _algorithm(jwk: dict[str, Any]) -> str | None:
    """The one algorithm of a key's kind; None for a key that is not for us."""
    match jwk.get("kty"), jwk.get("crv"):
        case "RSA", None:
            algorithm = "RS256"
        case "EC", "P-256":
            algorithm = "ES256"
        case _:
            return None
    for_us = jwk.get("use", "sig") == "sig" and jwk.get("alg", algorithm) == algorithm
    return algorithm if for_us and "d" not in jwk else None


def _read(algorithm: str, jwk: dict[str, Any]) -> Any:
    try:
        key = (RSAAlgorithm if algorithm == "RS256" else ECAlgorithm).from_jwk(jwk)
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    return None if algorithm == "RS256" and key.key_size < RSA_BITS else key
