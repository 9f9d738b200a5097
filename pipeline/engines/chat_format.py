"""What OpenAI-compatible servers send, read: chunks of a completion, lists of models, refusals.
Pure: bytes in, values or a failure out."""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from pipeline.engines.ports import Message, Prompt, ToolDelta, Usage
from pipeline.errors import LlmFailed

DONE = "[DONE]"
"""The data of a stream's last event."""

MAX_ERROR_CHARS = 300
NO_REASON = "no reason given"


class _Error(msgspec.Struct):
    message: str = ""


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    """Not every server counts; then calls are in their order in the chunk."""
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int


class _Counted(msgspec.Struct):
    """A chunk, of which only the count matters."""

    usage: _Usage | None = None


class _Chunk(msgspec.Struct):
    """A `chat.completion.chunk`, or the error that some servers send in its place."""

    choices: list[_Choice] | None = None
    error: _Error | str | None = None


class _Failure(msgspec.Struct):
    """A refusal's body; `message` at the top is vLLM's older form, `detail` FastAPI's."""

    error: _Error | str | None = None
    message: str | None = None
    detail: str | None = None


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


@dataclass(frozen=True, slots=True)
class Chunk:
    """What one event of a stream says."""

    text: str = ""
    reason: str | None = None
    """Why the reply ends with it ("stop", "length", "tool_calls", ...); None: it goes on."""
    tools: tuple[ToolDelta, ...] = ()


def read_chunk(payload: str) -> Chunk:
    """An event's data -> what is in it.

    Raises `LlmFailed` for an error in the stream, and for what is no chunk.
    """
    try:
        chunk = msgspec.json.decode(payload, type=_Chunk)
    except msgspec.DecodeError as error:
        raise LlmFailed("The language model failed: what it sent is no completion.") from error
    if chunk.error is not None:
        raise LlmFailed(f"The language model failed: {_line(chunk.error)}.")
    if not chunk.choices:
        return Chunk()  # usage, say
    choice = chunk.choices[0]
    if choice.delta is None:
        return Chunk("", choice.finish_reason)
    return Chunk(choice.delta.content or "", choice.finish_reason, _tools(choice.delta))


def read_usage(payload: str) -> Usage | None:
    """An event's data -> what the reply came to; None where it does not say. Never raises: the
    reply is whole without."""
    try:
        usage = msgspec.json.decode(payload, type=_Counted).usage
    except msgspec.DecodeError:
        return None
    if usage is None or usage.prompt_tokens < 0 or usage.completion_tokens < 0:
        return None
    return Usage(usage.prompt_tokens, usage.completion_tokens)


def _tools(delta: _Delta) -> tuple[ToolDelta, ...]:
    return tuple(
        ToolDelta(
            at if call.index is None else call.index,
            (call.function.name or "") if call.function else "",
            (call.function.arguments or "") if call.function else "",
        )
        for at, call in enumerate(delta.tool_calls or ())
    )


def write_message(message: Message) -> dict[str, object]:
    """A message of a prompt as the chat format has it."""
    written: dict[str, object] = {"role": message.role, "content": message.content}
    if message.calls:
        written["content"] = message.content or None
        written["tool_calls"] = [
            {
                "id": call.id,
                "type": "function",
                "function": {"name": call.name, "arguments": call.arguments},
            }
            for call in message.calls
        ]
    if message.call:
        written["tool_call_id"] = message.call
    return written


def write_tools(prompt: Prompt) -> dict[str, object]:
    """The fields of a request that offer the prompt's tools; none where there are none."""
    if not prompt.tools:
        return {}
    choice: object = prompt.tool_choice
    if choice not in ("auto", "none", "required"):
        choice = {"type": "function", "function": {"name": choice}}
    functions = [
        {"name": tool.name, "description": tool.description,
         "parameters": msgspec.json.decode(tool.parameters)}
        for tool in prompt.tools
    ]  # fmt: skip
    tools = [{"type": "function", "function": function} for function in functions]
    return {"tools": tools, "tool_choice": choice}


def read_refusal(body: bytes) -> str:
    """The reason that a refusal's body gives: one line, at most 300 characters."""
    try:
        failure = msgspec.json.decode(body, type=_Failure)
    except msgspec.DecodeError:
        return NO_REASON
    return _line(failure.error or failure.message or failure.detail or "")


def read_first_model(body: bytes) -> str | None:
    """The id of the first model in a list; None when it is no list, or an empty one."""
    try:
        models = msgspec.json.decode(body, type=_Models).data
    except msgspec.DecodeError:
        return None
    return models[0].id if models else None


def _line(error: _Error | str) -> str:
    words = " ".join((error if isinstance(error, str) else error.message).split())
    return words[:MAX_ERROR_CHARS].rstrip(".") or NO_REASON
