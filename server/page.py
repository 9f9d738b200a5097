"""The voice chat page, the admin page and their files: packed once, with headers that keep them to
themselves. What the admin page shows is behind the admin's token; the page itself says nothing.
"""

from __future__ import annotations

import gzip
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

import web

FILES = Path(web.__file__).parent
TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}
"""What is served, and as what."""

FOR_OTHERS = frozenset({"antiphon.js", "line.js", "typed.js"})
"""The client and its parts: what pages of other origins may import. Whether they may talk is
decided at the socket."""

PAYS_BYTES = 1_000
"""Smaller files fit into one packet as they are."""

HEADERS = {
    # Nothing inline, nothing from another host.
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; "
        "frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": (
        "microphone=(self), camera=(), geolocation=(), display-capture=(), payment=(), usb=()"
    ),
    # Modules of two versions must not meet after an upgrade: ask each time, by ETag.
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}


@dataclass(frozen=True, slots=True)
class _File:
    body: bytes
    packed: bytes | None
    """With gzip, where that pays."""
    etag: str
    media_type: str


@lru_cache(maxsize=64)
def _read(path: Path, mtime_ns: int) -> _File:
    body = path.read_bytes()
    packed = gzip.compress(body, 9, mtime=0) if len(body) >= PAYS_BYTES else None
    return _File(body, packed, hashlib.sha256(body).hexdigest()[:20], TYPES[path.suffix])


def _respond(request: Request, name: str) -> Response:
    path = FILES / name
    if path.suffix not in TYPES or path.parent != FILES or not path.is_file():
        raise HTTPException(404, "there is no such file")
    file = _read(path, path.stat().st_mtime_ns)
    packs = "gzip" in request.headers.get("accept-encoding", "")
    packed = file.packed if packs else None
    # The two forms are two representations, each with a tag of its own (RFC 9110, 8.8.3.3).
    etag = f'"{file.etag}{"" if packed is None else "-gzip"}"'
    headers = {**HEADERS, "ETag": etag}
    if name in FOR_OTHERS:
        headers["Access-Control-Allow-Origin"] = "*"
    if etag in request.headers.get("if-none-match", ""):
        return Response(status_code=304, headers=headers)
    if packed is not None:
        headers["Content-Encoding"] = "gzip"
    return Response(packed or file.body, headers=headers, media_type=file.media_type)


async def index(request: Request) -> Response:
    """The voice chat page."""
    return _respond(request, "index.html")


async def admin(request: Request) -> Response:
    """The admin page."""
    return _respond(request, "admin.html")


async def file(request: Request) -> Response:
    """One of the files they are made of."""
    return _respond(request, request.path_params["name"])


voice_routes: list[BaseRoute] = [Route("/", index)]
"""What `ANTIPHON_PAGE=off` takes away."""

routes: list[BaseRoute] = [
    Route("/admin", admin),
    Route("/web/{name}", file),
]
