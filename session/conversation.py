"""What was said, by whom, and how much of it was heard: the history of one session. Pure.

A projection of the events a session sends (`note`), so that it never says anything the client was
not told. An assistant's item holds what was heard, never what was generated.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.engines.ports import Message
from pipeline.events import ReplyDone, ReplyStarted, ReplyStatus, ReplyText, UserTranscript

Role = Literal["system", "user", "assistant"]
ROOT = "root"
"""As `after` of `insert`: before everything else."""


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that was said. `status` is "in_progress" while a reply is being spoken."""

    id: str
    role: Role
    text: str
    turn: int = 0
    reply: int = 0
    status: ReplyStatus | Literal["in_progress"] = "completed"


class Conversation:
    """Items in order, bounded by count and by tokens.

    When a bound is passed the oldest items go, down to three quarters of it: cutting in steps keeps
    the prompt's beginning the same for many turns, which a language model's prompt cache rewards.
    """

    def __init__(self, *, max_items: int = 200, max_tokens: int = 1_000) -> None:
        self._items: list[Item] = []
        self._max_items = max_items
        self._max_tokens = max_tokens
        self._counter = 0

    @property
    def items(self) -> tuple[Item, ...]:
        return tuple(self._items)

    # --- what happens in it ----------------------------------------------------------------------

    def note(self, event: object) -> None:
        """Follow an event that the session sends; events that say nothing new are ignored."""
        match event:
            case UserTranscript(turn, text, final=True, discarded=False):
                self._append(Item(self._new_id(), "user", text, turn=turn))
            case ReplyStarted(reply, turn):
                item = Item(self._new_id(), "assistant", "", turn, reply, "in_progress")
                self._append(item)
            case ReplyText(reply, text):
                self._change_reply(reply, lambda item: replace(item, text=item.text + text))
            case ReplyDone(reply=reply, heard=heard, status=status):
                self._change_reply(reply, lambda item: replace(item, text=heard, status=status))
                self._trim()  # now that its size is known, and before the next prompt is prepared
            case _:
                pass

    def insert(self, role: Role, text: str, *, after: str | None = None) -> Item:
        """Put an item in, at the end or after another (`ROOT`: first).

        Raises `KeyError` if there is no such item.
        """
        at = len(self._items)
        if after == ROOT:
            at = 0
        elif after is not None:
            at = self._index(after) + 1
        item = Item(self._new_id(), role, text)
        self._items.insert(at, item)
        self._trim()
        return item

    def delete(self, item_id: str) -> None:
        """Take an item out. Raises `KeyError` if there is no such item."""
        del self._items[self._index(item_id)]

    def truncate(self, item_id: str, text: str) -> None:
        """Cut an assistant's item to what was heard of it. Raises `KeyError`, or `ValueError` if
        `text` is not how the item begins.
        """
        at = self._index(item_id)
        item = self._items[at]
        if item.role != "assistant" or not item.text.startswith(text):
            raise ValueError("an item is cut to a beginning of what it says")
        self._items[at] = replace(item, text=text)

    def clear(self) -> None:
        """Forget everything that was said. Ids are not used again."""
        self._items.clear()

    # --- what the language model sees ------------------------------------------------------------

    def messages(self, instructions: str, *, turn: int, text: str) -> tuple[Message, ...]:
        """The prompt of a reply to `turn`, whose words may not be in the history yet."""
        messages = [Message("system", instructions)] if instructions else []
        messages += [Message(item.role, item.text) for item in self._items if item.text]
        if text and not any(item.role == "user" and item.turn == turn for item in self._items):
            messages.append(Message("user", text))
        return tuple(messages)

    # --- inside ----------------------------------------------------------------------------------

    def _new_id(self) -> str:
        self._counter += 1
        return f"item_{self._counter}"

    def _index(self, item_id: str) -> int:
        for at, item in enumerate(self._items):
            if item.id == item_id:
                return at
        raise KeyError(item_id)

    def _append(self, item: Item) -> None:
        self._items.append(item)
        self._trim()

    def _change_reply(self, reply: int, change: Callable[[Item], Item]) -> None:
        for at in range(len(self._items) - 1, -1, -1):
            if self._items[at].reply == reply and self._items[at].role == "assistant":
                self._items[at] = change(self._items[at])
                return

    def _trim(self) -> None:
        sizes = [tokens(item.text) for item in self._items]
        if len(self._items) <= self._max_items and sum(sizes) <= self._max_tokens:
            return
        keep = len(self._items)
        room_items, room_tokens = self._max_items * 3 // 4, self._max_tokens * 3 // 4
        first = 0
        total = sum(sizes)
        # The newest item stays whatever its size: it is what is being answered.
        while first < keep - 1 and (keep - first > room_items or total > room_tokens):
            total -= sizes[first]
            first += 1
        del self._items[:first]


def tokens(text: str) -> int:
    """An upper estimate of a text's tokens, without a tokenizer: one for every three bytes."""
    return 4 + len(text.encode("utf-8", "surrogatepass")) // 3
