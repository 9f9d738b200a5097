"""A language model behind any OpenAI-compatible URL: vLLM, llama.cpp, Ollama, a hosted service.

One `httpx.AsyncClient` for all. A request is never cancelled (cancelling a stream leaks its
connection for good): a `Watchdog` ends its reads, and it closes its own response.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

import httpx

from pipeline.engines.chat_format import (
    DONE,
    Chunk,
    read_chunk,
    read_first_model,
    read_usage,
    write_message,
    write_tools,
)
from pipeline.engines.chat_response import events, failure, refusal, why
from pipeline.engines.ports import Delta, EngineInfo, Message, Prompt, Stop, TextDelta
from pipeline.engines.watchdog import Watchdog
from pipeline.errors import LlmFailed, LlmStalled, StartError

CONNECT_TIMEOUT_S = 5.0
FIRST_TOKEN_S = 10.0
GAP_S = 5.0
"""The longest silence after a token."""
TAIL_S = 0.25
"""For the end of a response after the end of its reply: then its connection is given up."""
TOKENS_OVER = 16
"""Pieces of text past `max_tokens` that are still read. A piece is a token at least: whoever sends
more does not keep to what it was asked."""
MAX_TEXT_BYTES = 100_000
"""Of one reply."""
USAGE = "stream_options"
"""The field by which a server is asked to count; not every one knows it."""

_END = Chunk(reason="stop")
# uvicorn (vLLM) and llama.cpp close idle connections after 5 s; one that is taken up again in
# that very moment fails, so ours are given up first.
_LIMITS = httpx.Limits(max_connections=1_024, max_keepalive_connections=32, keepalive_expiry=3.0)


class OpenAILanguageModel:
    """Streams chat completions from `{base_url}/chat/completions`.

    `base_url`: "http://host:port" is taken as "http://host:port/v1"; a URL with a path stays as it
    is, but for a slash at its end. An empty `model` is the first that the server lists.
    """

    def __init__(
        self,
        base_url: str,
        model: str = "",
        api_key: str = "",
        *,
        first_token_s: float = FIRST_TOKEN_S,
        gap_s: float = GAP_S,
    ) -> None:
        url = _checked(base_url)
        self._where = f"{url.scheme}://{url.netloc.decode()}{url.path}"  # a password is not in it
        self._model = model
        self._first_token_s = first_token_s
        self._gap_s = gap_s
        self._counts = True
        """It is asked what a reply came to; not any more, once it has refused that."""
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=_timeout(first_token_s),
            limits=_LIMITS,
            # A proxy from the environment has no way to this machine's loopback.
            trust_env=not _is_loopback(url.host),
        )

    @property
    def breath_tokens(self) -> int | None:
        """None: it runs on a machine of its own, as far as we know."""
        return None

    @property
    def info(self) -> EngineInfo:
        return EngineInfo("openai", self._model, device=self._where)

    async def start(self, within_s: float | None = None) -> None:
        """See that the server answers, and learn the model's name where none was given.

        Raises `StartError` when nothing answers, the key is refused, or no model is named.
        """
        timeout = _timeout(within_s or self._first_token_s)
        try:
            response = await self._client.get("models", timeout=timeout)
        except httpx.HTTPError as error:
            raise StartError(
                f"No language model answers at {self._where} ({why(error)}): "
                "start it, or set ANTIPHON_LLM_BASE_URL to where one runs."
            ) from error
        if response.status_code in (401, 403):
            raise StartError(
                f"The language model at {self._where} refuses the key: "
                "set ANTIPHON_LLM_API_KEY to one that it takes."
            )
        if self._model:
            return  # servers without /models exist; that one answered is enough
        model = read_first_model(response.content)
        if model is None:
            raise StartError(
                f"The server at {self._where} does not say which models it has "
                f"(HTTP {response.status_code}): set ANTIPHON_LLM_MODEL, "
                "or mend ANTIPHON_LLM_BASE_URL."
            )
        self._model = model

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def generate(
        self,
        prompt: Prompt,
        stop: Stop,
        *,
        extra: Mapping[str, object] | None = None,
        first_token_s: float | None = None,
    ) -> AsyncGenerator[Delta]:
        """The reply's text, and the tools it wants, as they come; `extra` are fields of the
        request that one backend knows.

        Ends early, without an error, once `stop` is set: at once, or, before the response has
        begun, when it begins. Raises `LlmStalled` when the first token takes longer than
        `first_token_s`, or the next one than the gap; `RateLimited` on 429; `PromptRefused`; else
        `LlmFailed`: unreachable, an error of the server's, broken off, without an end.
        """
        if stop.is_set:
            return
        wait_s = self._first_token_s if first_token_s is None else first_token_s
        due = asyncio.get_running_loop().time() + wait_s
        try:
            request, response = await self._ask(prompt, extra or {}, wait_s)
            try:
                # httpx looks here once more, before it reads the body. There the watchdog watches.
                request.extensions["timeout"]["read"] = max(wait_s, self._gap_s) + 1.0
                async with aclosing(self._deltas(response, prompt, stop, due)) as deltas:
                    async for delta in deltas:
                        yield delta
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            if not stop.is_set:  # nobody waits for the rest: its failure is nobody's concern
                raise failure(error) from error

    async def _ask(
        self, prompt: Prompt, extra: Mapping[str, object], wait_s: float
    ) -> tuple[httpx.Request, httpx.Response]:
        """A response that has begun well. Raises what it was refused with."""
        while True:
            counted = self._counts  # as it is now: others may be refused meanwhile
            request = self._client.build_request(
                "POST",
                "chat/completions",
                json={**self._body(prompt), **extra},
                timeout=_timeout(wait_s),
            )
            response = await self._send(request)
            if response.status_code == httpx.codes.OK:
                return request, response
            try:
                refused = await refusal(response)
            finally:
                await response.aclose()
            if not (counted and USAGE in str(refused)):
                raise refused
            self._counts = False  # it does not know how to: then without

    async def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._client.send(request, stream=True)
        except httpx.RemoteProtocolError:
            # A kept connection that the server was just closing. Nothing has come back: once more.
            return await self._client.send(request, stream=True)

    def _body(self, prompt: Prompt) -> dict[str, object]:
        body: dict[str, object] = {
            "model": self._model,
            "messages": [write_message(message) for message in _messages(prompt)],
            "max_tokens": prompt.max_tokens,
            "temperature": prompt.temperature,
            "stream": True,
            **write_tools(prompt),
        }
        if self._counts:
            body[USAGE] = {"include_usage": True}
        if prompt.stop_sequences:
            body["stop"] = list(prompt.stop_sequences)
        return body

    async def _deltas(
        self, response: httpx.Response, prompt: Prompt, stop: Stop, due: float
    ) -> AsyncGenerator[Delta]:
        finished, length = False, _Length(prompt.max_tokens)
        with Watchdog(response) as watchdog, stop.calling(watchdog.cut):
            watchdog.allow(due - asyncio.get_running_loop().time())
            try:
                async with aclosing(events(response)) as stream:
                    async for payload in stream:
                        if stop.is_set:
                            return
                        if finished:  # a response read to its end frees its connection
                            if (usage := read_usage(payload)) is not None:
                                yield TextDelta("", usage=usage)
                            continue
                        chunk = _END if payload == DONE else read_chunk(payload)
                        length.add(chunk)
                        finished = chunk.reason is not None
                        deltas: list[Delta] = list(chunk.tools)
                        if chunk.text or chunk.reason == "length":
                            deltas.insert(0, TextDelta(chunk.text, chunk.reason == "length"))
                        for delta in deltas:
                            watchdog.rest()  # what the reader takes is not the server's stall
                            yield delta
                            watchdog.allow(self._gap_s)
                        if finished:
                            watchdog.allow(TAIL_S)
            except httpx.HTTPError:
                if not finished and not watchdog.late:
                    raise
        if finished or stop.is_set:
            return
        if not watchdog.late:
            raise LlmFailed("The language model failed: its stream broke off.")
        what = f"nothing for {self._gap_s:g} s" if length.pieces else "no first token in time"
        raise LlmStalled(f"The language model failed: it has stalled ({what}).")


class _Length:
    """How long a reply has become. `add` raises `LlmFailed` past a bound."""

    __slots__ = ("_max_pieces", "_text_bytes", "pieces")

    def __init__(self, max_tokens: int) -> None:
        self._max_pieces = max_tokens + TOKENS_OVER
        self._text_bytes = 0
        self.pieces = 0

    def add(self, chunk: Chunk) -> None:
        text = chunk.text + "".join(piece.name + piece.arguments for piece in chunk.tools)
        self.pieces += bool(text)
        self._text_bytes += len(text.encode("utf-8", "surrogatepass"))
        if self.pieces > self._max_pieces or self._text_bytes > MAX_TEXT_BYTES:
            raise LlmFailed("The language model failed: it does not stop.")


def _messages(prompt: Prompt) -> tuple[Message, ...]:
    begun = (Message("assistant", prompt.begun),) if prompt.begun else ()
    return prompt.messages + begun


def _timeout(seconds: float) -> httpx.Timeout:
    return httpx.Timeout(seconds, connect=min(CONNECT_TIMEOUT_S, seconds))


def _checked(base_url: str) -> httpx.URL:
    """Raises `StartError`, which shows no password."""
    try:
        url = httpx.URL(base_url.strip().rstrip("/"))
    except httpx.InvalidURL:  # which may quote what it stumbled over
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise StartError(
            "ANTIPHON_LLM_BASE_URL takes a URL such as http://127.0.0.1:8080/v1, "
            f"not {_without_userinfo(base_url)!r}."
        )
    return url.copy_with(path="/v1") if url.path in ("", "/") else url


def _without_userinfo(text: str) -> str:
    """Of something that need not be a URL: where its name and password might stand is "..."."""
    before, at, after = text.rpartition("@")
    scheme, slashes, _ = before.partition("://")
    return f"{scheme if slashes else ''}{slashes}...@{after}" if at else text


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
