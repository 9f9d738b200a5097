"""What is kept of a session, so that it can go on where it was: a plain value, and its bytes. Pure.

Audio is never kept. A reply that is under way is kept as it would be if the line were lost now: cut
at what was heard of it.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec

from pipeline.errors import StoreFailed

from .items import Item
from .messages import Settings
from .records import Identity

FORMAT = 1

F = TypeVar("F", "Kept", "Summary")


@dataclass(frozen=True, slots=True)
class Kept:
    """One session's conversation, settings and counters."""

    session: str
    user: str | None
    remote: str
    """Where it was connected from last."""
    connected_at: float
    """When it was connected last, in Unix time."""
    settings: Settings
    items: tuple[Item, ...]
    prefix: str
    """How the ids of its items begin."""
    counter: int
    """Ids of items that were given away."""
    next_turn: int
    next_reply: int
    turns: int
    """With words."""
    typed: tuple[tuple[str, int], ...] = ()
    """Ids that typed turns came with, and their turns."""
    format: int = FORMAT

    def encoded(self) -> bytes:
        """Raises `StoreFailed` for text that is none (half of a surrogate pair)."""
        try:
            return msgspec.json.encode(self)
        except UnicodeEncodeError as error:
            raise StoreFailed("there is something in it that cannot be written") from error


def nothing(identity: Identity, settings: Settings) -> Kept:
    """Of a session that begins."""
    return Kept(
        identity.session, identity.user, identity.remote, 0.0, settings,
        items=(), prefix=f"item_{secrets.token_hex(5)}_", counter=0,
        next_turn=1, next_reply=1, turns=0,
    )  # fmt: skip


def decoded(body: bytes) -> Kept:
    """Raises `StoreFailed` for what this version cannot read."""
    return _read(body, Kept)


@dataclass(frozen=True, slots=True)
class Summary:
    """What a list shows of a session that is kept."""

    session: str
    user: str | None
    remote: str
    connected_at: float
    turns: int
    format: int = FORMAT


def summary(body: bytes) -> Summary:
    """As `decoded`, in a tenth of the time: the history is passed over."""
    return _read(body, Summary)


def _read(body: bytes, form: type[F]) -> F:
    try:
        kept = msgspec.json.decode(body, type=form)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise StoreFailed(f"a kept session cannot be read: {error}") from error
    if kept.format != FORMAT:
        raise StoreFailed(f"a kept session is of format {kept.format}")
    return kept


def at_rest(item: Item, heard: str) -> Item:
    """An item without what only a running session needs; one in progress ends at what was heard,
    and a call whose arguments were not whole is none."""
    text, status = item.text, item.status
    if status == "in_progress":
        text, status = (text, "failed") if item.call else (heard, "interrupted")
    elif not (item.whole or item.voiced or item.cut_at is not None):
        return item
    # Not by `replace`, which takes four times as long: this is the whole history at every save.
    return Item(
        item.id, item.role, text, item.turn, item.reply, status, item.call, item.name, item.spoken
    )


def shown(item: Item) -> dict[str, Any]:
    """An item as its client, and its user, may see it."""
    fields = {
        "id": item.id, "role": item.role, "text": item.text, "turn": item.turn or None,
        "reply": item.reply or None, "status": item.status, "call": item.call or None,
        "name": item.name or None,
    }  # fmt: skip
    return {name: value for name, value in fields.items() if value is not None}
