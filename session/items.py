"""What is said in a conversation, one thing at a time. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pipeline.events import ReplyStatus
from pipeline.playback import Voiced, heard_until

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was said, a tool that was called, or its answer.

    `status` is "in_progress" while a reply is being spoken, or a call written.
    """

    id: str
    role: Role
    text: str
    """Of a call: its arguments; of a tool: its answer."""
    turn: int = 0
    reply: int = 0
    status: ReplyStatus | Literal["in_progress"] = "completed"
    call: str = ""
    """The id of a tool call, on the call and on its answer; "" on what was said."""
    name: str = ""
    """Of the tool that is called."""
    spoken: bool = False
    """By voice; else it was typed."""
    whole: str = ""
    """A reply's text as far as it was voiced, heard or not; "" when that is not known any more."""
    voiced: tuple[Voiced, ...] = ()
    """Where that lies in its audio."""
    cut_at: int | None = None
    """The sample of its audio where the client stopped hearing it."""


@dataclass(frozen=True, slots=True)
class ItemAdded:
    """An item is in the history, after another (None: it is the first)."""

    item: Item
    after: str | None
    aside: bool = False
    """It is shown, but no part of the history."""


def turn_item(prefix: str, turn: int) -> str:
    """The id that the item of a turn has, or will have, in a conversation whose ids begin so."""
    return f"{prefix}u{turn}"


def whole_bytes(item: Item) -> int:
    """About what it takes to be cut anew."""
    spans = sum(120 + 40 * len(clause.words) for clause in item.voiced)
    return len(item.whole.encode("utf-8", "surrogatepass")) + spans


def cut(item: Item, played: int) -> Item:
    """What was heard of a reply before this sample of its audio."""
    if item.voiced:
        heard = heard_until(item.whole, item.voiced, played)
    else:  # where its words lie is not known
        heard = item.text if played > 0 else ""
    return replace(item, text=heard, status="interrupted", cut_at=played)
