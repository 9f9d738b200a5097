"""What a client changes in the history, or looks at. Pure."""

from __future__ import annotations

from pipeline.errors import BadMessage
from pipeline.voicing import REPLY_HZ

from .conversation import Conversation
from .messages import (
    DeleteItem,
    Edit,
    InsertItem,
    ItemDeleted,
    ItemEvent,
    ItemRetrieved,
    ItemTruncated,
    RetrieveItem,
    TruncateItem,
)


def edit(history: Conversation, command: Edit) -> ItemEvent:
    """Do it; what the client is told. Raises `NoSuchItem`, `ItemExists`, or `BadMessage`."""
    match command:
        case InsertItem(item, after):
            return history.insert(item, after=after)
        case DeleteItem(item_id):
            history.delete(item_id)
            return ItemDeleted(item_id)
        case TruncateItem(item_id, audio_ms):
            try:
                history.truncate(item_id, audio_ms * REPLY_HZ // 1000)
            except ValueError as error:
                raise BadMessage(str(error)) from None
            return ItemTruncated(item_id, audio_ms)
        case RetrieveItem(item_id):
            return ItemRetrieved(history.item(item_id))
