"""Who may enter, and when it is decided: before a socket is accepted, or by its hello.

`Gate` adds who is known to what a connection says of itself (`headers.py`), and tells of everybody
whom it turns away.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from starlette.requests import HTTPConnection

from pipeline.errors import (
    Forbidden,
    SlowClient,
    TooLarge,
    TooMuchAudio,
    Unauthorized,
)
from server.auth import User
from server.headers import (
    check_admin,
    check_host,
    check_origin,
    check_size,
    is_local,
    remote_of,
    token_of,
)
from server.passes import Pass, Passes, is_pass
from session.buckets import Allowance

REASONS = (
    "token_missing", "token_bad", "token_expired", "token_early", "token_audience",
    "token_algorithm", "token_used", "origin", "host", "admin", "path", "malformed", "too_large",
    "slow",
)  # fmt: skip
"""Why somebody is turned away, or something is not read."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Whoever came in."""

    user: str | None = None
    """None: nobody is asked."""
    allowance: Allowance | None = None
    session: dict[str, Any] = field(default_factory=dict)
    """The Realtime session's settings that a client secret brings."""
    key: bytes = b""
    """Of the token for one session that it came in with."""
    spent: Pass | None = None
    """That token, if it had not been used before."""


class Users(Protocol):
    """Who knows the users by their tokens."""

    async def user(self, token: str) -> User:
        """Raises `Unauthorized`, `KeysUnreachable`."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the settings say of who may enter."""

    origins: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()
    on_loopback: bool = True
    """This machine alone reaches the server."""
    admin_token: str = ""


class Gate:
    """One server's gate."""

    def __init__(
        self,
        rules: Rules,
        users: Users | None,
        passes: Passes,
        refused: Callable[[str, dict[str, Any]], None],
    ) -> None:
        """`users`: None lets everybody in. `refused` is told a reason, and what is known of who."""
        self._rules = rules
        self._users = users
        self._refused = refused
        self.passes = passes

    @property
    def asks(self) -> bool:
        """Whether a token is wanted."""
        return self._users is not None

    def check(self, connection: HTTPConnection) -> None:
        """The headers of whoever comes. Raises `Forbidden`, `TooLarge`."""
        check_size(connection)
        check_host(connection, self._rules.hosts)
        check_origin(connection, self._rules.origins, own=self._own)

    async def request(self, connection: HTTPConnection) -> Visitor:
        """Who makes a request. Raises `Forbidden`, `Unauthorized`, `KeysUnreachable`."""
        self.check(connection)
        if self._users is None:
            return Visitor()
        token = token_of(connection)
        if not token:
            raise _missing()
        if is_pass(token):
            raise Unauthorized("this token is for a session alone", "token_bad")
        return _known(await self._users.user(token))

    async def reader(
        self, connection: HTTPConnection, lasts: Callable[[str], Awaitable[bool]]
    ) -> None:
        """Let in who reads what there is to choose from: as `request`, and whoever has a token for
        one session, until it expires unused, and then for as long as the session that it began
        `lasts`. Raises as `request` does.
        """
        self.check(connection)
        token = token_of(connection)
        if is_pass(token):
            session = await self.passes.session(token)
            if await self.passes.waits(token) if session is None else await lasts(session):
                return
        await self.request(connection)

    async def socket(self, connection: HTTPConnection) -> Visitor | None:
        """Who opens a socket; None when a token is wanted and none is shown yet. Raises as
        `request` does.
        """
        self.check(connection)
        token = token_of(connection)
        if self._users is not None and not token:
            return None
        return await self.show(token)

    async def show(self, token: str) -> Visitor:
        """Who shows this token for a session. Raises `Unauthorized`, `KeysUnreachable`."""
        if self._users is None:
            # Any key will do for a client that sends one; a client secret brings its settings.
            return await self._spend(token) if token.startswith("ek_") else Visitor()
        if not token:
            raise _missing()
        if is_pass(token):
            return await self._spend(token)
        return _known(await self._users.user(token))

    async def show_again(
        self, token: str, proves: Callable[[str | None], Awaitable[bool]]
    ) -> Visitor:
        """As `show`; a token for one session serves again for whoever `proves`, asked with its
        user, to be the client of a session that it began."""
        try:
            return await self.show(token)
        except Unauthorized:
            used = await self.passes.used(token) if is_pass(token) else None
            if used is None or not await proves(used.user):
                raise
            return _bearer(used)

    async def give_back(self, visitor: Visitor) -> None:
        """It is told to come again: the token that it came in with lets it in then."""
        if visitor.spent is not None:
            await self.passes.give_back(visitor.spent)

    async def for_session(self, connection: HTTPConnection) -> Visitor:
        """Who opens a socket of a protocol without a hello: as `socket`, and a token is wanted."""
        visitor = await self.socket(connection)
        if visitor is None:
            raise _missing()
        return visitor

    def admin(self, connection: HTTPConnection) -> None:
        """Raises `Forbidden`, `Unauthorized`."""
        check_size(connection)
        check_admin(connection, self._rules.admin_token)

    def tell(self, error: BaseException, connection: HTTPConnection) -> None:
        """Somebody was told this error: if it says that the gate was shut, count and note it.

        To be called once for each, where it is told.
        """
        if (reason := reason_of(error)) is not None:
            self.note(reason, connection)

    def note(self, reason: str, connection: HTTPConnection) -> None:
        """Count and note one that was turned away, or not read."""
        self._refused(
            reason,
            {
                "remote": remote_of(connection),
                "route": connection.scope["path"][:200],
                "origin": connection.headers.get("origin", "")[:200] or None,
            },
        )

    async def _spend(self, token: str) -> Visitor:
        shown = await self.passes.use(token)
        return replace(_bearer(shown), spent=shown)

    def _own(self, host: str) -> bool:
        """Whether a page may call this name its own. One that listens on loopback has local
        names, unless others are set: any other is a name that somebody pointed here to have a
        visitor's browser talk to us (DNS rebinding).
        """
        return bool(self._rules.hosts) or not self._rules.on_loopback or is_local(host)


def _known(user: User) -> Visitor:
    return Visitor(user.id, user.allowance)


def _bearer(shown: Pass) -> Visitor:
    return Visitor(shown.user, shown.allowance, shown.session, shown.key)


def _missing() -> Unauthorized:
    return Unauthorized(
        "a token is wanted: Authorization: Bearer ..., or `token` in the hello of /ws",
        "token_missing",
    )


def reason_of(error: BaseException) -> str | None:
    """Which of `REASONS` an error stands for; None for one that turns nobody away."""
    match error:
        case Unauthorized(why=why) | Forbidden(why=why):
            return why
        case TooLarge() | TooMuchAudio():
            return "too_large"
        case SlowClient():
            return "slow"
        case _:
            return None
