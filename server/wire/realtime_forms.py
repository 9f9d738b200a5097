"""The forms of the Realtime session, and of what a single response has of its own. Pure."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from pipeline.engines.ports import Tool
from pipeline.errors import BadMessage
from server.wire.native_in import check_tools
from session import limits
from session.messages import Modality

Text = Annotated[str, Meta(max_length=100_000)]
Name = Annotated[str, Meta(max_length=200)]
MOST_REPLY_TOKENS = 4_096


class Mistake(BadMessage):
    """A client's event that cannot be followed; `code` and `param` as the API has them."""

    def __init__(self, message: str, code: str = "invalid_value", param: str | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.param = param


class Pcm(Struct, tag="audio/pcm"):
    rate: Literal[24000] = 24_000


class Pcmu(Struct, tag="audio/pcmu"):
    pass


class Pcma(Struct, tag="audio/pcma"):
    pass


Format = Pcm | Pcmu | Pcma


class ServerVad(Struct, tag="server_vad"):
    threshold: Annotated[float, Meta(ge=0, le=1)] | None = None
    prefix_padding_ms: Annotated[int, Meta(ge=0, le=5_000)] | None = None
    silence_duration_ms: Annotated[int, Meta(ge=1, le=10_000)] | None = None
    """No silence ends no turn: without a duration words and sound decide."""
    idle_timeout_ms: Annotated[int, Meta(ge=5_000, le=30_000)] | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None


class SemanticVad(Struct, tag="semantic_vad"):
    eagerness: Literal["low", "medium", "high", "auto"] | None = None
    create_response: bool | None = None
    interrupt_response: bool | None = None


class Transcription(Struct, omit_defaults=True):
    model: Name | None = None
    language: Name | None = None
    prompt: Text | None = None


class NoiseReduction(Struct):
    type: Literal["near_field", "far_field"] | None = None


class AudioInput(Struct):
    format: Format | None = None
    transcription: Transcription | None = None
    noise_reduction: NoiseReduction | None = None
    turn_detection: ServerVad | SemanticVad | None = None


class VoiceId(Struct):
    id: Name


class AudioOutput(Struct):
    format: Format | None = None
    voice: Name | VoiceId | None = None
    speed: Annotated[float, Meta(ge=0.25, le=4.0)] | None = None


class Audio(Struct):
    input: AudioInput | None = None
    output: AudioOutput | None = None


class FunctionTool(Struct, tag="function"):
    name: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
    description: Text | None = None
    parameters: dict[str, Any] | None = None


class ChosenTool(Struct, tag="function"):
    name: Name


class TokenLimits(Struct, omit_defaults=True):
    post_instructions: Annotated[int, Meta(ge=0)] | None = None


class RetentionRatio(Struct, tag="retention_ratio", omit_defaults=True):
    retention_ratio: Annotated[float, Meta(ge=0, le=1)]
    token_limits: TokenLimits | None = None


class TracingConfiguration(Struct, omit_defaults=True):
    group_id: Name | None = None
    metadata: Any = None
    workflow_name: Name | None = None


Truncation = Literal["auto", "disabled"] | RetentionRatio
Tracing = Literal["auto"] | TracingConfiguration
ToolChoice = Literal["auto", "none", "required"] | ChosenTool
ReplyTokens = Annotated[int, Meta(ge=1, le=MOST_REPLY_TOKENS)] | Literal["inf"]


class SessionForm(Struct):
    """A whole session, as an update leaves it."""

    type: Literal["realtime"] = "realtime"
    model: Name | None = None
    output_modalities: list[Modality] | None = None
    instructions: Text | None = None
    audio: Audio | None = None
    tools: list[FunctionTool] | None = None
    tool_choice: ToolChoice | None = None
    max_output_tokens: ReplyTokens | None = None
    tracing: Tracing | None = None
    truncation: Truncation | None = None
    include: list[Literal["item.input_audio_transcription.logprobs"]] | None = None


# --- read -----------------------------------------------------------------------------------------


def read_tools(tools: list[FunctionTool] | None, where: str) -> tuple[Tool, ...]:
    """The core's tools. Raises `Mistake` past a bound."""
    read = tuple(
        Tool(
            tool.name,
            tool.description or "",
            msgspec.json.encode(tool.parameters or {"type": "object", "properties": {}}).decode(),
        )
        for tool in tools or ()
    )
    try:
        return check_tools(read)
    except BadMessage as error:
        raise Mistake(str(error), param=where) from None


def read_choice(choice: ToolChoice | None) -> str | None:
    """The core's word for it."""
    return choice.name if isinstance(choice, ChosenTool) else choice


def read_tokens(tokens: int | str | None) -> int:
    """The longest reply; 0: as the server has it."""
    return tokens if isinstance(tokens, int) else 0


def voice_name(voice: str | VoiceId | None) -> str | None:
    return voice.id if isinstance(voice, VoiceId) else voice


def formed(raw: object, kind: Any, where: str) -> Any:
    """A part of an event in its form. Raises `Mistake` that says where it is not."""
    if limits.is_too_deep(raw):
        raise Mistake(f"more than {limits.MOST_DEPTH} objects within one another", param=where)
    try:
        return msgspec.convert(raw, kind)
    except (msgspec.ValidationError, UnicodeEncodeError) as error:
        problem, _, path = str(error).partition(" - at `$")
        raise Mistake(f"Invalid value: {problem[:300]}", param=where + path.rstrip("`")) from None
