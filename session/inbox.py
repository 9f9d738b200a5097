"""Inbox: what waits to be read by one session: in order, bounded by count and by bytes of text."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from pipeline.bell import Bell
from pipeline.signals import DraftCall, DraftText, Looked

from .limits import utf8_bytes
from .messages import Configure, InsertItem, Respond, Say, ToolResult

M = TypeVar("M")

MOST_MESSAGES = 256
MOST_TEXT_BYTES = 100_000
"""Text that may wait, beside one message of whatever size: that is bounded where it comes in."""


class Inbox(Generic[M]):
    """A queue for many senders and one reader. A full one makes its senders wait: stages, and the
    client's reader, so that the client's own TCP window fills. Nothing is dropped.
    """

    def __init__(self) -> None:
        self._messages: list[M] = []  # short, and an empty deque takes 760 bytes
        self._more, self._drained = Bell(), Bell()
        self._room: asyncio.Event | None = None  # most are never full
        self.text_bytes = 0

    def empty(self) -> bool:
        return not self._messages

    @property
    def awaited(self) -> bool:
        """Its reader waits, and nothing is on its way to it."""
        return self._more.awaited and not self._messages

    async def put(self, message: M) -> None:
        """Add a message; wait while there is no room."""
        size = _text_bytes(message)
        while not self._has_room(size):
            self._room = self._room or asyncio.Event()
            self._room.clear()
            await self._room.wait()
        self.text_bytes += size
        self.put_one_more(message)

    def put_one_more(self, message: M) -> None:
        """Add a message without text, room or not, of a sender that has never two in here."""
        self._messages.append(message)
        self.wake()

    def wake(self) -> None:
        """Let the reader look up, though there may be nothing to read."""
        self._more.ring()

    async def get(self) -> M | None:
        """The next message; wait for one. None when woken before there is one."""
        if not self._messages:
            await self._more.wait()
        return self.get_nowait() if self._messages else None

    def get_nowait(self) -> M:
        """The next message. Raises `IndexError`."""
        message = self._messages.pop(0)
        self.text_bytes -= _text_bytes(message)
        if self._room is not None:
            self._room.set()
        if not self._messages:
            self._drained.ring()
        return message

    async def drained(self) -> None:
        """Wait until the last message in here is read, and followed as far as that needs no wait;
        of an empty one, until that of the next. For one sender."""
        await self._drained.wait()

    def _has_room(self, size: int) -> bool:
        text = self.text_bytes
        return len(self._messages) < MOST_MESSAGES and not (
            size and text and text + size > MOST_TEXT_BYTES
        )


def _text_bytes(message: object) -> int:
    """The part of a message whose size somebody else chooses, in UTF-8."""
    match message:
        case Say(text=text) | Configure(instructions=str(text)) | Respond(instructions=str(text)):
            pass
        case ToolResult(output=text):
            pass
        case InsertItem(item=item):
            text = item.text
        case DraftText(text=text) | DraftCall(arguments=text) | Looked(text=text):
            pass
        case _:
            return 0
    return utf8_bytes(text)
