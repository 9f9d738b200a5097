"""Speech over HTTP, with scripted engines: answers, errors, queues, and who leaves."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import wave
from collections.abc import AsyncIterator
from itertools import count
from typing import Any

import httpx
import numpy as np
import openai
import pytest

from pipeline.engines.ports import Float32, SpeechRequest, Stop
from pipeline.engines.scripted import ScriptedSynthesizer
from pipeline.errors import GoingAway, Unspeakable
from server import requests
from server.encoding import CONTENT_TYPES, Format
from server.requests import Tracked
from server.speech_api import SPANS_CHARACTERS, spans
from tests.server.speech_client import SPEECH, Stage, claimed, client, until
from tests.server.test_encoding import FORMATS, decoded
from tests.support import LiveServer, live_server

TEXT = "Hello there. This is a second sentence, and it is a little longer."


@pytest.fixture
def stage(monkeypatch: pytest.MonkeyPatch) -> Stage:
    return Stage(monkeypatch)


def last(server: LiveServer) -> Tracked:
    return next(iter(server.house.requests))


async def pcm(http: httpx.AsyncClient, **fields: Any) -> bytes:
    answer = await http.post(SPEECH, json={"response_format": "pcm", "input": TEXT, **fields})
    assert answer.status_code == 200, answer.text
    return answer.content


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("name", FORMATS)
async def test_every_format_is_the_same_speech(
    http: httpx.AsyncClient, name: Format, stream: bool
) -> None:
    whole = np.frombuffer(await pcm(http), "<i2")
    answer = await http.post(
        SPEECH, json={"input": TEXT, "response_format": name, "stream": stream}
    )
    assert answer.headers["content-type"] == CONTENT_TYPES[name]
    assert ("content-length" in answer.headers) is not stream
    samples = decoded(name, answer.content)
    assert 0 <= len(samples) - len(whole) < 2_400
    if name == "wav":
        with wave.open(io.BytesIO(answer.content)) as reader:
            assert reader.readframes(10**9) == whole.tobytes()
            if not stream:
                assert reader.getnframes() == len(whole)


async def test_mp3_is_what_is_sent_when_nothing_is_said_of_the_format(
    http: httpx.AsyncClient,
) -> None:
    answer = await http.post(SPEECH, json={"text": "Hi."})
    assert answer.headers["content-type"] == "audio/mpeg"


async def test_json_is_read_whatever_curl_says_it_is(http: httpx.AsyncClient) -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    answer = await http.post(SPEECH, content='{"text":"Test.","stream":false}', headers=form)
    assert answer.status_code == 200


async def test_speed_and_voice_are_taken(http: httpx.AsyncClient) -> None:
    normal = await pcm(http)
    assert len(await pcm(http, speed=2.0)) < 0.7 * len(normal)
    assert await pcm(http, voice="tone-low") != normal
    assert await pcm(http, voice="alloy") == normal


async def test_server_sent_events_carry_the_same_audio_and_what_was_skipped(
    http: httpx.AsyncClient,
) -> None:
    text = "Hello there. 🎉"
    whole = await pcm(http, input=text)
    answer = await http.post(
        SPEECH, json={"input": text, "response_format": "pcm", "stream_format": "sse"}
    )
    assert answer.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line[6:]) for line in answer.text.split("\n\n") if line]
    assert {event["type"] for event in events[:-1]} == {"speech.audio.delta"}
    assert b"".join(base64.b64decode(event["audio"]) for event in events[:-1]) == whole
    done = events[-1]
    assert done["type"] == "speech.audio.done"
    assert set(done["usage"]) == {"input_tokens", "output_tokens", "total_tokens"}
    assert [text[each["start"] : each["end"]] for each in done["skipped"]] == [
        each["text"] for each in done["skipped"]
    ]
    assert "🎉" in "".join(each["text"] for each in done["skipped"])


async def test_all_that_was_skipped_is_listed_however_much_that_is(
    http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    say, calls = ScriptedSynthesizer.synthesize, count()

    async def picky(
        self: ScriptedSynthesizer, request: SpeechRequest, stop: Stop
    ) -> AsyncIterator[Float32]:
        if next(calls) % 2:
            raise Unspeakable("not this")
        async for chunk in say(self, request, stop):
            yield chunk

    monkeypatch.setattr(ScriptedSynthesizer, "synthesize", picky)
    monkeypatch.setattr(requests, "MOST_SKIPPED", 3)
    text = "This is a sentence of its own, and it is not short at all, for nobody is in a hurry. "
    body = {"input": text * 20, "response_format": "pcm", "stream_format": "sse", "speed": 4.0}
    answer = await http.post(SPEECH, json=body)
    done = json.loads(answer.text.split("\n\n")[-2][6:])
    listed = done["skipped_spans"]
    assert len(listed) > 5
    assert [[each["start"], each["end"]] for each in done["skipped"]] == listed[:3]
    assert done["skipped_more"] == len(listed) - 3


def test_a_header_lists_as_many_as_fit_and_says_how_many_others_there_are() -> None:
    assert spans([12, 15, 40, 52]) == "12-15,40-52"
    listed = spans(range(10_000, 12_000)).split(",")
    assert len(",".join(listed)) <= SPANS_CHARACTERS + 30
    assert listed[-1] == f"and {1_000 - len(listed) + 1} more"


async def test_the_header_of_a_whole_answer_lists_what_was_skipped(
    http: httpx.AsyncClient, server: LiveServer
) -> None:
    text = "Hello there. 🎉🎉🎉"
    answer = await http.post(SPEECH, json={"input": text, "stream": False})
    ((start, end),) = re.findall(r"(\d+)-(\d+)", answer.headers["x-skipped"])
    assert "🎉🎉🎉" in text[int(start) : int(end)]
    (shown, *_) = (await http.get("/admin/requests")).json()
    assert "🎉🎉🎉" in shown["skipped"][0]["text"]


async def test_every_request_is_tracked_with_its_times(
    http: httpx.AsyncClient, server: LiveServer
) -> None:
    audio = await pcm(http)
    (shown,) = (await http.get("/admin/requests")).json()
    assert shown["outcome"] == "completed"
    assert shown["audio_s"] == pytest.approx(len(audio) / 48_000, abs=0.001)
    times = shown["times_ms"]
    assert 0 <= times["queue"] <= times["ttfa"] <= times["total"]
    assert shown["characters"] == len(TEXT)
    metrics = (await http.get("/metrics")).text
    assert 'antiphon_requests_total{outcome="completed",work="speech"} 1.0' in metrics
    assert 'antiphon_request_ttfa_seconds_count{work="speech"} 1.0' in metrics


async def test_ten_in_a_row_are_tracked_each_with_what_it_took(
    http: httpx.AsyncClient, server: LiveServer
) -> None:
    came = [await pcm(http, input=f"Number {n} speaks. " + "And on. " * n) for n in range(10)]
    shown = (await http.get("/admin/requests")).json()[::-1]
    assert [each["audio_s"] for each in shown] == [
        pytest.approx(len(audio) / 48_000, abs=0.001) for audio in came
    ]
    assert {each["outcome"] for each in shown} == {"completed"}
    assert len({each["id"] for each in shown}) == 10
    for each in shown:
        times = each["times_ms"]
        assert 0 <= times["queue"] <= times["ttfa"] <= times["total"]


async def test_the_head_says_how_long_it_took(http: httpx.AsyncClient) -> None:
    answer = await http.post(SPEECH, json={"input": TEXT})
    assert answer.headers["x-queue-position"] == "0"
    assert re.fullmatch(r"queue;dur=[\d.]+, ttfa;dur=[\d.]+", answer.headers["server-timing"])
    whole = await http.post(SPEECH, json={"input": TEXT, "stream": False})
    assert "total;dur=" in whole.headers["server-timing"]


async def test_the_clients_own_id_is_kept_in_answers_errors_and_the_register(
    http: httpx.AsyncClient, server: LiveServer
) -> None:
    mine = {"x-request-id": "mine-1"}
    assert (await http.post(SPEECH, json={"input": "Hi."}, headers=mine)).headers[
        "x-request-id"
    ] == "mine-1"
    assert last(server).id == "mine-1"
    error = await http.post(SPEECH, json={}, headers=mine)
    assert error.json()["request_id"] == "mine-1"
    made = (await http.post(SPEECH, json={"input": "Hi."})).headers["x-request-id"]
    assert made == last(server).id
    assert made != "mine-1"


async def test_the_rest_is_made_while_the_first_is_heard(
    http: httpx.AsyncClient, stage: Stage
) -> None:
    body = {"input": TEXT * 20, "response_format": "pcm"}
    async with http.stream("POST", SPEECH, json=body) as answer:
        pieces = answer.aiter_bytes()
        assert await anext(pieces)
        stage.hold()
        begun = len(stage.said)
        stage.cue.set()
        async for _ in pieces:
            pass
    assert len(stage.said) > begun


async def test_no_head_leaves_before_there_is_audio(http: httpx.AsyncClient, stage: Stage) -> None:
    stage.hold()
    async with asyncio.TaskGroup() as tasks:
        asked = tasks.create_task(
            http.send(http.build_request("POST", SPEECH, json={"input": TEXT}), stream=True)
        )
        await until(lambda: stage.speaking)
        assert not asked.done()
        stage.cue.set()
        answer = await asked
        assert await answer.aread()


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fields", "status", "code", "param"),
    [
        ({"input": ""}, 400, "BAD_MESSAGE", "input"),
        ({"speed": 9}, 400, "BAD_MESSAGE", "speed"),
        ({"language": "tlh"}, 400, "BAD_MESSAGE", "language"),
        ({"voice": "tone+tone-low"}, 400, "BAD_MESSAGE", "voice"),
        ({"input": "🎉 ... !"}, 400, "BAD_MESSAGE", "input"),
        ({"voice": "nobody"}, 404, "NOT_FOUND", "voice"),
        ({"model": "gpt-9"}, 404, "NOT_FOUND", "model"),
    ],
)
async def test_a_mistake_is_an_http_error_that_names_its_parameter(
    http: httpx.AsyncClient, fields: dict[str, Any], status: int, code: str, param: str
) -> None:
    answer = await http.post(SPEECH, json={"input": "Hi.", **fields})
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["param"]) == (status, code, param)
    assert error["type"] == "invalid_request_error"


async def test_the_longest_text_is_a_setting() -> None:
    async with (
        live_server(ANTIPHON_SPEECH_CHARACTERS="20") as server,
        client(server.url) as http,
    ):
        assert (await http.post(SPEECH, json={"input": "x" * 20})).status_code == 200
        for body in ({"input": "x" * 21}, {"input": "x" * 100_000}):
            assert (await http.post(SPEECH, json=body)).status_code == 400


async def test_a_body_without_end_is_not_kept(http: httpx.AsyncClient) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(500):
            yield b" " * 65_536

    answer = await http.post(SPEECH, content=endless())
    assert answer.status_code == 400
    assert "longer than" in answer.json()["error"]["message"]


async def test_a_foreign_page_is_refused(http: httpx.AsyncClient) -> None:
    foreign = {"origin": "https://elsewhere.example"}
    assert (await http.post(SPEECH, json={"input": "Hi."}, headers=foreign)).status_code == 403
    assert (await http.get("/v1/models", headers=foreign)).status_code == 403


async def test_another_method_is_refused(http: httpx.AsyncClient) -> None:
    assert (await http.get(SPEECH)).status_code == 405


async def test_a_budget_that_is_used_up_says_when_to_come_back() -> None:
    async with (
        live_server(ANTIPHON_CHARACTERS_PER_MINUTE="100", ANTIPHON_MAX_SESSIONS="1") as server,
        client(server.url) as http,
    ):
        assert (await http.post(SPEECH, json={"input": "x" * 90})).status_code == 200
        answer = await http.post(SPEECH, json={"input": "x" * 90})
        assert (answer.status_code, answer.json()["error"]["code"]) == (429, "RATE_LIMITED")
        assert int(answer.headers["retry-after"]) > 0


async def test_a_server_that_goes_away_takes_nothing_new_and_finishes_what_it_has(
    server: LiveServer, http: httpx.AsyncClient, stage: Stage
) -> None:
    stage.hold()
    begun = asyncio.ensure_future(pcm(http))
    await until(lambda: stage.said)
    server.house.stage = "draining"
    answer = await http.post(SPEECH, json={"input": "Hi."})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "GOING_AWAY")
    with pytest.raises(GoingAway):
        server.house.check_open()
    idle = asyncio.ensure_future(server.house.requests.idle())
    stage.cue.set()
    assert await begun
    await idle


# --- queues ---------------------------------------------------------------------------------------


async def test_twenty_over_five_slots_work_in_order_of_arrival_and_all_finish(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch)
    async with live_server(ANTIPHON_TTS_SLOTS="5") as server, client(server.url) as http:
        stage.hold()
        asked = []
        for number in range(20):  # each is in line before the next one comes
            body = {"input": f"Number {number} speaks. And then it says some more, for long."}
            asked.append(asyncio.ensure_future(http.post(SPEECH, json=body)))
            await until(lambda: claimed(server.house) == len(asked))
        state = server.house.pool.status()["tts"]
        assert (state.claimed, state.waiting, stage.speaking) == (5, 15, 5)
        assert server.house.requests.active == 20
        stage.cue.set()
        answers = await asyncio.gather(*asked)
    assert [answer.status_code for answer in answers] == [200] * 20
    assert [int(answer.headers["x-queue-position"]) for answer in answers] == [0] * 5 + [
        *range(1, 16)
    ]
    assert stage.said[:20] == [f"Number {number} speaks." for number in range(20)]
    assert stage.most_speaking == 5


@pytest.mark.parametrize("most", [1, 2])  # whichever is the default, one is not
async def test_no_more_calls_overlap_than_generations_are_allowed_at_once(
    monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    stage = Stage(monkeypatch)
    concurrent = {"MAX_CONCURRENT_GENERATIONS": str(most)}
    async with live_server(**concurrent) as server, client(server.url) as http:
        await asyncio.gather(*(pcm(http, input=f"{n}: {TEXT}") for n in range(8)))
        assert server.house.requests.total == 8
    assert stage.most_speaking == most


async def test_past_the_longest_wait_a_request_times_out_with_its_id(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch)
    async with live_server(ANTIPHON_POOL_WAIT_S="0.1") as server, client(server.url) as http:
        stage.hold()
        first = asyncio.ensure_future(pcm(http))
        await until(lambda: stage.said)
        late = await http.post(SPEECH, json={"input": TEXT}, headers={"x-request-id": "late"})
        assert (late.status_code, late.json()["error"]["code"]) == (503, "TIMEOUT")
        assert late.json()["request_id"] == late.headers["x-request-id"] == "late"
        assert int(late.headers["retry-after"]) > 0
        (tracked,) = (each for each in server.house.requests if each.id == "late")
        assert (tracked.outcome, tracked.code) == ("failed", "TIMEOUT")
        stage.cue.set()
        assert await first


async def test_more_than_there_may_be_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage(monkeypatch)
    async with live_server(ANTIPHON_MAX_REQUESTS="1") as server, client(server.url) as http:
        stage.hold()
        first = asyncio.ensure_future(pcm(http))
        await until(lambda: stage.said)
        answer = await http.post(SPEECH, json={"input": "Hi."})
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "AT_CAPACITY")
        assert int(answer.headers["retry-after"]) > 0
        stage.cue.set()
        await first


async def test_concurrent_requests_get_their_own_words_and_nobody_elses(
    http: httpx.AsyncClient,
) -> None:
    texts = [f"This is text {n}. " + "It goes on for a while. " * (n % 4) for n in range(12)]
    alone = [await pcm(http, input=text) for text in texts]
    together = await asyncio.gather(*(pcm(http, input=text) for text in texts))
    assert list(together) == alone


# --- who leaves -----------------------------------------------------------------------------------


async def test_who_leaves_before_the_first_audio_stops_its_work(
    server: LiveServer, http: httpx.AsyncClient, stage: Stage
) -> None:
    stage.hold()
    speaking, waiting = (asyncio.ensure_future(pcm(http)) for _ in range(2))
    await until(lambda: claimed(server.house) == 2)
    for leaving, left in ((waiting, 1), (speaking, 0)):
        leaving.cancel()
        await until(lambda: claimed(server.house) == left)  # noqa: B023
    await until(lambda: not server.house.requests.active)
    assert [each.outcome for each in server.house.requests] == ["cancelled", "cancelled"]
    await until(lambda: not stage.speaking)
    assert len(stage.said) == 1
    assert server.house.requests.failed == 0


async def test_who_leaves_in_mid_stream_stops_its_work_at_the_next_chunk(
    server: LiveServer, http: httpx.AsyncClient, stage: Stage
) -> None:
    body = {"input": TEXT * 50, "response_format": "pcm"}
    async with http.stream("POST", SPEECH, json=body) as answer:
        async for _ in answer.aiter_bytes():
            break
    await until(lambda: not server.house.requests.active)
    assert last(server).outcome == "cancelled"
    assert claimed(server.house) == 0
    await until(lambda: not stage.speaking)
    said = len(stage.said)
    assert said < 100
    assert await pcm(http)


# --- the cache ------------------------------------------------------------------------------------


async def test_a_short_text_is_made_once_when_there_is_a_cache(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    stage = Stage(monkeypatch)
    async with live_server(ANTIPHON_SPEECH_CACHE_MB="1") as server, client(server.url) as http:
        first = await pcm(http, input="Hello there. 🎉")
        said = list(stage.said)
        assert await pcm(http, input="Hello there. 🎉") == first
        assert stage.said == said
        assert [each.skipped_count for each in server.house.requests] == [1, 1]
        whole = {"input": "Hello there. 🎉", "stream": False}
        assert (await http.post(SPEECH, json=whole)).headers["x-skipped"]
        await pcm(http, input="Hello there. 🎉", speed=1.2)
        assert len(stage.said) > len(said)
        metrics = (await http.get("/metrics")).text
        assert 'antiphon_speech_cache_total{result="hit"} 2.0' in metrics
        assert 'antiphon_speech_cache_total{result="miss"} 2.0' in metrics
        assert "antiphon_speech_cache_bytes 0.0" not in metrics


async def test_a_text_without_a_word_is_refused_each_time_with_a_cache_too() -> None:
    async with live_server(ANTIPHON_SPEECH_CACHE_MB="1") as server, client(server.url) as http:
        for _ in range(2):
            assert (await http.post(SPEECH, json={"input": "🎉"})).status_code == 400


async def test_without_a_cache_everything_is_made_anew(
    http: httpx.AsyncClient, server: LiveServer, stage: Stage
) -> None:
    for _ in range(2):
        await pcm(http, input="Hello there.")
    assert stage.said == ["Hello there."] * 2
    assert server.house.speech_cache.bytes == 0


# --- what can be asked for ------------------------------------------------------------------------


async def test_models_and_voices_that_are_listed_can_be_named(http: httpx.AsyncClient) -> None:
    models = (await http.get("/v1/models")).json()
    assert models["object"] == "list"
    assert {model["object"] for model in models["data"]} == {"model"}
    serves = {model["id"]: model["serves"] for model in models["data"]}
    assert {"tts-1", "gpt-4o-mini-tts", "whisper-1", "scripted"} <= set(serves)
    assert await pcm(http, model="tts-1")
    assert await pcm(http, model="scripted")
    voices = (await http.get("/v1/audio/voices")).json()["voices"]
    assert {"tone", "tone-low", "alloy", "cedar"} <= {voice["id"] for voice in voices}
    for voice in voices:
        assert await pcm(http, input="Hi.", voice=voice["id"])


# --- OpenAI's client ------------------------------------------------------------------------------


@pytest.fixture
async def ai(server: LiveServer) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(
        base_url=f"{server.url}/v1", api_key="none", max_retries=0
    ) as asking:
        yield asking


@pytest.mark.parametrize("name", FORMATS)
async def test_openais_client_reads_every_format(ai: openai.AsyncOpenAI, name: Format) -> None:
    answer = await ai.audio.speech.create(
        model="tts-1", voice="alloy", input=TEXT, response_format=name
    )
    whole = decoded(name, await answer.aread())
    assert len(whole) > 24_000
    async with ai.audio.speech.with_streaming_response.create(
        model="gpt-4o-mini-tts", voice="coral", input=TEXT, response_format=name
    ) as stream:
        data = b"".join([chunk async for chunk in stream.iter_bytes()])
    assert len(decoded(name, data)) == len(whole)


async def test_openais_client_knows_our_errors(ai: openai.AsyncOpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as missing:
        await ai.audio.speech.create(model="tts-1", voice="nobody", input="Hi.")
    assert missing.value.param == "voice"
    assert missing.value.code == "NOT_FOUND"
    assert missing.value.request_id
    with pytest.raises(openai.BadRequestError):
        await ai.audio.speech.create(model="tts-1", voice="alloy", input="")
    listed = await ai.models.list()
    assert "tts-1" in [model.id for model in listed.data]
