"""Inbox: what waits to be read by one session: in order, bounded by count and by bytes of text."""

from __future__ import annotations

import asyncio
from typing import Generic, TypeVar

from pipeline.signals import DraftCall, DraftText, Looked

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
        self._queue: asyncio.Queue[M] = asyncio.Queue(MOST_MESSAGES)
        self._room = asyncio.Event()
        self.text_bytes = 0

    def empty(self) -> bool:
        return self._queue.empty()

    async def put(self, message: M) -> None:
        """Add a message; wait while there is no room."""
        size = _text_bytes(message)
        while size and self.text_bytes and self.text_bytes + size > MOST_TEXT_BYTES:
            self._room.clear()
            await self._room.wait()
        self.text_bytes += size
        try:
            await self._queue.put(message)
        except BaseException:
            self.text_bytes -= size
            raise

    async def get(self) -> M:
        """The next message; wait for one."""
        return self._taken(await self._queue.get())

    def get_nowait(self) -> M:
        """The next message. Raises `asyncio.QueueEmpty`."""
        return self._taken(self._queue.get_nowait())

    def _taken(self, message: M) -> M:
        if size := _text_bytes(message):
            self.text_bytes -= size
            self._room.set()
        return message


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
    return len(text.encode("utf-8", "surrogatepass"))
