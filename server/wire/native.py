"""The native protocol, `antiphon.v1`: JSON and PCM <-> Commands and Events. Pure.

Client messages are typed structs, so that what is not of the form is refused in one step, with a
sentence that says where; unknown fields are ignored. Server messages are built from the events.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from pipeline import events as ev
from pipeline.engines.ports import Tool
from pipeline.errors import AntiphonError, BadMessage
from server.failures import failure_of, message_of
from session import limits
from session import messages as msg

SUBPROTOCOL = "antiphon.v1"
UNTOLD = (
    ev.ToolText,
    msg.ItemAdded,
    msg.ItemDeleted,
    msg.ItemTruncated,
    msg.ItemRetrieved,
    msg.AudioCleared,
    msg.TimedOut,
    msg.Closing,
)
"""Events that are no messages here: the other protocol shows the history's items."""

Name = Annotated[str, Meta(max_length=200)]
Text = Annotated[str, Meta(max_length=100_000)]
ToolName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Speed = Annotated[float, Meta(ge=0.25, le=4.0)]
Pace = Literal["quick", "normal", "patient"]
Detection = Literal["auto", "manual"]


# --- what a client may send -----------------------------------------------------------------------


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

    rate_hz: int
    choices: msg.Configure
    token: str | None = None
    resume: str | None = None


def decode(text: str) -> Hello | msg.Command:
    """One text frame. Raises `BadMessage` with a sentence that says what is wrong."""
    if _too_large(text):
        raise BadMessage(f"a message has at most {limits.TEXT_BYTES} bytes")
    try:
        message = _decoder.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError, ValueError) as error:
        raise BadMessage(_plain(str(error))) from None
    match message:
        case _Hello():
            audio = message.audio
            if audio.codec != "pcm16" or audio.framing != "raw":
                raise BadMessage("only codec pcm16 with raw framing is supported so far")
            return Hello(audio.rate, _choices(message), message.token, message.resume)
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


def _too_large(text: str) -> bool:
    """In UTF-8, as it came. What has too many characters is not encoded to find out."""
    most = limits.TEXT_BYTES
    return len(text) > most or len(text.encode("utf-8", "surrogatepass")) > most


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
    return tuple(
        Tool(tool.name, tool.description, msgspec.json.encode(tool.parameters).decode())
        for tool in offered
    )


def check_tools(tools: tuple[Tool, ...]) -> tuple[Tool, ...]:
    """Within the bounds, and no name twice. Raises `BadMessage`."""
    if len(tools) > limits.MOST_TOOLS:
        raise BadMessage(f"at most {limits.MOST_TOOLS} tools can be offered")
    size = sum(len(t.name) + len(t.description) + len(t.parameters) for t in tools)
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
    if _too_large(text):
        return None
    try:
        raw = msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeEncodeError, RecursionError, ValueError):
        return None
    ref = raw.get("id") if isinstance(raw, dict) else None
    return ref if isinstance(ref, str) and len(ref) <= 200 else None


# --- what a server says -------------------------------------------------------------------------


def encode(event: msg.Event) -> str | bytes | None:
    """An event as a text or binary frame; None for what this protocol has no message for."""
    if isinstance(event, ev.ReplyAudio):
        return event.pcm
    if isinstance(event, UNTOLD):
        return None
    return msgspec.json.encode(_object(event)).decode()


def frames(event: msg.Event) -> list[str | bytes]:
    """An event's frames: one, or none."""
    frame = encode(event)
    return [] if frame is None else [frame]


def _object(event: msg.Event) -> dict[str, Any]:
    match event:
        case msg.Waiting(position, eta_s):
            return {"type": "waiting", "position": position, "eta_s": eta_s}
        case msg.Welcome():
            return {
                "type": "welcome",
                "protocol": 1,
                "session": event.session,
                "resume": None,
                "resumed": False,
                "next_turn": event.next_turn,
                "next_reply": event.next_reply,
                "audio": {"rate": event.reply_hz, "codec": "pcm16", "framing": "raw"},
                "voice": event.settings.voice,
                "language": event.settings.language,
                "limits": event.limits,
            }
        case ev.SpeechStarted(turn, at_ms):
            return {"type": "speech_started", "turn": turn, "at_ms": at_ms}
        case ev.SpeechStopped(turn, at_ms):
            return {"type": "speech_stopped", "turn": turn, "at_ms": at_ms}
        case ev.UserTranscript():
            return _without_none(
                type="transcript",
                turn=event.turn,
                text=event.text,
                final=event.final,
                discarded=event.discarded or None,
                ref=event.ref,
            )
        case ev.ReplyStarted(reply, turn):
            return {"type": "reply_started", "reply": reply, "turn": turn}
        case ev.ReplyText(reply, text):
            return {"type": "reply_text", "reply": reply, "text": text}
        case ev.ReplyPaused(reply):
            return {"type": "reply_paused", "reply": reply}
        case ev.ReplyResumed(reply):
            return {"type": "reply_resumed", "reply": reply}
        case ev.Interrupted(reply, heard):
            return {"type": "interrupted", "reply": reply, "heard": heard}
        case ev.ReplyAudioEnd(reply, audio_ms):
            return {"type": "reply_audio_end", "reply": reply, "audio_ms": audio_ms}
        case ev.ToolCalled(reply, call, name, arguments):
            return {
                "type": "tool_call",
                "reply": reply,
                "call": call,
                "name": name,
                "arguments": arguments,
            }
        case ev.ReplyDone():
            return _reply_done(event)
        case msg.Cleared():
            return {"type": "cleared"}
        case msg.Configured(settings):
            return {
                "type": "configured",
                "voice": settings.voice,
                "speed": settings.speed,
                "language": settings.language,
                "pace": settings.pace,
                "turn_detection": settings.detection,
            }
        case msg.GoingAway(reconnect_in_ms):
            return {"type": "going_away", "reconnect_in_ms": reconnect_in_ms}
        case msg.Warned(error, ref):
            return _trouble("warning", error, ref=ref)
        case ev.Failed(error, turn, reply, ref):
            return _trouble("error", error, turn=turn, reply=reply, ref=ref)
        case _:
            raise TypeError(f"no message for {event!r}")


def _reply_done(event: ev.ReplyDone) -> dict[str, Any]:
    latency = event.latency
    return {
        "type": "reply_done",
        "reply": event.reply,
        "turn": event.turn,
        "status": event.status,
        "text": event.text,
        "heard": event.heard,
        "saved": event.saved,
        "latency_ms": latency
        and {
            "endpoint": latency.endpoint,
            "stt": latency.stt,
            "llm": latency.llm,
            "tts": latency.tts,
            "total": latency.total,
        },
    }


def _trouble(kind: str, error: Exception, **where: str | int | None) -> dict[str, Any]:
    retry_s = error.retry_after_s if isinstance(error, AntiphonError) else None
    return _without_none(
        type=kind,
        code=failure_of(error).code,
        message=message_of(error),
        retry_after_ms=None if retry_s is None else round(retry_s * 1000),
        **where,
    )


def _without_none(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
