"""Passes: short-lived tokens for one session, for a page or a client that one does not trust.

`POST /v1/sessions` and `POST /v1/realtime/client_secrets` give them out. Whoever shows one comes in
once, as the user who asked for it, and again to go on with the session that it began. Only a hash
of each is kept: in memory, where a restart forgets it, or in Redis, where gateways share it
(`shared_passes.py`).
"""

from __future__ import annotations

import secrets
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from hashlib import sha256
from heapq import heappop, heappush
from typing import Any, Literal, Protocol

import msgspec

from pipeline.errors import RateLimited, Unauthorized
from session.buckets import Allowance

Prefix = Literal["st_", "ek_"]
"""A session token's, and a client secret's."""
MOST_PASSES = 10_000
MOST_BYTES = 16_000_000
"""Of the settings that are kept with them."""
MOST_OF_ONE = 100
"""Unused ones of one user's."""


@dataclass(frozen=True, slots=True)
class Pass:
    """What its bearer comes in as, and with."""

    user: str | None
    """None: nobody is asked who they are."""
    allowance: Allowance | None = None
    session: dict[str, Any] = field(default_factory=dict)
    """A Realtime session's settings."""
    key: bytes = field(default=b"", compare=False, repr=False)
    """By which it is known, once it was used."""


class Passes(Protocol):
    """Those that were given out. Where others keep them, every method raises `SessionsUnreachable`
    while those cannot be reached; `began` and `give_back` say nothing."""

    async def give(self, prefix: Prefix, what: Pass, seconds: float) -> tuple[str, int]:
        """A new one, and when it expires, in seconds since the epoch.

        Raises `RateLimited` when its user has `MOST_OF_ONE` that were not used.
        """

    async def use(self, value: str) -> Pass:
        """What a pass lets in with; from now on it lets nobody in any more.

        Raises `Unauthorized` for one that has expired, was used, or never was.
        """

    async def give_back(self, shown: Pass) -> None:
        """What `use` gave was of no use: the pass lets in again, until it expires. One that began a
        session does not."""

    async def waits(self, value: str) -> bool:
        """Whether it lets somebody in yet; asking does not use it up."""

    async def used(self, value: str) -> Pass | None:
        """Who came in with a pass that was used: for whoever can show besides that it is the same
        client again."""

    async def began(self, key: bytes, session: str) -> None:
        """The session that whoever came in with the pass of this key has."""

    async def session(self, value: str) -> str | None:
        """The session of whoever came in with a pass that was used."""

    async def forget_user(self, user: str) -> None:
        """All of a user's let nobody in any more."""


@dataclass(frozen=True, slots=True)
class _Given:
    kept: Pass
    settings: bytes
    """The session's, in JSON: what they take is counted."""
    expires_at: float


@dataclass(slots=True)
class _Used:
    kept: Pass
    expires_at: float
    session: str | None = None


@dataclass(slots=True)
class _Holder:
    """One user; or nobody, where nobody is asked."""

    unused: OrderedDict[bytes, None] = field(default_factory=OrderedDict)
    """From the oldest on."""
    bytes: int = 0


class PassesHere:
    """One server's own, in memory. Where there are too many, the oldest of whoever has most go; of
    those that were used, those that were asked for longest ago."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._used: OrderedDict[bytes, _Used] = OrderedDict()
        self._given: dict[bytes, _Given] = {}
        self._ends: list[tuple[float, bytes]] = []
        """A heap of when they expire; some were used since."""
        self._of: dict[str | None, _Holder] = {}
        self._bytes = 0

    async def give(self, prefix: Prefix, what: Pass, seconds: float) -> tuple[str, int]:
        now = self._clock()
        self._forget_expired(now)
        holder = self._of.get(what.user)
        if what.user is not None and holder is not None and len(holder.unused) >= MOST_OF_ONE:
            raise RateLimited(
                f"at most {MOST_OF_ONE} tokens that were not used yet", retry_after_s=seconds
            )
        value = prefix + secrets.token_urlsafe(32)
        expires_at = int(now + seconds)
        self._keep(digest(value), what, expires_at)
        return value, expires_at

    async def use(self, value: str) -> Pass:
        given = self._forget(key := digest(value))
        if given is None:
            raise Unauthorized("this token was used already, or never was one", "token_used")
        if given.expires_at <= self._clock():
            raise Unauthorized("this token has expired", "token_expired")
        kept = replace(given.kept, key=key)
        self._used[key] = _Used(kept, given.expires_at)
        if len(self._used) > MOST_PASSES:
            self._used.popitem(last=False)
        return replace(kept, session=msgspec.json.decode(given.settings))

    async def give_back(self, shown: Pass) -> None:
        used = self._used.get(shown.key)
        if used is not None and used.session is None and used.expires_at > self._clock():
            del self._used[shown.key]
            self._keep(shown.key, shown, used.expires_at)

    async def waits(self, value: str) -> bool:
        given = self._given.get(digest(value))
        return given is not None and given.expires_at > self._clock()

    async def used(self, value: str) -> Pass | None:
        if (used := self._used.get(key := digest(value))) is None:
            return None
        self._used.move_to_end(key)
        return used.kept

    async def began(self, key: bytes, session: str) -> None:
        if (used := self._used.get(key)) is not None:
            used.session = session

    async def session(self, value: str) -> str | None:
        used = self._used.get(digest(value))
        return used.session if used is not None else None

    async def forget_user(self, user: str) -> None:
        if (holder := self._of.get(user)) is not None:
            for key in list(holder.unused):
                self._forget(key)

    def _keep(self, key: bytes, what: Pass, expires_at: float) -> None:
        settings = msgspec.json.encode(what.session)
        self._make_room(len(settings))
        self._given[key] = _Given(replace(what, session={}), settings, expires_at)
        heappush(self._ends, (expires_at, key))
        holder = self._of.setdefault(what.user, _Holder())
        holder.unused[key] = None
        holder.bytes += len(settings)
        self._bytes += len(settings)

    def _make_room(self, size: int) -> None:
        """For one more, so that it is not itself the one that goes."""
        while len(self._given) >= MOST_PASSES:
            self._forget_first(max(self._of.values(), key=lambda holder: len(holder.unused)))
        while self._given and self._bytes + size > MOST_BYTES:
            self._forget_first(max(self._of.values(), key=lambda holder: holder.bytes))

    def _forget_first(self, holder: _Holder) -> None:
        self._forget(next(iter(holder.unused)))

    def _forget(self, key: bytes) -> _Given | None:
        given = self._given.pop(key, None)
        if given is None:
            return None
        holder = self._of[given.kept.user]
        del holder.unused[key]
        holder.bytes -= len(given.settings)
        self._bytes -= len(given.settings)
        if not holder.unused:
            del self._of[given.kept.user]
        return given

    def _forget_expired(self, now: float) -> None:
        while self._ends and self._ends[0][0] <= now:
            self._forget(heappop(self._ends)[1])
        if len(self._ends) > 2 * MOST_PASSES:  # most were used, or had to go
            self._ends = sorted((given.expires_at, key) for key, given in self._given.items())


def is_pass(token: str) -> bool:
    """Whether it looks like one. A JWT never does: it begins with a base64 `{`."""
    return token.startswith(("st_", "ek_"))


def digest(value: str) -> bytes:
    """By which a pass is known."""
    # Looking it up by its hash tells nobody, by how long that takes, how much of a guess was right.
    return sha256(value.encode("utf-8", "surrogatepass")).digest()
