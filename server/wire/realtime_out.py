"""The Realtime protocol's items, responses and errors, as JSON objects. Pure, and without state."""

from __future__ import annotations

from typing import Any

from pipeline import errors
from pipeline.events import ReplyDone
from server.failures import failure_of, message_of
from server.wire.realtime_forms import Mistake
from session.items import Item

_CODES: dict[type[BaseException], str] = {
    errors.NothingToCommit: "input_audio_buffer_commit_empty",
    errors.ReplyUnderWay: "conversation_already_has_active_response",
    errors.NoReplyUnderWay: "response_cancel_not_active",
    errors.ItemExists: "item_create_duplicate_item_id",
    errors.RateLimited: "rate_limit_exceeded",
    errors.TooMuchAudio: "rate_limit_exceeded",
    errors.TooManyMessages: "rate_limit_exceeded",
    errors.BadMessage: "invalid_value",
    errors.BadAudio: "invalid_value",
    errors.AtCapacity: "server_overloaded",
    errors.PoolTimeout: "server_overloaded",
    errors.GoingAway: "session_expired",
}
"""What clients know these by; all others are `server_error`, with our own code as it is."""
_WORDS: dict[type[BaseException], str] = {
    errors.NoReplyUnderWay: "Cancellation failed: no active response found",
}
"""Of the reference's own where clients go by them (LiveKit's plugin does)."""
_NO_ITEM = {
    "conversation.item.retrieve": "item_retrieve_invalid_item_id",
    "conversation.item.delete": "item_delete_invalid_item_id",
    "conversation.item.truncate": "item_truncate_invalid_item_id",
    "conversation.item.create": "item_create_invalid_item_id",
}


def code_of(error: BaseException, event: str = "") -> str:
    """The API's code for what went wrong with an event of this type ("": with none)."""
    if isinstance(error, Mistake):
        return error.code
    if isinstance(error, errors.NoSuchItem):
        return _NO_ITEM.get(event, "invalid_item_id")
    for kind in type(error).__mro__:
        if kind in _CODES:
            return _CODES[kind]
    return failure_of(error).code.lower()


def error_object(error: Exception, event: str = "", event_id: str | None = None) -> dict[str, Any]:
    """The `error` of an `error` event."""
    return {
        "type": failure_of(error).kind,
        "code": code_of(error, event),
        "message": _WORDS.get(type(error)) or message_of(error),
        "param": error.param if isinstance(error, Mistake) else None,
        "event_id": event_id,
    }


# --- items ----------------------------------------------------------------------------------------


def item_object(item: Item, *, heard: bool = True) -> dict[str, Any]:
    """An item as it is. With `heard` false, of a spoken turn nobody says yet what it was."""
    status = {"completed": "completed", "in_progress": "in_progress"}.get(item.status, "incomplete")
    base = {"id": item.id, "object": "realtime.item", "status": status}
    if item.role == "tool":
        return base | {"type": "function_call_output", "call_id": item.call, "output": item.text}
    if item.call:
        return base | {
            "type": "function_call",
            "call_id": item.call,
            "name": item.name,
            "arguments": item.text,
        }
    content = [] if item.status == "in_progress" else [_content(item, heard=heard)]
    return base | {"type": "message", "role": item.role, "content": content}


def _content(item: Item, *, heard: bool) -> dict[str, Any]:
    match item.role, item.spoken:
        case "user", True:
            return {"type": "input_audio", "transcript": item.text if heard else None}
        case "assistant", True:
            return {"type": "output_audio", "transcript": item.text}
        case "assistant", _:
            return {"type": "output_text", "text": item.text}
        case _:
            return {"type": "input_text", "text": item.text}


# --- responses ------------------------------------------------------------------------------------


def ending(done: ReplyDone, error: Exception | None) -> tuple[str, dict[str, Any] | None]:
    """A response's last `status`, and its details."""
    match done.status:
        case "completed" if done.cut_short:
            return "incomplete", {"type": "incomplete", "reason": "max_output_tokens"}
        case "completed":
            return "completed", None
        case "interrupted":
            return "cancelled", {"type": "cancelled", "reason": "turn_detected"}
        case "cancelled":
            return "cancelled", {"type": "cancelled", "reason": "client_cancelled"}
        case _:
            failed = error or errors.AntiphonError("the response failed")
            cause = {
                "type": failure_of(failed).kind,
                "code": code_of(failed),
                "message": message_of(failed),
            }
            return "failed", {"type": "failed", "error": cause}


def usage(done: ReplyDone) -> dict[str, Any]:
    """Tokens, estimated from text: there are none of audio, as speech is made from text here."""
    return {
        "total_tokens": done.prompt_tokens + done.reply_tokens,
        "input_tokens": done.prompt_tokens,
        "output_tokens": done.reply_tokens,
        "input_token_details": {
            "text_tokens": done.prompt_tokens,
            "audio_tokens": 0,
            "image_tokens": 0,
            "cached_tokens": 0,
            "cached_tokens_details": {"text_tokens": 0, "audio_tokens": 0, "image_tokens": 0},
        },
        "output_token_details": {"text_tokens": done.reply_tokens, "audio_tokens": 0},
    }
