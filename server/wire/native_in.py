"""What a client of `antiphon.v1` may send: JSON -> Commands. Pure.

Messages are typed structs, so that what is not of the form is refused in one step, with a sentence
that says where; unknown fields are ignored.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from pipeline.engines.ports import Tool
from pipeline.errors import BadMessage
from server.wire.tagged import AudioForm
from session import limits
from session import messages as msg

Name = Annotated[str, Meta(max_length=200)]
Text = Annotated[str, Meta(max_length=100_000)]
ToolName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Speed = Annotated[float, Meta(ge=0.25, le=4.0)]
Pace = Literal["quick", "normal", "patient"]
Detection = Literal["auto", "manual"]


class _Audio(Struct):
    rate: Annotated[int, Meta(ge=8_000, le=48_000)] = 16_000
    codec: Literal["pcm16", "opus"] = "pcm16"
    framing: Literal["raw", "tagged"] = "raw"


class _Tool(Struct):
    name: ToolName
    description: Text = ""
    parameters: dict[str, Any] = msgspec.field(default_factory=dict)


class _Configure(Struct, tag="configure"):
    voice: Name | None = None
    speed: Speed | None = None
    language: Name | None = None
    instructions: Text | None = None
    pace: Pace | None = None
    turn_detection: Detection | None = None
    tools: list[_Tool] | None = None


class _Hello(_Configure, tag="hello"):
    audio: _Audio = msgspec.field(default_factory=_Audio)
    resume: Name | None = None
    token: Annotated[str, Meta(max_length=10_000)] | None = None


class _Text(Struct, tag="text"):
    text: Annotated[str, Meta(min_length=1, max_length=100_000)]
    id: Name | None = None


class _Playback(Struct, tag="playback"):
    reply: Annotated[int, Meta(ge=1, le=2**53)]
    played_ms: Annotated[float, Meta(ge=0, le=1e9)]
    done: bool = False


class _ToolResult(Struct, tag="tool_result"):
    call: Name
    output: Any = None
    id: Name | None = None


class _Mute(Struct, tag="mute"):
    pass


class _Unmute(Struct, tag="unmute"):
    pass


class _Commit(Struct, tag="commit"):
    pass


class _Cancel(Struct, tag="cancel"):
    pass


class _Clear(Struct, tag="clear"):
    pass


class _Bye(Struct, tag="bye"):
    pass


_Message = (
    _Hello
    | _Configure
    | _Text
    | _Playback
    | _ToolResult
    | _Mute
    | _Unmute
    | _Commit
    | _Cancel
    | _Clear
    | _Bye
)
_decoder: msgspec.json.Decoder[_Message] = msgspec.json.Decoder(_Message)


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message: how the microphone's audio comes, and what the client chooses."""

    audio: AudioForm
    choices: msg.Configure
    token: str | None = None
    resume: str | None = None


def decode(text: str) -> Hello | msg.Command:
    """One text frame. Raises `BadMessage` with a sentence that says what is wrong."""
    if limits.is_too_large(text):
        raise BadMessage(f"a message has at most {limits.TEXT_BYTES} bytes")
    try:
        message = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError, ValueError) as error:
        raise BadMessage(_plain(str(error))) from None
    match message:
        case _Hello():
            audio = AudioForm(message.audio.rate, message.audio.codec, message.audio.framing)
            if audio.codec == "opus" and audio.framing != "tagged":
                raise BadMessage('codec "opus" goes with framing "tagged"')
            return Hello(audio, _choices(message), message.token, message.resume)
        case _Configure():
            return _choices(message)
        case _Text():
            if not message.text.strip():
                raise BadMessage("a typed turn has some text")
            return msg.Say(message.text, message.id)
        case _Playback():
            return msg.PlaybackReport(message.reply, message.played_ms, message.done)
        case _ToolResult():
            return msg.ToolResult(message.call, _output(message.output), message.id)
        case _Mute():
            return msg.Mute()
        case _Unmute():
            return msg.Unmute()
        case _Commit():
            return msg.Commit()
        case _Cancel():
            return msg.CancelReply()
        case _Clear():
            return msg.Clear()
        case _Bye():
            return msg.Bye()


def _choices(message: _Configure) -> msg.Configure:
    return msg.Configure(
        message.voice,
        message.instructions,
        message.speed,
        message.language,
        message.pace,
        message.turn_detection,
        None if message.tools is None else check_tools(_tools(message.tools)),
    )


def _output(output: object) -> str:
    """A tool's answer as the model reads it: text as it is, all else as JSON."""
    return output if isinstance(output, str) else msgspec.json.encode(output).decode()


def _tools(offered: list[_Tool]) -> tuple[Tool, ...]:
    if any(limits.is_too_deep(tool.parameters) for tool in offered):
        raise BadMessage(f"more than {limits.MOST_DEPTH} objects within one another in a tool")
    return tuple(
        Tool(tool.name, tool.description, msgspec.json.encode(tool.parameters).decode())
        for tool in offered
    )


def check_tools(tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    """Within the bounds, and no name twice. Raises `BadMessage`."""
    if len(tools) > limits.MOST_TOOLS:
        raise BadMessage(f"at most {limits.MOST_TOOLS} tools can be offered")
    size = sum(limits.utf8_bytes(t.name + t.description + t.parameters) for t in tools)
    if size > limits.TOOLS_BYTES:
        raise BadMessage(f"the tools take more than {limits.TOOLS_BYTES} bytes together")
    if len({tool.name for tool in tools}) < len(tools):
        raise BadMessage("two tools have the same name")
    return tools


def _plain(problem: str) -> str:
    return f"not a message of this protocol: {problem[:300]}"


def ref_of(text: str) -> str | None:
    """The `id` of a message that was refused, for the error's `ref`; None without one.

    One that is too large is not looked at twice.
    """
    if limits.is_too_large(text):
        return None
    try:
        raw = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError, ValueError):
        return None
    ref = raw.get("id") if isinstance(raw, dict) else None
    return ref if isinstance(ref, str) and len(ref) <= 200 else None
