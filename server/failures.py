"""The one table: exception -> code, close code, HTTP status."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline import errors


@dataclass(frozen=True, slots=True)
class Failure:
    """How an exception is told. `close` is the WebSocket close code if the session ends by it."""

    code: str
    http: int
    close: int
    kind: str
    """The `type` of an HTTP error's body, in the OpenAI API's words."""


_INTERNAL = Failure("INTERNAL", 500, 1011, "server_error")

_TABLE: dict[type[BaseException], Failure] = {
    errors.BadMessage: Failure("BAD_MESSAGE", 400, 1008, "invalid_request_error"),
    errors.BadAudio: Failure("BAD_AUDIO", 400, 1009, "invalid_request_error"),
    errors.TooMuchAudio: Failure("TOO_MUCH_AUDIO", 413, 1008, "invalid_request_error"),
    errors.TooManyMessages: Failure("TOO_MANY_MESSAGES", 429, 1008, "rate_limit_error"),
    errors.SlowClient: Failure("SLOW_CLIENT", 408, 1008, "invalid_request_error"),
    errors.Unauthorized: Failure("UNAUTHORIZED", 401, 4401, "authentication_error"),
    errors.Forbidden: Failure("FORBIDDEN", 403, 4403, "permission_error"),
    errors.RateLimited: Failure("RATE_LIMITED", 429, 1013, "rate_limit_error"),
    errors.NotFound: Failure("NOT_FOUND", 404, 1008, "invalid_request_error"),
    errors.AtCapacity: Failure("AT_CAPACITY", 503, 1013, "server_error"),
    errors.KeysUnreachable: Failure("TIMEOUT", 503, 1013, "server_error"),
    errors.SessionsUnreachable: Failure("TIMEOUT", 503, 1013, "server_error"),
    errors.PoolTimeout: Failure("TIMEOUT", 503, 1013, "server_error"),
    errors.GoingAway: Failure("GOING_AWAY", 503, 1012, "server_error"),
    errors.Replaced: Failure("REPLACED", 409, 4009, "invalid_request_error"),
    errors.SttFailed: Failure("STT_FAILED", 502, 1011, "server_error"),
    errors.LlmFailed: Failure("LLM_FAILED", 502, 1011, "server_error"),
    errors.TtsFailed: Failure("TTS_FAILED", 502, 1011, "server_error"),
    errors.GpuOutOfMemory: Failure("GPU_OOM", 503, 1011, "server_error"),
}


def codes() -> tuple[str, ...]:
    """Every code there is."""
    return tuple(dict.fromkeys(row.code for row in (*_TABLE.values(), _INTERNAL)))


def failure_of(error: BaseException) -> Failure:
    """The row of an exception; that of its nearest ancestor, or `INTERNAL`."""
    for kind in type(error).__mro__:
        if kind in _TABLE:
            return _TABLE[kind]
    return _INTERNAL


def message_of(error: BaseException) -> str:
    """What a client may read of it: our own words, or nothing of an unforeseen one's."""
    if isinstance(error, errors.AntiphonError) and str(error):
        return str(error)
    return "something went wrong on our side"
