"""Who may enter: origins, and the admin's door."""

from __future__ import annotations

import hmac
import ipaddress
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from pipeline.errors import Forbidden, Unauthorized

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
_FORWARDING = ("forwarded", "x-forwarded-for", "x-forwarded-host", "x-real-ip")


def check_origin(connection: HTTPConnection, allowed: tuple[str, ...]) -> None:
    """A page from elsewhere may not use its visitor's connection. Raises `Forbidden`.

    A client without an Origin is no browser. Our own page's origin has our host.
    """
    origin = connection.headers.get("origin")
    if origin is None or "*" in allowed or origin in allowed:
        return
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        host = ""
    if not host or host != connection.headers.get("host"):
        raise Forbidden(
            f"pages from {origin[:200]} may not connect; ANTIPHON_ALLOWED_ORIGINS can allow them"
        )


def check_admin(connection: HTTPConnection, token: str) -> None:
    """The admin routes: by bearer token, or, when none is set, from this machine only.

    A request that came through a proxy, or was made to another name for us (a rebound DNS name in
    some page), is not from this machine. Raises `Unauthorized` or `Forbidden`.
    """
    if token:
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), token.encode()):
            raise Unauthorized("the admin routes want the admin's bearer token")
        return
    host = connection.headers.get("host", "")
    name = host.rsplit(":", 1)[0] if not host.endswith("]") else host
    if (
        not _is_loopback(connection.client.host if connection.client else "")
        or name not in LOCAL_HOSTS
        or any(header in connection.headers for header in _FORWARDING)
    ):
        raise Forbidden("without ANTIPHON_ADMIN_TOKEN the admin routes answer this machine only")


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
