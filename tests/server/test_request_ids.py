"""A request's id, from its head to the last line of the log: also in what engines say on threads
of their own, also when it fails, also when nobody is there any more."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import structlog

from pipeline.engines.ports import Float32, SpeechRequest, SpeechWindow, Stop, Transcript
from pipeline.engines.scripted import ScriptedSynthesizer, ScriptedTranscriber
from pipeline.engines.threads import EngineThreads
from server import peer, speech_api
from tests.recordings import talk, wav
from tests.server.speech_client import SPEECH, client, until
from tests.support import LiveServer, live_server

TRANSCRIPTIONS = "/v1/audio/transcriptions"
TEXT = f"Hello there. {'🎉' * 40} This is a second sentence, and it is longer."
"""The middle of it cannot be spoken."""
LONG = "This is one of many sentences. " * 40
SPOKEN = wav(talk(*[5, 2.5] * 3))
"""Three windows."""


@dataclass
class Logged:
    """Every record of structlog's and of the libraries' own logging, with the request it names."""

    records: list[tuple[str, str | None]] = field(default_factory=list)

    def ids(self) -> set[str | None]:
        return {request for _, request in self.records}

    def events(self, request: str) -> set[str]:
        return {event for event, of in self.records if of == request}


class _Library(logging.Handler):
    """The libraries' records, read in the thread that wrote them, as the server's own handler does
    (`server/logs.py`)."""

    def __init__(self, logged: Logged) -> None:
        super().__init__()
        self._logged = logged

    def emit(self, record: logging.LogRecord) -> None:
        bound = structlog.contextvars.get_contextvars().get("request")
        self._logged.records.append((f"{record.name}: {record.getMessage().strip()}", bound))


@pytest.fixture
def logged() -> Iterator[Logged]:
    kept = Logged()

    def keep(
        logger: object, method: str, event: structlog.typing.EventDict
    ) -> structlog.typing.EventDict:
        kept.records.append((event["event"], event.get("request")))
        return event

    library = _Library(kept)
    logging.getLogger().addHandler(library)
    try:
        with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars, keep]):
            yield kept
    finally:
        logging.getLogger().removeHandler(library)


class Workshop:
    """Scripted engines that work on a thread, say so in both logs, and fail when told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.threads = EngineThreads("engine", 2)
        self.calls = 0
        self.fails_from = 10**9
        """The call that fails, counted from 1, and all after it."""
        self.cue = asyncio.Event()
        """No call ends before it is set, or it is stopped."""
        self.cue.set()
        shop = self
        voice, ear = ScriptedSynthesizer.synthesize, ScriptedTranscriber.transcribe

        async def synthesize(
            engine: ScriptedSynthesizer, request: SpeechRequest, stop: Stop
        ) -> AsyncIterator[Float32]:
            await shop.work(stop)
            async for chunk in voice(engine, request, stop):
                yield chunk

        async def transcribe(
            engine: ScriptedTranscriber, window: SpeechWindow, stop: Stop
        ) -> Transcript:
            await shop.work(stop)
            return await ear(engine, window, stop)

        monkeypatch.setattr(ScriptedSynthesizer, "synthesize", synthesize)
        monkeypatch.setattr(ScriptedTranscriber, "transcribe", transcribe)

    async def work(self, stop: Stop) -> None:
        self.calls += 1
        while not (self.cue.is_set() or stop.is_set):
            await asyncio.sleep(0.005)
        await self.threads.run(self._on_the_thread, self.calls >= self.fails_from)

    def _on_the_thread(self, fails: bool) -> None:
        structlog.get_logger("engine").info("engine_works")
        logging.getLogger("library").warning("works too")
        if fails:
            raise RuntimeError("it breaks")


WORKS = {"engine_works", "library: works too"}


@pytest.fixture
async def shop(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Workshop]:
    made = Workshop(monkeypatch)
    yield made
    await made.threads.close()


def speech(http: httpx.AsyncClient, name: str, **fields: Any) -> httpx.Request:
    body = {"input": TEXT, "response_format": "pcm", **fields}
    return http.build_request("POST", SPEECH, json=body, headers={"x-request-id": name})


def transcription(http: httpx.AsyncClient, name: str, **fields: str) -> httpx.Request:
    files = {"file": ("a.wav", SPOKEN)}
    headers = {"x-request-id": name}
    return http.build_request("POST", TRANSCRIPTIONS, files=files, data=fields, headers=headers)


ASK = {"speech": speech, "transcription": transcription}
WORK = pytest.mark.parametrize("work", list(ASK))


@contextmanager
def only(logged: Logged, *names: str) -> Iterator[None]:
    """Whatever is logged meanwhile carries one of these ids."""
    logged.records.clear()
    yield
    nameless = [event for event, request in logged.records if request not in names]
    assert not nameless, nameless
    assert logged.ids() == set(names)


async def over(server: LiveServer) -> None:
    await until(lambda: not server.house.requests.active)
    await until(lambda: not any(state.busy for state in server.house.pool.status().values()))
    await until(lambda: not any(state.stopping for state in server.house.pool.status().values()))


@WORK
async def test_what_succeeds(
    work: str, server: LiveServer, http: httpx.AsyncClient, shop: Workshop, logged: Logged
) -> None:
    with only(logged, "mine"):
        answer = await http.send(ASK[work](http, "mine"))
        await over(server)
    assert (answer.status_code, answer.headers["x-request-id"]) == (200, "mine")
    assert {*WORKS, "request_ended"} <= logged.events("mine")
    assert ("clause_skipped" in logged.events("mine")) == (work == "speech")


