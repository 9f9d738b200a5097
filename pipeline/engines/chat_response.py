"""One response of a chat completions server, read within bounds: its events, or why it refused."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress

import httpx

from pipeline.engines.chat_format import read_refusal
from pipeline.engines.retry import retry_after_s
from pipeline.engines.sse import EventParser, EventTooLong
from pipeline.engines.watchdog import Watchdog
from pipeline.errors import LlmFailed, LlmStalled, PromptRefused, RateLimited

MAX_REPLY_BYTES = 8_000_000
"""Of one response, comments and all: some 20 times what the longest reply takes."""
PATIENCE_S = 1.0
"""How long a backend rests that says 429 and not for how long."""

_MAX_ERROR_BYTES = 16_384
_ERROR_BODY_S = 1.0
_PROMPTS_FAULT = frozenset({400, 413, 422})
"""Any other status says that this backend is not to be asked; a prompt that is too long is
everywhere too long."""


async def events(response: httpx.Response) -> AsyncGenerator[str]:
    """The data of each event. Raises `LlmFailed` for what is no stream, or goes past a bound."""
    kind = response.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind == "text/html":
        raise LlmFailed("The language model failed: a web page came, and no completion.")
    if kind == "application/json":
        reason = await _reason(response)
        raise LlmFailed(f"The language model failed: it sent no stream ({reason}).")
    parser, received = EventParser(), 0
    try:
        async with _chunks(response) as chunks:
            async for chunk in chunks:
                received += len(chunk)
                if received > MAX_REPLY_BYTES:
                    raise LlmFailed(
                        f"The language model failed: it sent more than {MAX_REPLY_BYTES} bytes."
                    )
                for data in parser.feed(chunk):
                    yield _without_key(data, response)
    except EventTooLong as error:
        raise LlmFailed(f"The language model failed: it sent {error}.") from error
    for data in parser.end():
        yield data


async def refusal(response: httpx.Response) -> LlmFailed | RateLimited:
    """What a response other than 200 becomes."""
    status = response.status_code
    wait_s = retry_after_s(response.headers, time.time())
    if status == httpx.codes.TOO_MANY_REQUESTS:
        return RateLimited(
            "The language model is asked too often.",
            retry_after_s=PATIENCE_S if wait_s is None else wait_s,
        )
    if status in (401, 403):
        return LlmFailed("The language model refuses our key.")  # its message may quote the key
    reason = await _reason(response)
    kind = PromptRefused if status in _PROMPTS_FAULT else LlmFailed
    return kind(f"The language model refused (HTTP {status}): {reason}.", retry_after_s=wait_s)


async def _reason(response: httpx.Response) -> str:
    return _without_key(read_refusal(await _beginning(response)), response)


def _without_key(said: str, response: httpx.Response) -> str:
    """What clients and the log are told: some servers, and proxies, quote what they were sent."""
    key = response.request.headers.get("authorization", "").rpartition(" ")[2]
    return said.replace(key, "...") if key else said


def failure(error: httpx.HTTPError) -> LlmFailed:
    """What an error of the connection becomes."""
    kind = LlmStalled if isinstance(error, httpx.ReadTimeout) else LlmFailed
    return kind(f"The language model failed: {why(error)}.")


def why(error: httpx.HTTPError) -> str:
    """An error of the connection in a few words."""
    match error:
        case httpx.ConnectTimeout() | httpx.ConnectError():
            return "it cannot be reached"
        case httpx.PoolTimeout():
            return "too many requests are under way"
        case httpx.TimeoutException():
            return "it has stalled"
        case _:
            return "the connection broke"


async def _beginning(response: httpx.Response) -> bytes:
    """The first bytes of a body that is there to be read by people."""
    body = b""
    with suppress(httpx.HTTPError), Watchdog(response) as watchdog:
        watchdog.allow(_ERROR_BODY_S)
        async with _chunks(response) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > _MAX_ERROR_BYTES:
                    break
    return body


@asynccontextmanager
async def _chunks(response: httpx.Response) -> AsyncGenerator[AsyncIterator[bytes]]:
    """The response's body, which may be left before its end."""
    chunks = response.aiter_bytes()
    try:
        yield chunks
    finally:
        await response.aclose()
        # httpx nests six generators. Left half read, each would be ended by a task that the loop
        # makes for it; a read after the close ends them all here, by its error.
        with suppress(httpx.HTTPError, httpx.StreamError):
            async for _ in chunks:
                pass
