"""Every request has an id: the client's own when it is sane, else ours. Every log line
and response carries it."""

from __future__ import annotations

import re
import secrets

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_SANE = re.compile(rb"[A-Za-z0-9._-]{1,128}")


def new_id() -> str:
    """An id of ours."""
    return f"req_{secrets.token_hex(8)}"


class RequestIds:
    """ASGI middleware that binds `request` in the log context and answers with `x-request-id`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        given = next((value for key, value in scope["headers"] if key == b"x-request-id"), b"")
        request_id = given.decode() if _SANE.fullmatch(given) else new_id()
        scope.setdefault("state", {})["request_id"] = request_id

        async def send_with_id(message: Message) -> None:
            if message["type"] in (
                "http.response.start",
                "websocket.accept",
                "websocket.http.response.start",
            ):
                headers = [*message.get("headers", []), (b"x-request-id", request_id.encode())]
                message = {**message, "headers": headers}
            await send(message)

        # Bound for good: the task ends with the request, and what uvicorn says of an error that
        # passes here it says in this task.
        structlog.contextvars.bind_contextvars(request=request_id)
        await self._app(scope, receive, send_with_id)
