"""Client secrets of the Realtime API: a session's settings for a page that one does not trust.

`POST /v1/realtime/client_secrets` gives one out; who connects with it gets the session that was
asked for with it. Kept in memory, until they expire or a bound is passed.
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.errors import BadMessage, Unauthorized
from server.gate import check_origin
from server.house import House
from server.wire.realtime import Realtime
from session import limits

PREFIX = "ek_"
SUBPROTOCOL_KEY = "openai-insecure-api-key."
MOST_SECRETS = 10_000
MOST_BYTES = 16_000_000
"""Of the sessions that are kept with them."""
DEFAULT_MODEL = "antiphon"


class _ExpiresAfter(Struct):
    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=10, le=7_200)] = 600


class _Wanted(Struct):
    expires_after: _ExpiresAfter = msgspec.field(default_factory=_ExpiresAfter)
    session: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class _Secret:
    session: dict[str, Any]
    expires_at: float
    size: int


class Secrets:
    """Those that were given out. The oldest go first when there are too many."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._given: OrderedDict[str, _Secret] = OrderedDict()
        self._bytes = 0

    def give(self, session: dict[str, Any], seconds: int) -> tuple[str, int]:
        """A new secret, and when it expires, in seconds since the epoch."""
        value = PREFIX + secrets.token_urlsafe(24)
        expires_at = int(self._clock()) + seconds
        size = len(msgspec.json.encode(session))
        self._given[value] = _Secret(session, expires_at, size)
        self._bytes += size
        while len(self._given) > MOST_SECRETS or (
            self._bytes > MOST_BYTES and len(self._given) > 1
        ):
            _, gone = self._given.popitem(last=False)
            self._bytes -= gone.size
        return value, expires_at

    def session(self, key: str) -> dict[str, Any]:
        """The session of a secret; that of any other key is empty.

        Raises `Unauthorized` for a secret that has expired, or never was one.
        """
        if not key.startswith(PREFIX):
            return {}
        secret = self._given.get(key)
        if secret is None or secret.expires_at < self._clock():
            raise Unauthorized("this client secret has expired")
        return secret.session


def key_of(connection: HTTPConnection) -> str:
    """What a client shows: its bearer token, or, in a browser, one of its subprotocols; or ""."""
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key:
        return key.strip()
    for offered in connection.scope.get("subprotocols", []):
        if offered.startswith(SUBPROTOCOL_KEY):
            return str(offered.removeprefix(SUBPROTOCOL_KEY))
    return ""


async def client_secrets(request: Request) -> Response:
    """`POST /v1/realtime/client_secrets`."""
    house: House = request.app.state.house
    check_origin(request, house.settings.allowed_origins)
    house.check_open()
    wanted = _read(await _body(request))
    session = wanted.session or {}
    codec = new_codec(house, str(session.get("model") or DEFAULT_MODEL), session)
    given: Secrets = request.app.state.secrets
    value, expires_at = given.give(session, wanted.expires_after.seconds)
    shown = codec.session.shown() | {"id": f"sess_{secrets.token_hex(8)}"}
    shown |= {"object": "realtime.session", "expires_at": 0}
    return JSONResponse({"value": value, "expires_at": expires_at, "session": shown})


def new_codec(house: House, model: str, session: dict[str, Any]) -> Realtime:
    """The codec of a session that begins with these settings. Raises `BadMessage`."""
    codec = Realtime(model[:200], house.settings.system_prompt, house.catalogue)
    if session:
        codec.begin_with(session)
    return codec


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > limits.TEXT_BYTES:
            raise BadMessage(f"a session takes at most {limits.TEXT_BYTES} bytes")
    return body


def _read(body: bytes) -> _Wanted:
    try:
        return msgspec.json.decode(body or b"{}", type=_Wanted)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as error:
        raise BadMessage(f"not a request of this API: {str(error)[:300]}") from None


routes = [Route("/v1/realtime/client_secrets", client_secrets, methods=["POST"])]
