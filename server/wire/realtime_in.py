"""What a Realtime client may send: its events, typed, and the commands that they become. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from server.names import stands_for
from server.wire.realtime_forms import (
    AudioOutput,
    FunctionTool,
    Mistake,
    Name,
    ReplyTokens,
    Text,
    ToolChoice,
    formed,
    read_choice,
    read_tokens,
    read_tools,
    voice_name,
)
from session import limits
from session.items import Item, Role
from session.messages import Modality, Respond

EventId = Annotated[str, Meta(max_length=512)]
ItemId = Annotated[str, Meta(min_length=1, max_length=128)]
MOST_METADATA = 16
MOST_INPUT = 200
"""Items that a response may be a reply to."""


class Event(Struct):
    """What all have."""

    event_id: EventId | None = None


class SessionUpdate(Event, tag="session.update", kw_only=True):
    session: dict[str, Any]


class Append(Event, tag="input_audio_buffer.append", kw_only=True):
    audio: bytes
    """base64, on the wire."""


class Commit(Event, tag="input_audio_buffer.commit"):
    pass


class ClearInput(Event, tag="input_audio_buffer.clear"):
    pass


class ClearOutput(Event, tag="output_audio_buffer.clear"):
    pass


class CreateItem(Event, tag="conversation.item.create", kw_only=True):
    item: dict[str, Any]
    previous_item_id: ItemId | None = None


class DeleteItem(Event, tag="conversation.item.delete", kw_only=True):
    item_id: ItemId


class RetrieveItem(Event, tag="conversation.item.retrieve", kw_only=True):
    item_id: ItemId


class TruncateItem(Event, tag="conversation.item.truncate", kw_only=True):
    item_id: ItemId
    content_index: Annotated[int, Meta(ge=0, le=0)] = 0
    audio_end_ms: Annotated[int, Meta(ge=0, le=10**9)]


class CreateResponse(Event, tag="response.create"):
    response: dict[str, Any] | None = None


class CancelResponse(Event, tag="response.cancel"):
    response_id: ItemId | None = None


ClientEvent = (
    SessionUpdate
    | Append
    | Commit
    | ClearInput
    | ClearOutput
    | CreateItem
    | DeleteItem
    | RetrieveItem
    | TruncateItem
    | CreateResponse
    | CancelResponse
)
_UNREADABLE = (msgspec.MsgspecError, UnicodeError, RecursionError, ValueError)
_decoder: msgspec.json.Decoder[ClientEvent] = msgspec.json.Decoder(ClientEvent)
# A second one makes a union of it, in which no event is without its type.
_large: msgspec.json.Decoder[Append | ClearInput] = msgspec.json.Decoder(Append | ClearInput)


def read_event(text: str | bytes) -> ClientEvent:
    """One frame. Raises `Mistake`."""
    try:
        return _decoder.decode(text)
    except _UNREADABLE as error:
        raise _mistake(error, "Not an event of this API") from None


def read_append(text: str) -> Append:
    """One frame that is too large for an event without audio. Nothing else of it is built: that
    could be millions of objects. Raises `Mistake`."""
    too_large = f"An event without audio has at most {limits.TEXT_BYTES} bytes"
    try:
        event = _large.decode(text)
    except _UNREADABLE as error:
        raise _mistake(error, too_large) from None
    if not isinstance(event, Append):
        raise Mistake(too_large)
    return event


def _mistake(error: Exception, sentence: str) -> Mistake:
    problem, _, path = str(error).partition(" - at `$")
    code = "invalid_value" if isinstance(error, msgspec.ValidationError) else "invalid_json"
    return Mistake(f"{sentence}: {problem[:300]}", code, path.strip(".`") or None)


class _Kind(Struct):
    type: str


_kind: msgspec.json.Decoder[_Kind] = msgspec.json.Decoder(_Kind)


def is_append(text: str) -> bool:
    """Whether a frame would be audio; nothing else of it is looked at."""
    try:
        return _kind.decode(text).type == "input_audio_buffer.append"
    except _UNREADABLE:
        return False


def ref(event: ClientEvent) -> str:
    """How an error finds its way back to the client's event: its type and its id."""
    return f"{event.__struct_config__.tag}|{event.event_id or ''}"


