"""`POST /v1/sessions`: with a token, one for a single session, to be handed to a page or a client
that one does not trust."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from server.house import House


async def new_session_token(request: Request) -> Response:
    """A session token and its expiry. There is nothing to say in the body; one is not read."""
    house: House = request.app.state.house
    visitor = await house.gate.request(request)
    token, expires_at = await house.give_pass("st_", visitor, house.settings.session_token_s)
    return JSONResponse(
        {"token": token, "expires_at": expires_at}, headers={"cache-control": "no-store"}
    )


routes = [Route("/v1/sessions", new_session_token, methods=["POST"])]
