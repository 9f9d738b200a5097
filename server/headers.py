"""What a connection says of itself in its headers: who, from where, and whether it may ask."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Callable
from urllib.parse import urlsplit

from starlette.requests import HTTPConnection

from pipeline.errors import Forbidden, TooLarge, Unauthorized

LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "[::1]"})
SUBPROTOCOL_KEY = "openai-insecure-api-key."
HEADER_BYTES = 16_384
"""All headers of a request together. A head that comes in pieces is bounded by its parser."""
_FORWARDING = ("forwarded", "via", "x-real-ip", "x-client-ip", "true-client-ip", "cf-connecting-ip")


def remote_of(connection: HTTPConnection) -> str:
    """The peer's address."""
    client = connection.client
    return f"{client.host}:{client.port}" if client else "unknown"


def token_of(connection: HTTPConnection) -> str:
    """What a client shows: its bearer token, or, in a browser, one of its subprotocols; or "".

    What stands in the address is not looked at: addresses are kept by proxies and browsers.
    """
    scheme, _, key = connection.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and key.strip():
        return key.strip()
    for offered in connection.scope.get("subprotocols", []):
        if offered.startswith(SUBPROTOCOL_KEY):
            return str(offered.removeprefix(SUBPROTOCOL_KEY))
    return ""


def check_size(connection: HTTPConnection) -> None:
    """Raises `TooLarge` for headers that no client in good order sends."""
    if sum(len(name) + len(value) for name, value in connection.scope["headers"]) > HEADER_BYTES:
        raise TooLarge(f"the headers have more than {HEADER_BYTES} bytes")


def check_host(connection: HTTPConnection, allowed: tuple[str, ...]) -> None:
    """Raises `Forbidden` for a name that is not ours, if ours are known; local ones always are."""
    host = connection.headers.get("host", "")
    named = "*" in allowed or _name(host).lower() in allowed
    if allowed and not named and not is_local(host):
        raise Forbidden(
            f"this server does not answer to {host[:200]!r}; ANTIPHON_ALLOWED_HOSTS can name it",
            "host",
        )


def check_origin(
    connection: HTTPConnection,
    allowed: tuple[str, ...],
    own: Callable[[str], bool] = lambda host: True,
) -> None:
    """A page from elsewhere may not use its visitor's connection. Raises `Forbidden`.

    A client without an Origin is no browser. Our own page's origin has our host; `own` says
    whether that is one.
    """
    origin = connection.headers.get("origin")
    if origin is None or "*" in allowed or origin in allowed:
        return
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        host = ""
    if not host or host != connection.headers.get("host") or not own(host):
        raise Forbidden(
            f"pages from {origin[:200]!r} may not connect; ANTIPHON_ALLOWED_ORIGINS can allow them",
            "origin",
        )


def check_admin(connection: HTTPConnection, token: str) -> None:
    """The admin routes: by bearer token, or, when none is set, from this machine only.

    A request that came through a proxy, or was made to another name for us (a rebound DNS name in
    some page), is not from this machine. Raises `Unauthorized` or `Forbidden`.
    """
    if token:
        scheme, _, given = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.encode(), token.encode()):
            raise Unauthorized("the admin routes want the admin's bearer token", "admin")
        return
    headers = connection.headers
    if (
        not _is_loopback(connection.client.host if connection.client else "")
        or not is_local(headers.get("host", ""))
        or any(name in _FORWARDING or name.startswith("x-forwarded") for name in headers)
    ):
        raise Forbidden(
            "without ANTIPHON_ADMIN_TOKEN the admin routes answer this machine only", "admin"
        )
    check_origin(connection, ())


def _name(host: str) -> str:
    """A host without its port."""
    return host if host.endswith("]") else host.rsplit(":", 1)[0]


def is_local(host: str) -> bool:
    """Whether a Host header names this machine."""
    return _name(host).lower() in LOCAL_HOSTS


def _is_loopback(address: str) -> bool:
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