def ref_of(text: str) -> str | None:
    """The `ref` of a frame that was refused; one that is too large is not looked at twice."""
    if limits.is_too_large(text):
        return None
    try:
        raw: Any = msgspec.json.decode(text)
    except _UNREADABLE:
        return None
    if not isinstance(raw, dict):
        return None
    kind, event_id = raw.get("type"), raw.get("event_id")
    named = event_id if isinstance(event_id, str) and len(event_id) <= 512 else ""
    return f"{kind if isinstance(kind, str) else ''}|{named}"


# --- items ----------------------------------------------------------------------------------------


class _Part(Struct):
    type: Literal["input_text", "output_text", "text", "input_audio", "output_audio", "audio"]
    text: Text | None = None
    transcript: Text | None = None


class _Message(Struct, tag="message"):
    role: Literal["system", "user", "assistant"]
    content: Annotated[list[_Part], Meta(max_length=64)]
    id: ItemId | None = None


class _FunctionCall(Struct, tag="function_call"):
    name: Name
    arguments: Text
    call_id: ItemId | None = None
    id: ItemId | None = None


class _FunctionOutput(Struct, tag="function_call_output"):
    call_id: ItemId
    output: Text
    id: ItemId | None = None


class _Reference(Struct, tag="item_reference"):
    id: ItemId


def read_item(raw: dict[str, Any], where: str = "item") -> Item:
    """An item that a client puts in. Raises `Mistake`."""
    match formed(raw, _Message | _FunctionCall | _FunctionOutput, where):
        case _Message(role, content, item_id):
            return Item(item_id or "", role, _said(content, role, where))
        case _FunctionCall(name, arguments, call, item_id):
            # Without an id of its own nothing can answer it: its item's id serves.
            call = call or item_id or ""
            if not call:
                raise Mistake("a function_call has a call_id", param=f"{where}.call_id")
            return Item(item_id or "", "assistant", arguments, call=call, name=name)
        case _FunctionOutput(call, output, item_id):
            return Item(item_id or "", "tool", output, call=call)
        case other:
            raise TypeError(other)


def _said(parts: list[_Part], role: Role, where: str) -> str:
    texts = []
    for at, part in enumerate(parts):
        text = part.text if part.text is not None else part.transcript
        if text is None and part.type.endswith("audio"):
            raise Mistake(
                "audio is taken through the input audio buffer, or with its transcript",
                "unsupported_content",
                f"{where}.content[{at}]",
            )
        texts.append(text or "")
    return "".join(texts) if role == "assistant" else "\n".join(texts)


# --- responses ------------------------------------------------------------------------------------


class _ResponseAudio(Struct):
    output: AudioOutput | None = None


class ResponseForm(Struct):
    """What one response has of its own."""

    instructions: Text | None = None
    output_modalities: Annotated[list[Modality], Meta(min_length=1, max_length=1)] | None = None
    audio: _ResponseAudio | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: ToolChoice | None = None
    max_output_tokens: ReplyTokens | None = None
    conversation: Literal["auto", "none"] | None = None
    metadata: (
        Annotated[
            dict[Annotated[str, Meta(max_length=64)], Annotated[str, Meta(max_length=512)]],
            Meta(max_length=MOST_METADATA),
        ]
        | None
    ) = None
    input: Annotated[list[dict[str, Any]], Meta(max_length=MOST_INPUT)] | None = None

    @property
    def output(self) -> AudioOutput:
        return (self.audio and self.audio.output) or AudioOutput()


def read_response(raw: dict[str, Any] | None) -> ResponseForm:
    """Raises `Mistake`."""
    form: ResponseForm = formed(raw or {}, ResponseForm, "response")
    return form


def respond(
    form: ResponseForm, ask: int, voices: frozenset[str], default: str, ref: str
) -> Respond:
    """The command that asks for it; `default` is the server's own voice. Raises `Mistake`."""
    voice = voice_name(form.output.voice)
    return Respond(
        ask,
        instructions=form.instructions,
        tools=None if form.tools is None else read_tools(form.tools, "response.tools"),
        tool_choice=read_choice(form.tool_choice),
        modality=form.output_modalities[0] if form.output_modalities else None,
        voice=None if voice is None else stands_for(voice, voices, default),
        reply_tokens=(
            None if form.max_output_tokens is None else read_tokens(form.max_output_tokens)
        ),
        input=None if form.input is None else tuple(map(_input, form.input)),
        aside=form.conversation == "none",
        ref=ref,
    )


def _input(raw: dict[str, Any]) -> Item | str:
    if raw.get("type") == "item_reference":
        reference: _Reference = formed(raw, _Reference, "response.input")
        return reference.id
    return read_item(raw, "response.input")
