"""The voice chat page and its files, with the headers that keep it to itself."""

from __future__ import annotations

from pathlib import Path

from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

import web
from pipeline.errors import NotFound

FILES = Path(web.__file__).parent
SERVED = frozenset({".html", ".css", ".js", ".svg"})

HEADERS = {
    # Nothing inline, nothing from another host.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "microphone=(self), camera=(), geolocation=()",
    # Modules of two versions must not meet after an upgrade: ask each time, by ETag.
    "Cache-Control": "no-cache",
}


async def index(request: Request) -> Response:
    """The page."""
    return FileResponse(FILES / "index.html", headers=HEADERS)


async def file(request: Request) -> Response:
    """One of the files it is made of."""
    path = FILES / request.path_params["name"]
    if path.suffix not in SERVED or path.parent != FILES or not path.is_file():
        raise NotFound("there is no such file")
    return FileResponse(path, headers=HEADERS)


routes: list[BaseRoute] = [Route("/", index), Route("/web/{name}", file)]
