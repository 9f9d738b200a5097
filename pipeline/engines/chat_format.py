"""What OpenAI-compatible servers send, read: chunks of a completion, lists of models, refusals.
Pure: bytes in, values or a failure out."""

from __future__ import annotations

import msgspec

from pipeline.errors import LlmFailed

DONE = "[DONE]"
"""The data of a stream's last event."""

MAX_ERROR_CHARS = 300
NO_REASON = "no reason given"


class _Error(msgspec.Struct):
    message: str = ""


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


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


def read_chunk(payload: str) -> tuple[str, str | None]:
    """An event's data -> the text in it ("" for none), and the reason why the reply ends with it
    ("stop", "length", ...; None: it goes on).

    Raises `LlmFailed` for an error in the stream, and for what is no chunk.
    """
    try:
        chunk = msgspec.json.decode(payload, type=_Chunk)
    except msgspec.DecodeError as error:
        raise LlmFailed("The language model failed: what it sent is no completion.") from error
    if chunk.error is not None:
        raise LlmFailed(f"The language model failed: {_line(chunk.error)}.")
    if not chunk.choices:
        return "", None  # usage, say
    choice = chunk.choices[0]
    text = choice.delta.content if choice.delta is not None else None
    return text or "", choice.finish_reason


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
