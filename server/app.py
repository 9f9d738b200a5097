"""The application: every route, and how errors are told. The one place that puts parts together."""

from __future__ import annotations

from typing import Any

import structlog
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from pipeline.engines.build import build
from pipeline.errors import AntiphonError
from server import operations, page, realtime_secrets, speech_api, transcription_api
from server.failures import failure_of, message_of
from server.gauges import Gauges
from server.house import House
from server.realtime_socket import realtime_socket
from server.request_ids import RequestIds
from server.settings import Settings
from server.voice_socket import voice_socket

log = structlog.get_logger(__name__)


def build_house(settings: Settings) -> House:
    """The house with the engines that the settings name; nothing is loaded yet."""
    return House(settings, build(settings.engine_config()))


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
            WebSocketRoute("/v1/realtime", realtime_socket),
            *realtime_secrets.routes,
            *operations.routes,
            *speech_api.routes,
            *transcription_api.routes,
            *page.routes,
        ],
        exception_handlers=handlers,
    )
    app.state.house = house
    app.state.secrets = realtime_secrets.Secrets()
    house.metrics.registry.register(Gauges(house))
    return RequestIds(app)  # outside of everything: a 500 carries its id too


async def tell_failure(connection: HTTPConnection, error: Exception) -> Response | None:
    """An error of ours, by the one table. On a WebSocket: before it is accepted, so as HTTP."""
    row = failure_of(error)
    param = error.param if isinstance(error, AntiphonError) else None
    response = _error(connection, row.http, message_of(error), row.kind, row.code, param)
    if isinstance(error, AntiphonError) and error.retry_after_s is not None:
        response.headers["Retry-After"] = str(max(1, round(error.retry_after_s)))
    if isinstance(connection, WebSocket):
        await connection.send_denial_response(response)
        return None
    return response


async def tell_http(request: Request, error: Exception) -> Response:
    """Starlette's own: no such route, wrong method."""
    assert isinstance(error, HTTPException)
    code = {404: "NOT_FOUND", 405: "BAD_MESSAGE"}.get(error.status_code, "BAD_MESSAGE")
    response = _error(request, error.status_code, error.detail, "invalid_request_error", code)
    response.headers.update(error.headers or {})
    return response


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
