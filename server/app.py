"""The application: every route, and how errors are told. The one place that puts parts together."""

from __future__ import annotations

from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Router, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocket

from pipeline.engines.build import build
from pipeline.errors import AntiphonError
from server import (
    operations,
    page,
    realtime_secrets,
    session_tokens,
    speech_api,
    transcription_api,
    user_data,
)
from server.configs import engine_config
from server.failures import failure_of, message_of
from server.gauges import Gauges
from server.house import House
from server.realtime_socket import realtime_socket
from server.request_ids import RequestIds
from server.settings import Settings
from server.voice_socket import voice_socket

log = structlog.get_logger(__name__)

RETRY_S = 5.0
"""When to come back, where an error that says "later" does not say when."""


def build_house(settings: Settings) -> House:
    """The house with the engines that the settings name; nothing is loaded yet."""
    return House(settings, build(engine_config(settings)))


def create_app(house: House) -> ASGIApp:
    """The ASGI application around a house."""
    handlers: dict[Any, Any] = {
        AntiphonError: tell_failure,
        HTTPException: tell_http,
        Exception: tell_internal,
    }
    app = Starlette(
        routes=[
            WebSocketRoute("/ws", voice_socket),
            *session_tokens.routes,
            *operations.routes,
            *user_data.routes,
            *speech_api.routes,
            *transcription_api.routes,
            *page.routes,
            *_optional(house.settings),
        ],
        exception_handlers=handlers,
    )
    app.state.house = house
    app.router.default = _nowhere(app.router)
    house.metrics.registry.register(Gauges(house))
    return RequestIds(app)  # outside of everything: a 500 carries its id too


def _optional(settings: Settings) -> list[BaseRoute]:
    realtime = [WebSocketRoute("/v1/realtime", realtime_socket), *realtime_secrets.routes]
    return [*(realtime if settings.realtime else []), *(page.voice_routes if settings.page else [])]


async def tell_failure(connection: HTTPConnection, error: Exception) -> Response | None:
    """An error of ours, by the one table. On a WebSocket: before it is accepted, so as HTTP."""
    connection.app.state.house.gate.tell(error, connection)
    row = failure_of(error)
    param = error.param if isinstance(error, AntiphonError) else None
    response = _error(connection, row.http, message_of(error), row.kind, row.code, param)
    retry_after_s = error.retry_after_s if isinstance(error, AntiphonError) else None
    if retry_after_s is None and row.http in (429, 503):
        retry_after_s = RETRY_S
    if retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, round(retry_after_s)))
    if row.http == 401:
        response.headers["WWW-Authenticate"] = "Bearer"
    if isinstance(connection, WebSocket):
        await connection.send_denial_response(response)
        return None
    return response


async def tell_http(request: Request, error: Exception) -> Response:
    """Starlette's own: no such route, wrong method."""
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        request.app.state.house.gate.note("path", request)
    code = {404: "NOT_FOUND", 405: "BAD_MESSAGE"}.get(error.status_code, "BAD_MESSAGE")
    response = _error(request, error.status_code, error.detail, "invalid_request_error", code)
    response.headers.update(error.headers or {})
    return response


def _nowhere(router: Router) -> ASGIApp:
    """What Starlette does with what no route takes; it raises nothing for a WebSocket's."""

    async def nowhere(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            scope["app"].state.house.gate.note("path", HTTPConnection(scope))
            # A close before the accept is a 403 too, but one without an id.
            await WebSocket(scope, receive, send).send_denial_response(Response(status_code=403))
            return
        await router.not_found(scope, receive, send)

    return nowhere


async def tell_internal(request: Request, error: Exception) -> Response:
    """Our fault; the log has the traceback under the request's id."""
    log.error("request_failed", path=request.url.path, exc_info=error)
    return _error(request, 500, message_of(error), "server_error", "INTERNAL")


def _error(
    connection: HTTPConnection,
    http: int,
    message: str,
    kind: str,
    code: str,
    param: str | None = None,
) -> JSONResponse:
    return JSONResponse(
        {
            "error": {"message": message, "type": kind, "code": code, "param": param},
            "request_id": connection.state.request_id,
        },
        http,
    )