@WORK
async def test_an_engine_that_fails_at_once(
    work: str, server: LiveServer, http: httpx.AsyncClient, shop: Workshop, logged: Logged
) -> None:
    shop.fails_from = 1
    with only(logged, "mine"):
        answer = await http.send(ASK[work](http, "mine"))
        await over(server)
    assert answer.status_code == 502
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "mine"
    assert {*WORKS, "engine_call_failed", "request_ended"} <= logged.events("mine")


async def test_a_voice_that_fails_in_the_middle_of_the_audio(
    server: LiveServer, http: httpx.AsyncClient, shop: Workshop, logged: Logged
) -> None:
    shop.fails_from = 2
    with only(logged, "mine"):
        answer = await http.send(speech(http, "mine"), stream=True)
        assert (answer.status_code, answer.headers["x-request-id"]) == (200, "mine")
        with pytest.raises(httpx.RemoteProtocolError):
            await answer.aread()
        await over(server)
    assert {*WORKS, "engine_call_failed", "request_ended"} <= logged.events("mine")


@pytest.mark.parametrize(
    ("work", "fields"),
    [("speech", {"stream_format": "sse"}), ("transcription", {"stream": "true"})],
)
async def test_an_engine_that_fails_in_the_middle_of_events(
    work: str,
    fields: dict[str, str],
    server: LiveServer,
    http: httpx.AsyncClient,
    shop: Workshop,
    logged: Logged,
) -> None:
    shop.fails_from = 2
    with only(logged, "mine"):
        answer = await http.send(ASK[work](http, "mine", **fields))
        await over(server)
    last = json.loads(answer.text.strip().split("\n\n")[-1].removeprefix("data: "))
    assert (last["type"], last["request_id"]) == ("error", "mine")
    assert answer.headers["x-request-id"] == "mine"
    assert {"engine_call_failed", "request_ended"} <= logged.events("mine")


@WORK
async def test_a_client_that_leaves_an_engine_at_work(
    work: str, server: LiveServer, http: httpx.AsyncClient, shop: Workshop, logged: Logged
) -> None:
    shop.cue.clear()
    shop.fails_from = 1
    with only(logged, "mine"):
        asking = asyncio.ensure_future(http.send(ASK[work](http, "mine")))
        await until(lambda: shop.calls)
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        await over(server)
        await until(lambda: "engine_call_failed_after_stop" in logged.events("mine"))
    assert {*WORKS, "request_ended"} <= logged.events("mine")


async def test_a_client_that_leaves_in_the_middle_of_the_audio(
    server: LiveServer, http: httpx.AsyncClient, shop: Workshop, logged: Logged
) -> None:
    with only(logged, "mine"):
        answer = await http.send(speech(http, "mine", input=LONG), stream=True)
        await anext(answer.aiter_raw())
        await answer.aclose()
        await over(server)
    assert {*WORKS, "request_ended"} <= logged.events("mine")


@WORK
async def test_one_that_waits_too_long_behind_another(
    work: str, monkeypatch: pytest.MonkeyPatch, shop: Workshop, logged: Logged
) -> None:
    async with live_server(ANTIPHON_POOL_WAIT_S="0.1") as server, client(server.url) as http:
        shop.cue.clear()
        with only(logged, "first", "late"):
            first = asyncio.ensure_future(http.send(ASK[work](http, "first")))
            await until(lambda: shop.calls)
            late = await http.send(ASK[work](http, "late"))
            assert (late.status_code, late.json()["error"]["code"]) == (503, "TIMEOUT")
            assert late.headers["x-request-id"] == late.json()["request_id"] == "late"
            shop.cue.set()
            assert (await first).headers["x-request-id"] == "first"
            await over(server)
        assert logged.events("late") == {"request_ended"}
        assert logged.events("first") >= WORKS


async def test_two_at_once_are_told_apart_on_the_threads_too(
    server: LiveServer, http: httpx.AsyncClient, shop: Workshop, logged: Logged
) -> None:
    with only(logged, "a", "b"):
        await asyncio.gather(*(http.send(speech(http, name)) for name in "ab"))
        await over(server)
    for name in "ab":
        said = [event for event, request in logged.records if request == name]
        assert said.count("engine_works") == shop.calls / 2


NOT_READ = {
    "no HTTP": ("what is this", b"400"),
    "two lengths": (
        "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked",
        b"400",
    ),
    "a socket to nowhere": (
        "GET /elsewhere HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13",
        b"403",
    ),
}


@pytest.mark.parametrize("what", [*NOT_READ, "a head without end"])
async def test_what_never_becomes_a_request_of_a_route_has_an_id_too(
    what: str, server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    if what in NOT_READ:
        sent, status = NOT_READ[what]
        sent += "\r\n\r\n"
    else:
        monkeypatch.setattr(peer, "HEAD_S", 0.1)
        sent, status = "GET / HT", b"408"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(sent.encode())
    head = await reader.readuntil(b"\r\n\r\n")
    writer.close()
    await writer.wait_closed()
    assert head.split()[1] == status
    assert re.search(rb"\r\nx-request-id: req_[0-9a-f]{16}\r\n", head)


async def test_a_fault_of_our_own_and_what_the_server_below_says_of_it(
    server: LiveServer,
    http: httpx.AsyncClient,
    logged: Logged,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(speech_api, "read_ask", broken)
    with only(logged, "mine"):
        answer = await http.send(speech(http, "mine"))
        await over(server)
    assert answer.status_code == 500
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == "mine"
    assert {"request_failed", "request_ended"} <= logged.events("mine")
