"""What is kept of a user: shown, and forgotten. Each user's own by the user's token, anybody's by
the operator's.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any, Literal

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.errors import NotFound, SessionsUnreachable, StoreFailed
from server.headers import remote_of
from server.house import House
from session.kept import Kept, shown

log = structlog.get_logger(__name__)

AGAIN_S = 10.0
"""Whoever could not be forgotten whole is to ask again after so long."""
_UNCACHED = {"cache-control": "no-store"}


@dataclass(frozen=True, slots=True)
class _Asked:
    """Whose data somebody asks for, and who that is."""

    house: House
    user: str
    by: Literal["user", "operator"]
    remote: str

    async def export(self) -> Response:
        """Every session of the user's: the one that goes on, those that may, and those that are
        kept for the user alone."""
        house, user = self.house, self.user
        rows = sessions_here(house, user)
        if house.fellows is not None:
            rows += await house.fellows.rows("export", user)
        here = {row["id"] for row in rows}
        if house.keeping is not None:
            kept = await house.keeping.of_user(user)
            rows += [_session(one) for one in kept if one.session not in here]
        house.user_data("exported", self.by, user, self.remote, len(rows))
        return JSONResponse({"user": user, "sessions": rows}, headers=_UNCACHED)

    async def forget(self) -> Response:
        """End the user's sessions, and forget all of them: they are out of the file when this is
        answered. What was to begin one, and was not used, begins none any more.

        Raises `SessionsUnreachable` when something may be left.
        """
        house, user = self.house, self.user
        await house.gate.passes.forget_user(user)
        sessions = await house.sessions.end_user(user, "the user's data is deleted")
        if house.fellows is not None:
            sessions |= await house.fellows.end_user(user)
        if house.keeping is not None:
            try:
                sessions |= await house.keeping.forget_user(user)
            except StoreFailed as error:
                log.warning("not_forgotten", error=str(error))
                raise SessionsUnreachable(
                    "not everything is deleted yet: ask again", retry_after_s=AGAIN_S
                ) from None
        house.user_data("forgotten", self.by, user, self.remote, len(sessions))
        return JSONResponse({"user": user, "forgotten": len(sessions)})


async def export(request: Request) -> Response:
    """`GET /v1/users/{id}/data`. Raises `Forbidden`, `Unauthorized`."""
    return await _by_operator(request).export()


async def forget(request: Request) -> Response:
    """`DELETE /v1/users/{id}/data`. Raises `Forbidden`, `Unauthorized`."""
    return await _by_operator(request).forget()


async def export_own(request: Request) -> Response:
    """`GET /v1/me/data`. Raises `Forbidden`, `Unauthorized`, `NotFound`, `RateLimited`."""
    return await (await _by_user(request)).export()


async def forget_own(request: Request) -> Response:
    """`DELETE /v1/me/data`. Raises `Forbidden`, `Unauthorized`, `NotFound`, `RateLimited`."""
    return await (await _by_user(request)).forget()


def sessions_here(house: House, user: str) -> list[dict[str, Any]]:
    """Those of the user's that go on at this server."""
    theirs = (session for session in house.sessions if session.identity.user == user)
    return [_session(session.kept()) for session in theirs]


routes = [
    # A user's id may have slashes: many an identity provider's `sub` is an address.
    Route("/v1/users/{id:path}/data", export, methods=["GET"]),
    Route("/v1/users/{id:path}/data", forget, methods=["DELETE"]),
    Route("/v1/me/data", export_own, methods=["GET"]),
    Route("/v1/me/data", forget_own, methods=["DELETE"]),
]


def _by_operator(request: Request) -> _Asked:
    house: House = request.app.state.house
    house.gate.admin(request)
    return _Asked(house, request.path_params["id"], "operator", remote_of(request))


async def _by_user(request: Request) -> _Asked:
    """Whoever the token says it is. A session token will not do: it was made to be handed on."""
    house: House = request.app.state.house
    visitor = await house.gate.request(request)
    if visitor.user is None:
        raise NotFound("without authentication nobody is known, and nothing is kept of anybody")
    with house.budgets.request(visitor.user, visitor.allowance) as budget:
        now = time.monotonic()
        budget.check_turn(now)
        budget.spend_turn()  # what reads the store holds up those who write
    return _Asked(house, visitor.user, "user", remote_of(request))


def _session(kept: Kept) -> dict[str, Any]:
    settings = kept.settings
    return {
        "id": kept.session,
        "remote": kept.remote,
        "connected_at": round(kept.connected_at, 3),
        "settings": {
            "voice": settings.voice,
            "speed": settings.speed,
            "language": settings.language,
            "pace": settings.pace,
            "instructions": settings.instructions,
        },
        "turns": kept.turns,
        "items": [shown(item) for item in kept.items],
    }
