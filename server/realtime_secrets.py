"""Client secrets of the Realtime API: a session's settings for a page that one does not trust.

`POST /v1/realtime/client_secrets` gives one out; who connects with it gets the session that was
asked for with it. What becomes of it until then: see `passes.py`.
"""

from __future__ import annotations

import secrets
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.errors import BadMessage
from server.exchange import body_of
from server.house import House
from server.wire.realtime import Realtime
from session import limits

DEFAULT_MODEL = "antiphon"


class _ExpiresAfter(Struct):
    anchor: Literal["created_at"] = "created_at"
    seconds: Annotated[int, Meta(ge=10, le=7_200)] = 600


class _Wanted(Struct):
    expires_after: _ExpiresAfter = msgspec.field(default_factory=_ExpiresAfter)
    session: dict[str, Any] | None = None


async def client_secrets(request: Request) -> Response:
    """`POST /v1/realtime/client_secrets`."""
    house: House = request.app.state.house
    visitor = await house.gate.request(request)
    house.check_open()
    wanted = _read(await body_of(request, limits.TEXT_BYTES))
    session = wanted.session or {}
    codec = new_codec(house, str(session.get("model") or DEFAULT_MODEL), session)
    value, expires_at = await house.give_pass("ek_", visitor, wanted.expires_after.seconds, session)
    shown = codec.session.shown() | {"id": f"sess_{secrets.token_hex(8)}"}
    shown |= {"object": "realtime.session", "expires_at": 0}
    return JSONResponse({"value": value, "expires_at": expires_at, "session": shown})


def new_codec(house: House, model: str, session: dict[str, Any]) -> Realtime:
    """The codec of a session that begins with these settings. Raises `BadMessage`."""
    codec = Realtime(model[:200], house.settings.system_prompt, house.catalogue)
    if session:
        codec.begin_with(session)
    return codec


def _read(body: bytes) -> _Wanted:
    try:
        wanted = msgspec.json.decode(body or b"{}", type=_Wanted)
    except (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError) as error:
        raise BadMessage(f"not a request of this API: {str(error)[:300]}") from None
    if limits.is_too_deep(wanted.session):
        raise BadMessage(f"more than {limits.MOST_DEPTH} objects within one another")
    return wanted


routes = [Route("/v1/realtime/client_secrets", client_secrets, methods=["POST"])]
