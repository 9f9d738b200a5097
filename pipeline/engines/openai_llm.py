"""A language model behind any OpenAI-compatible URL: vLLM, llama.cpp, Ollama, a hosted service.

One `httpx.AsyncClient` for all. A request is never cancelled (cancelling a stream leaks its
connection for good): it looks at `Stop` whenever something arrives, and closes its own response.
"""

from __future__ import annotations

import asyncio
import ipaddress
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager, suppress

import httpx
import msgspec

from pipeline.engines.chat_format import DONE, read_chunk, read_first_model, read_refusal
from pipeline.engines.ports import EngineInfo, Message, Prompt, Stop, TextDelta
from pipeline.engines.sse import EventParser, EventTooLong
from pipeline.errors import LlmFailed, RateLimited, StartError

CONNECT_TIMEOUT_S = 5.0
TOKEN_TIMEOUT_S = 10.0
"""The longest wait for the first token, and for each after it."""

# uvicorn (vLLM) and llama.cpp close idle connections after 5 s; one that is taken up again in
# that very moment fails, so ours are given up first.
_LIMITS = httpx.Limits(max_connections=256, max_keepalive_connections=32, keepalive_expiry=3.0)
_MAX_ERROR_BYTES = 16_384


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
        token_timeout_s: float = TOKEN_TIMEOUT_S,
    ) -> None:
        url = _checked(base_url)
        self._where = f"{url.scheme}://{url.netloc.decode()}{url.path}"  # a password is not in it
        self._model = model
        self._token_timeout_s = token_timeout_s
        self._client = httpx.AsyncClient(
            base_url=url,
            headers={"authorization": f"Bearer {api_key}"} if api_key else {},
            timeout=httpx.Timeout(token_timeout_s, connect=CONNECT_TIMEOUT_S),
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

    async def start(self) -> None:
        """See that the server answers, and learn the model's name where none was given.

        Raises `StartError` when nothing answers, the key is refused, or no model is named.
        """
        try:
            response = await self._client.get("models")
        except httpx.HTTPError as error:
            raise StartError(
                f"No language model answers at {self._where} ({_why(error)}): "
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
        self, prompt: Prompt, stop: Stop, *, extra: Mapping[str, object] | None = None
    ) -> AsyncGenerator[TextDelta]:
        """The reply's text as it comes; `extra` are fields of the request that one backend knows.

        Ends early, without an error, once `stop` is set: at the next thing that arrives, or at the
        read timeout. Raises `RateLimited` on 429, else `LlmFailed`: refused, stalled, broken off.
        """
        if stop.is_set:
            return
        request = self._client.build_request(
            "POST", "chat/completions", json={**self._body(prompt), **(extra or {})}
        )
        try:
            response = await self._send(request)
            try:
                if response.status_code != httpx.codes.OK:
                    raise await _refusal(response)
                async with aclosing(self._deltas(response, stop)) as deltas:
                    async for delta in deltas:
                        yield delta
            finally:
                await response.aclose()
        except httpx.HTTPError as error:
            if not stop.is_set:  # nobody waits for the rest: its failure is nobody's concern
                raise LlmFailed(f"The language model failed: {_why(error)}.") from error

    async def _send(self, request: httpx.Request) -> httpx.Response:
        try:
            return await self._client.send(request, stream=True)
        except httpx.RemoteProtocolError:
            # A kept connection that the server was just closing. Nothing has come back: once more.
            return await self._client.send(request, stream=True)

    def _body(self, prompt: Prompt) -> dict[str, object]:
        body: dict[str, object] = {
            "model": self._model,
            "messages": [msgspec.to_builtins(message) for message in _messages(prompt)],
            "max_tokens": prompt.max_tokens,
            "temperature": prompt.temperature,
            "stream": True,
        }
        if prompt.stop_sequences:
            body["stop"] = list(prompt.stop_sequences)
        return body

    async def _deltas(self, response: httpx.Response, stop: Stop) -> AsyncGenerator[TextDelta]:
        clock = asyncio.get_running_loop().time
        finished = False
        last_token_s = clock()
        try:
            async with aclosing(_events(response)) as events:
                async for payload in events:
                    if stop.is_set:
                        return
                    if payload is None or finished:
                        # A server's keep-alive comments are signs of life, but not of a reply.
                        if clock() - last_token_s > self._token_timeout_s:
                            raise httpx.ReadTimeout("nothing but comments")
                        continue
                    last_token_s = clock()
                    if payload == DONE:
                        finished = True  # read on: a response read to its end frees its connection
                        continue
                    text, reason = read_chunk(payload)
                    finished = reason is not None
                    if text or reason == "length":
                        yield TextDelta(text, cut_short=reason == "length")
                        last_token_s = clock()  # what the reader took is not the server's stall
        except httpx.HTTPError:
            if not finished:
                raise
        if not finished and not stop.is_set:
            raise LlmFailed("The language model failed: its stream broke off.")


def _messages(prompt: Prompt) -> tuple[Message, ...]:
    begun = (Message("assistant", prompt.begun),) if prompt.begun else ()
    return prompt.messages + begun


async def _events(response: httpx.Response) -> AsyncGenerator[str | None]:
    """The data of each event; None for a chunk of bytes that completes none."""
    parser = EventParser()
    try:
        async with _chunks(response) as chunks:
            async for chunk in chunks:
                events = parser.feed(chunk)
                for data in events:
                    yield data
                if not events:
                    yield None
    except EventTooLong as error:
        raise LlmFailed(f"The language model failed: it sent {error}.") from error
    for data in parser.end():
        yield data


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


async def _refusal(response: httpx.Response) -> LlmFailed | RateLimited:
    """What a response other than 200 becomes."""
    retry_after_s = _retry_after_s(response.headers.get("retry-after", ""))
    if response.status_code == httpx.codes.TOO_MANY_REQUESTS:
        return RateLimited(
            "The language model is asked too often.", retry_after_s=retry_after_s or 1.0
        )
    if response.status_code in (401, 403):
        return LlmFailed("The language model refuses our key.")  # its message may quote the key
    body = b""
    async with _chunks(response) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > _MAX_ERROR_BYTES:
                break
    return LlmFailed(
        f"The language model refused (HTTP {response.status_code}): {read_refusal(body)}.",
        retry_after_s=retry_after_s,
    )


def _retry_after_s(header: str) -> float | None:
    return float(header) if header.isascii() and header.isdigit() else None


def _why(error: httpx.HTTPError) -> str:
    match error:
        case httpx.ConnectTimeout() | httpx.ConnectError():
            return "it cannot be reached"
        case httpx.PoolTimeout():
            return "too many requests are under way"
        case httpx.TimeoutException():
            return "it has stalled"
        case _:
            return "the connection broke"


def _checked(base_url: str) -> httpx.URL:
    try:
        url = httpx.URL(base_url.strip().rstrip("/"))
    except httpx.InvalidURL as error:
        raise StartError(f"ANTIPHON_LLM_BASE_URL is no URL: {error}") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise StartError(
            f"ANTIPHON_LLM_BASE_URL takes a URL such as http://127.0.0.1:8080/v1, not {base_url!r}."
        )
    return url.copy_with(path="/v1") if url.path in ("", "/") else url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
