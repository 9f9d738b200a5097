"""Transcription over HTTP, with scripted engines: answers, errors, bounds, and who leaves."""

from __future__ import annotations

import asyncio
import errno
import io
import json
import re
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from openai.types.audio import (
    Transcription,
    TranscriptionTextDeltaEvent,
    TranscriptionTextDoneEvent,
    TranscriptionVerbose,
)

from pipeline.engines.ports import SpeechWindow, Stop, Transcript
from pipeline.engines.scripted import ScriptedTranscriber
from pipeline.errors import SttFailed
from server import upload
from server.house import House
from server.requests import Tracked
from tests.recordings import encoded, silence, talk, tone, wav
from tests.server.speech_client import client, until
from tests.support import LiveServer, live_server

ROUTE = "/v1/audio/transcriptions"
TEXT = "this is a scripted transcript"
SHORT = wav(talk(2, 1))
LONG = wav(talk(*[5, 2.5] * 6))
"""Six windows."""
SIX = " ".join([TEXT] * 6)


class Ears:
    """The scripted recogniser of a test: what it was given, how many at once; and a cue."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.heard: list[SpeechWindow] = []
        self.hearing = self.most_hearing = self.stopped = 0
        self.error: Exception | None = None
        self.after = 10**9
        """So many windows are heard before `cue` is waited for, or `error` raised."""
        self.cue = asyncio.Event()
        good = ScriptedTranscriber.transcribe

        async def transcribe(
            engine: ScriptedTranscriber, window: SpeechWindow, stop: Stop
        ) -> Transcript:
            self.heard.append(window)
            self.hearing += 1
            self.most_hearing = max(self.most_hearing, self.hearing)
            try:
                if len(self.heard) > self.after:
                    if self.error is not None:
                        raise self.error
                    while not (self.cue.is_set() or stop.is_set):
                        await asyncio.sleep(0.005)
                    self.stopped += stop.is_set
                return await good(engine, window, stop)
            finally:
                self.hearing -= 1

        monkeypatch.setattr(ScriptedTranscriber, "transcribe", transcribe)

    def hold(self, after: int = 0) -> None:
        self.after = after

    def fail(self, error: Exception, after: int = 0) -> None:
        self.after, self.error = after, error


@pytest.fixture
def ears(monkeypatch: pytest.MonkeyPatch) -> Ears:
    return Ears(monkeypatch)


@pytest.fixture
async def ai(server: LiveServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        api_key="none", base_url=f"{server.url}/v1", max_retries=0
    ) as asking:
        yield asking


async def ask(http: httpx.AsyncClient, sound: bytes = SHORT, **fields: Any) -> httpx.Response:
    return await http.post(ROUTE, files={"file": ("speech.wav", sound)}, data=fields)


def last(server: LiveServer) -> Tracked:
    return next(iter(server.house.requests))


def claimed(house: House) -> int:
    state = house.pool.status()["stt"]
    return state.claimed + state.busy + state.waiting


def open_files() -> int:
    """Descriptors of this process that are files without a name."""
    count = 0
    for each in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            count += str(each.readlink()).endswith("(deleted)")
    return count


def code_of(answer: httpx.Response) -> tuple[int, str, str | None]:
    error = answer.json()["error"]
    return answer.status_code, error["code"], error["param"]


def events(answer: httpx.Response) -> list[dict[str, Any]]:
    assert answer.headers["content-type"].startswith("text/event-stream")
    return [json.loads(line[6:]) for line in answer.text.split("\n\n") if line]


# --- answers --------------------------------------------------------------------------------------


async def test_a_file_becomes_its_words(http: httpx.AsyncClient) -> None:
    answer = await ask(http)
    assert answer.status_code == 200
    assert answer.json() == {"text": TEXT, "usage": {"type": "duration", "seconds": 3.0}}


@pytest.mark.parametrize(
    ("form", "codec"), [("mp3", "libmp3lame"), ("webm", "libopus"), ("mp4", "aac")]
)
async def test_any_format_is_taken(http: httpx.AsyncClient, form: str, codec: str) -> None:
    sound = encoded(form, codec, tone(2, 48_000), pictures=form == "mp4")
    assert (await ask(http, sound)).json()["text"] == TEXT


async def test_a_long_file_is_heard_window_by_window(http: httpx.AsyncClient, ears: Ears) -> None:
    assert (await ask(http, LONG)).json()["text"] == SIX
    assert len(ears.heard) == 6
    assert ears.most_hearing == 1


async def test_as_text(http: httpx.AsyncClient) -> None:
    answer = await ask(http, LONG, response_format="text")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.text == f"{SIX}\n"


async def test_as_captions(http: httpx.AsyncClient) -> None:
    srt = await ask(http, LONG, response_format="srt")
    assert srt.headers["content-type"].startswith("application/x-subrip")
    assert srt.text.count(" --> ") == srt.text.count(TEXT) == 6
    vtt = await ask(http, LONG, response_format="vtt")
    assert vtt.headers["content-type"].startswith("text/vtt")
    assert vtt.text.startswith("WEBVTT\n\n00:00:0")


async def test_with_the_times_of_segments_and_words(http: httpx.AsyncClient) -> None:
    fields = {"timestamp_granularities[]": ["segment", "word"]}
    told = (await ask(http, LONG, response_format="verbose_json", **fields)).json()
    assert (told["language"], told["duration"], told["text"]) == ("en", 45.0, SIX)
    assert len(told["segments"]) == 6
    assert [word["word"] for word in told["words"]] == SIX.split()
    starts = [segment["start"] for segment in told["segments"]]
    assert starts == pytest.approx([7.5 * number for number in range(6)], abs=0.2)
    ends = [segment["end"] for segment in told["segments"]]
    assert ends == pytest.approx([7.5 * number + 5 for number in range(6)], abs=0.2)


async def test_words_alone_if_only_they_are_asked_for(http: httpx.AsyncClient) -> None:
    fields = {"response_format": "verbose_json", "timestamp_granularities[]": "word"}
    told = (await ask(http, **fields)).json()
    assert "segments" not in told
    assert len(told["words"]) == 5


async def test_a_stream_tells_what_was_said_as_it_is_heard(server: LiveServer, ears: Ears) -> None:
    ears.hold(after=2)
    files = {"file": ("speech.wav", LONG)}
    async with (
        client(server.url) as http,
        http.stream("POST", ROUTE, files=files, data={"stream": "true"}) as answer,
    ):
        lines = answer.aiter_lines()
        told = [json.loads(line[6:]) async for line in _first(lines, 2)]
        assert [each["delta"] for each in told] == [TEXT, f" {TEXT}"]
        ears.cue.set()
        told += [json.loads(line[6:]) async for line in lines if line]
    assert {each["type"] for each in told[:-1]} == {"transcript.text.delta"}
    assert told[-1]["type"] == "transcript.text.done"
    assert told[-1]["text"] == SIX == "".join(each["delta"] for each in told[:-1])
    usage = told[-1]["usage"]
    assert usage["total_tokens"] == usage["input_tokens"] + usage["output_tokens"]
    assert usage["output_tokens"] == 30


async def _first(lines: AsyncIterator[str], count: int) -> AsyncIterator[str]:
    """The first so many that are not empty."""
    async for line in lines:
        if line:
            yield line
            count -= 1
        if not count:
            return


@pytest.mark.parametrize("name", ["json", "text", "srt", "vtt", "verbose_json"])
async def test_where_nobody_speaks_nothing_is_said(http: httpx.AsyncClient, name: str) -> None:
    answer = await ask(http, wav(silence(30)), response_format=name)
    assert answer.status_code == 200
    assert TEXT not in answer.text
    if name == "json":
        assert answer.json()["text"] == ""


async def test_a_stream_without_words_is_done_at_once(http: httpx.AsyncClient) -> None:
    (done,) = events(await ask(http, wav(silence(3)), stream="true"))
    assert (done["type"], done["text"]) == ("transcript.text.done", "")


async def test_what_is_wished_for_reaches_the_recogniser(
    http: httpx.AsyncClient, ears: Ears
) -> None:
    await ask(http, language="en-GB", prompt="Names: Anna.", temperature="0.2")
    (window,) = ears.heard
    assert (window.language, window.prompt) == ("en", "Names: Anna.")
    assert window.temperature == 0.2
    assert window.word_times


async def test_every_request_is_tracked(server: LiveServer, http: httpx.AsyncClient) -> None:
    answer = await http.post(ROUTE, files={"file": ("a", LONG)}, headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["x-queue-position"] == "0"
    assert re.match(
        r"queue;dur=[\d.]+, ttfa;dur=[\d.]+, total;dur=", answer.headers["server-timing"]
    )
    await until(lambda: not server.house.requests.active)
    shown = (await http.get("/admin/requests")).json()[0]
    assert (shown["id"], shown["route"], shown["outcome"]) == ("mine-1", ROUTE, "completed")
    assert shown["audio_s"] == 45.0
    assert shown["characters"] == len(SIX)
    assert last(server).queue_s is not None


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sound", "fields", "expected"),
    [
        (b"", {}, (400, "BAD_MESSAGE", "file")),
        (b"These are words already. " * 99, {}, (400, "BAD_AUDIO", "file")),
        (SHORT[:44], {}, (400, "BAD_AUDIO", "file")),
        (SHORT, {"model": "whisper-99"}, (404, "NOT_FOUND", "model")),
        (SHORT, {"language": "fr"}, (400, "BAD_MESSAGE", "language")),
        (SHORT, {"response_format": "docx"}, (400, "BAD_MESSAGE", "response_format")),
        (SHORT, {"temperature": "hot"}, (400, "BAD_MESSAGE", "temperature")),
        (SHORT, {"stream": "true", "response_format": "vtt"}, (400, "BAD_MESSAGE", "stream")),
    ],
)
async def test_a_mistake_is_an_http_error_that_names_its_parameter(
    http: httpx.AsyncClient,
    sound: bytes,
    fields: dict[str, str],
    expected: tuple[int, str, str | None],
) -> None:
    answer = await ask(http, sound, **fields)
    assert code_of(answer) == expected
    assert answer.headers["x-request-id"] == answer.json()["request_id"]


@pytest.mark.parametrize(
    ("headers", "body"),
    [
        ({"content-type": "application/json"}, b"{}"),
        ({}, b""),
        ({"content-type": "multipart/form-data"}, b"no boundary"),
        ({"content-type": "multipart/form-data; boundary=x"}, b"--y\r\nrubbish"),
        ({"content-type": "multipart/form-data; boundary=x"}, b"--x\r\n\r\n\r\n--x--\r\n"),
        (
            {"content-type": "multipart/form-data; boundary=x"},
            b'--x\r\nContent-Disposition: form-data; name="file"\r\n\r\ntext\r\n--x--\r\n',
        ),
    ],
)
async def test_what_is_no_form_with_a_file_is_refused(
    http: httpx.AsyncClient, headers: dict[str, str], body: bytes
) -> None:
    assert code_of(await http.post(ROUTE, headers=headers, content=body))[:2] == (
        400,
        "BAD_MESSAGE",
    )


async def test_a_second_file_is_refused(http: httpx.AsyncClient) -> None:
    files = [("file", ("a.wav", SHORT)), ("file", ("b.wav", SHORT))]
    assert (await http.post(ROUTE, files=files)).status_code == 400


async def test_a_foreign_page_is_refused(http: httpx.AsyncClient) -> None:
    answer = await http.post(ROUTE, headers={"origin": "https://evil.example"})
    assert code_of(answer)[:2] == (403, "FORBIDDEN")


# --- bounds ---------------------------------------------------------------------------------------


async def test_a_file_that_is_too_large_is_refused_before_it_is_read() -> None:
    async with live_server(ANTIPHON_TRANSCRIPTION_MB="1") as server, client(server.url) as http:
        assert code_of(await ask(http, bytes(5_000_000))) == (413, "TOO_MUCH_AUDIO", "file")
        assert code_of(await ask(http, bytes(1_000_001))) == (413, "TOO_MUCH_AUDIO", "file")
        assert (await ask(http, SHORT)).status_code == 200


async def test_a_file_without_a_length_is_read_no_further_than_its_bound() -> None:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'
    sent = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal sent
        yield head
        while sent < 20_000_000:
            sent += 65_536
            yield bytes(65_536)

    async with live_server(ANTIPHON_TRANSCRIPTION_MB="1") as server, client(server.url) as http:
        answer = await http.post(
            ROUTE,
            content=endless(),
            headers={"content-type": "multipart/form-data; boundary=x"},
        )
        assert code_of(answer) == (413, "TOO_MUCH_AUDIO", "file")


async def test_a_recording_that_is_too_long_is_refused(ears: Ears) -> None:
    async with (
        live_server(ANTIPHON_TRANSCRIPTION_MINUTES="0.5") as server,
        client(server.url) as http,
    ):
        assert code_of(await ask(http, LONG)) == (413, "TOO_MUCH_AUDIO", "file")
        assert ears.heard == []


async def test_an_upload_that_stops_is_not_waited_for(
    server: LiveServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "GAP_S", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n".encode()
    )
    assert b" 408 " in await reader.readline()
    writer.close()
    await writer.wait_closed()
    assert last(server).code == "SLOW_CLIENT"


async def test_a_full_disk_is_told_as_such_and_only_to_who_meets_it(
    server: LiveServer, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = tempfile.SpooledTemporaryFile.write

    def full(self: Any, data: bytes) -> int:
        if self.tell() + len(data) > 200_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        return write(self, data)

    monkeypatch.setattr(tempfile.SpooledTemporaryFile, "write", full)
    answer = await ask(http, LONG)
    assert code_of(answer)[:2] == (503, "AT_CAPACITY")
    assert answer.headers["retry-after"] == "30"
    assert (await ask(http, SHORT)).status_code == 200


async def test_large_files_lie_on_disk_and_are_gone_afterwards(
    server: LiveServer, http: httpx.AsyncClient, ears: Ears
) -> None:
    before = open_files()
    ears.hold(after=1)
    asking = asyncio.ensure_future(ask(http, LONG))
    await until(lambda: ears.hearing)
    assert open_files() == before + 1
    ears.cue.set()
    assert (await asking).status_code == 200
    await until(lambda: not server.house.requests.active)
    assert open_files() == before


async def test_a_budget_of_audio_that_is_used_up_says_when_to_come_back() -> None:
    async with live_server(ANTIPHON_MAX_SESSIONS="1") as server, client(server.url) as http:
        assert (await ask(http)).status_code == 200
        with server.house.budgets.session(None) as budget:
            budget.take_audio(477, time.monotonic())  # of the 480 that one user has in a minute
        answer = await ask(http)
        assert code_of(answer)[:2] == (429, "RATE_LIMITED")
        assert int(answer.headers["retry-after"]) >= 1


async def test_past_the_longest_wait_a_request_times_out_with_its_id(ears: Ears) -> None:
    ears.hold()
    async with live_server(ANTIPHON_POOL_WAIT_S="0.2") as server, client(server.url) as http:
        first = asyncio.ensure_future(ask(http))
        await until(lambda: ears.hearing)
        answer = await http.post(
            ROUTE, files={"file": ("a", SHORT)}, headers={"x-request-id": "late"}
        )
        assert code_of(answer)[:2] == (503, "TIMEOUT")
        assert answer.json()["request_id"] == "late"
        assert "retry-after" in answer.headers
        ears.cue.set()
        assert (await first).status_code == 200


async def test_many_at_once_each_get_their_own_words(
    server: LiveServer, http: httpx.AsyncClient, ears: Ears
) -> None:
    answers = await asyncio.gather(*(ask(http, LONG) for _ in range(6)))
    assert [answer.json()["text"] for answer in answers] == [SIX] * 6
    assert ears.most_hearing == 1  # one slot
    assert claimed(server.house) == 0


async def test_a_server_that_goes_away_takes_nothing_new(
    server: LiveServer, http: httpx.AsyncClient
) -> None:
    server.house.stage = "draining"
    assert code_of(await ask(http))[:2] == (503, "GOING_AWAY")


# --- what goes wrong ------------------------------------------------------------------------------


async def test_a_failure_of_the_recogniser_is_an_http_error(
    server: LiveServer, http: httpx.AsyncClient, ears: Ears
) -> None:
    ears.fail(SttFailed("speech could not be transcribed"), after=2)
    assert code_of(await ask(http, LONG))[:2] == (502, "STT_FAILED")
    assert last(server).code == "STT_FAILED"
    assert claimed(server.house) == 0


async def test_a_failure_in_mid_stream_is_an_event(http: httpx.AsyncClient, ears: Ears) -> None:
    ears.fail(SttFailed("speech could not be transcribed"), after=2)
    told = events(await ask(http, LONG, stream="true"))
    assert [each["type"] for each in told] == ["transcript.text.delta"] * 2 + ["error"]
    assert told[-1]["error"]["code"] == "STT_FAILED"
    assert told[-1]["request_id"]


async def test_a_failure_before_the_first_words_of_a_stream_is_an_http_error(
    http: httpx.AsyncClient, ears: Ears
) -> None:
    ears.fail(SttFailed("speech could not be transcribed"))
    assert code_of(await ask(http, LONG, stream="true"))[:2] == (502, "STT_FAILED")


async def test_a_recogniser_that_hangs_fails_the_request(ears: Ears) -> None:
    ears.hold(after=1)
    async with live_server(ANTIPHON_ENGINE_HANG_S="0.2") as server, client(server.url) as http:
        assert code_of(await ask(http, LONG))[:2] == (502, "STT_FAILED")
        ears.cue.set()


async def test_who_leaves_in_mid_window_stops_the_work_and_frees_the_slot(
    server: LiveServer, ears: Ears
) -> None:
    ears.hold(after=2)
    before = open_files()
    async with client(server.url) as http:
        asking = asyncio.ensure_future(ask(http, LONG))
        await until(lambda: len(ears.heard) == 3)
        asking.cancel()
        await asyncio.wait([asking])
    await until(lambda: not server.house.requests.active)
    await until(lambda: not ears.hearing)
    assert ears.stopped == 1
    assert len(ears.heard) == 3
    assert claimed(server.house) == 0
    assert last(server).outcome == "cancelled"
    assert open_files() == before


async def test_who_leaves_in_mid_stream_stops_the_work(server: LiveServer, ears: Ears) -> None:
    ears.hold(after=2)
    async with client(server.url) as http:
        files = {"file": ("a", LONG)}
        async with http.stream("POST", ROUTE, files=files, data={"stream": "true"}) as answer:
            async for _ in _first(answer.aiter_lines(), 1):
                pass
    await until(lambda: not server.house.requests.active)
    await until(lambda: not ears.hearing)
    assert len(ears.heard) <= 3
    assert claimed(server.house) == 0


async def test_who_leaves_while_uploading_leaves_nothing_behind(server: LiveServer) -> None:
    before = open_files()
    _, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(
        f"POST {ROUTE} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 9000000\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        '--x\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\n'.encode()
    )
    writer.write(bytes(3_000_000))
    await writer.drain()
    await until(lambda: open_files() == before + 1)
    writer.transport.abort()
    await until(lambda: not server.house.requests.active)
    assert last(server).outcome == "cancelled"
    assert open_files() == before


async def test_who_leaves_while_it_is_decoded_leaves_nothing_behind(
    server: LiveServer, ears: Ears
) -> None:
    async with client(server.url) as http:
        asking = asyncio.ensure_future(ask(http, wav(silence(600))))
        await until(lambda: server.house.requests.active)
        await until(lambda: last(server).elapsed_s() > 0.05)
        asking.cancel()
        await asyncio.wait([asking])
    await until(lambda: not server.house.requests.active)
    assert ears.heard == []


# --- clients --------------------------------------------------------------------------------------


async def test_openais_client_reads_every_format(ai: openai.AsyncOpenAI) -> None:
    create = ai.audio.transcriptions.create
    plain = await create(model="whisper-1", file=("a.wav", SHORT))
    assert isinstance(plain, Transcription)
    assert plain.text == TEXT
    assert plain.usage is not None
    assert plain.usage.type == "duration"
    for name in ("text", "srt", "vtt"):
        written = await create(model="whisper-1", file=("a.wav", SHORT), response_format=name)
        assert isinstance(written, str)
        assert TEXT in written
    verbose = await create(
        model="whisper-1",
        file=("a.wav", SHORT),
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
        language="en",
        prompt="Names.",
        temperature=0.1,
    )
    assert isinstance(verbose, TranscriptionVerbose)
    TranscriptionVerbose.model_validate(verbose.to_dict(), strict=True)
    assert verbose.segments
    assert verbose.words
    assert verbose.usage


async def test_openais_client_reads_the_stream(ai: openai.AsyncOpenAI) -> None:
    stream = await ai.audio.transcriptions.create(
        model="gpt-4o-transcribe", file=("a.wav", io.BytesIO(LONG)), stream=True
    )
    told = [event async for event in stream]
    deltas = [event for event in told if isinstance(event, TranscriptionTextDeltaEvent)]
    assert "".join(event.delta for event in deltas) == SIX
    assert isinstance(told[-1], TranscriptionTextDoneEvent)
    assert told[-1].text == SIX
    assert told[-1].usage is not None


async def test_openais_client_knows_our_errors(ai: openai.AsyncOpenAI, ears: Ears) -> None:
    with pytest.raises(openai.BadRequestError) as raised:
        await ai.audio.transcriptions.create(model="whisper-1", file=("a.wav", b"text"))
    assert (raised.value.code, raised.value.param) == ("BAD_AUDIO", "file")
    with pytest.raises(openai.NotFoundError):
        await ai.audio.transcriptions.create(model="nonesuch", file=("a.wav", SHORT))
    ears.fail(SttFailed("no"), after=1)
    stream = await ai.audio.transcriptions.create(
        model="gpt-4o-transcribe", file=("a.wav", LONG), stream=True
    )
    with pytest.raises(openai.APIError, match="no"):
        _ = [event async for event in stream]
