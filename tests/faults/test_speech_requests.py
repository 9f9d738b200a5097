"""Speech over HTTP when something goes wrong: one request fails, and nobody else notices."""

from __future__ import annotations

import asyncio
import errno
import itertools
import json
import tempfile
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

import server.exchange
from pipeline.engines.ports import Float32, SpeechRequest, Stop
from pipeline.errors import TtsFailed
from tests.faults.baseline import settled
from tests.faults.mischief import Mischief, piece
from tests.faults.raw import Raw, raw
from tests.faults.test_engines import BREAKS, BROKEN_AT, breaking
from tests.faults.trial import VICTIM, Trial, trial

SPEECH = "/v1/audio/speech"
TEXT = "This is the first clause. And here is the second one, which is longer. And a third one."
LONG = TEXT * 40


def victim(house: Trial) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=house.url, timeout=30)


def body(**fields: object) -> dict[str, object]:
    return {"input": TEXT, "voice": VICTIM, "response_format": "pcm", **fields}


def post(**fields: object) -> bytes:
    """The bytes of a request of the victim's."""
    content = json.dumps(body(**fields)).encode()
    head = f"POST {SPEECH} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: {len(content)}\r\n\r\n"
    return head.encode() + content


async def outcome(house: Trial) -> tuple[str | None, str | None]:
    """What became of the last request, once none is at work."""
    requests = house.house.requests
    await settled(lambda: f"{requests.active} requests" if requests.active else "")
    tracked = next(iter(requests))
    return tracked.outcome, tracked.code


async def recovers(house: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    """The next request is served."""
    monkeypatch.undo()
    async with victim(house) as http:
        assert (await http.post(SPEECH, json=body())).status_code == 200


# --- engines --------------------------------------------------------------------------------------


async def test_a_voice_that_breaks_in_the_first_clause_is_an_http_error(
    mischief: Mischief, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with trial() as house, victim(house) as http:
        house.bugs.add("engine_call_failed")
        for error, (before, name) in itertools.product(BREAKS, BROKEN_AT.items()):
            mischief.voicing(breaking(error, before))
            answer = await http.post(SPEECH, json=body())
            told = answer.status_code, answer.json()["error"]["code"]
            assert told == (502, "TTS_FAILED"), (error, name)
            assert await outcome(house) == ("failed", "TTS_FAILED")
            await recovers(house, monkeypatch)


def breaking_later(mischief: Mischief) -> None:
    """The victim's second clause fails."""

    async def fault(request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        if "second" in request.text:
            raise TtsFailed("no voice any more")
        yield piece(0.5)

    mischief.voicing(fault)


async def test_a_voice_that_breaks_later_cuts_the_answer_off_so_that_it_is_seen(
    mischief: Mischief, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaking_later(mischief)
    async with trial() as house, victim(house) as http:
        got = bytearray()

        async def listen() -> None:
            async with http.stream("POST", SPEECH, json=body()) as answer:
                assert answer.status_code == 200
                async for data in answer.aiter_bytes():
                    got.extend(data)

        with pytest.raises(httpx.RemoteProtocolError):
            await listen()
        assert len(got) >= 24_000
        assert await outcome(house) == ("failed", "TTS_FAILED")
        await recovers(house, monkeypatch)


async def test_a_voice_that_breaks_later_is_an_http_error_while_nothing_was_sent(
    mischief: Mischief,
) -> None:
    breaking_later(mischief)
    async with trial() as house, victim(house) as http:
        answer = await http.post(SPEECH, json=body(stream=False))
        assert answer.status_code == 502


async def test_a_full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: object, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    async with trial() as house, victim(house) as http:
        house.bugs.add("speech_not_kept")
        monkeypatch.setattr(tempfile.SpooledTemporaryFile, "write", full)
        answer = await http.post(SPEECH, json=body(stream=False))
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "AT_CAPACITY")
        assert answer.headers["retry-after"]
        assert await outcome(house) == ("failed", "AT_CAPACITY")
        monkeypatch.undo()
        assert (await http.post(SPEECH, json=body(stream=False))).status_code == 200


async def test_a_voice_that_breaks_later_is_told_as_an_event_where_there_are_events(
    mischief: Mischief,
) -> None:
    breaking_later(mischief)
    async with trial() as house, victim(house) as http:
        answer = await http.post(SPEECH, json=body(stream_format="sse"))
        last = json.loads(answer.text.strip().split("\n\n")[-1].removeprefix("data: "))
        assert last["type"] == "error"
        assert last["error"]["code"] == "TTS_FAILED"
        assert last["request_id"] == answer.headers["x-request-id"]
        assert await outcome(house) == ("failed", "TTS_FAILED")


async def test_a_voice_that_hangs_and_whoever_waited_for_it_leaves(mischief: Mischief) -> None:
    async def fault(request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        await mischief.hang()
        yield piece()

    mischief.voicing(fault)
    async with trial() as house:
        async with victim(house) as http:
            asked = asyncio.ensure_future(http.post(SPEECH, json=body()))
            await mischief.reached.wait()
            asked.cancel()
            await asyncio.gather(asked, return_exceptions=True)
        assert await outcome(house) == ("cancelled", None)
        claims = house.house.pool.status()["tts"]
        assert (claims.waiting, claims.stopping) == (0, 1)
        house.hung = mischief.release


async def test_a_voice_that_hangs_fails_the_request_and_is_replaced(mischief: Mischief) -> None:
    async def fault(request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        await mischief.hang()
        yield piece()

    mischief.voicing(fault)
    async with trial(ANTIPHON_ENGINE_HANG_S="0.5") as house, victim(house) as http:
        house.bugs.add("engine_hangs")
        answer = await http.post(SPEECH, json=body())
        assert (answer.status_code, answer.json()["error"]["code"]) == (502, "TTS_FAILED")
        house.hung = mischief.release


async def test_a_voice_without_end_is_stopped(mischief: Mischief) -> None:
    async def fault(request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        while not stop.is_set:
            await asyncio.sleep(0)
            yield piece(1.0)

    mischief.voicing(fault)
    async with trial() as house, victim(house) as http:
        answer = await http.post(SPEECH, json=body(input="Hi there."))
        assert answer.json()["error"]["code"] == "TTS_FAILED"


# --- clients --------------------------------------------------------------------------------------


def slow_voice(mischief: Mischief) -> None:
    """The victim's clauses take a while, and are long."""

    async def fault(request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        for _ in range(5):
            await asyncio.sleep(0.05)
            if stop.is_set:
                return
            yield piece(0.5)

    mischief.voicing(fault)


async def test_a_reset_before_the_first_audio(mischief: Mischief) -> None:
    slow_voice(mischief)
    async with trial() as house, raw(house.port) as client:
        await client.send(post())
        await settled(lambda: "" if house.house.requests.active else "it has not come yet")
        client.reset()
        assert await outcome(house) == ("cancelled", None)


async def test_a_reset_in_mid_stream(mischief: Mischief) -> None:
    slow_voice(mischief)
    async with trial() as house, raw(house.port) as client:
        await client.send(post(input=LONG))
        await client.reader.readuntil(b"\r\n\r\n")
        await client.reader.readexactly(2_000)
        client.reset()
        assert await outcome(house) == ("cancelled", None)


async def test_a_reset_in_the_middle_of_the_body() -> None:
    async with trial() as house, raw(house.port) as client:
        await client.send(post()[:-20])
        await settled(lambda: "" if house.house.requests.active else "it has not come yet")
        client.reset()
        assert await outcome(house) == ("cancelled", None)


async def test_a_body_that_breaks_the_rules_of_its_chunks() -> None:
    head = f"POST {SPEECH} HTTP/1.1\r\nHost: 127.0.0.1\r\nTransfer-Encoding: chunked\r\n\r\n"
    async with trial() as house:
        for body_of_chunks in (b"ZZ\r\n", b"5\r\n{'inp-ZZ\r\n", b"-1\r\n"):
            async with raw(house.port) as client:
                await client.send(head.encode())
                await settled(lambda: "" if house.house.requests.active else "it has not come yet")
                await client.send(body_of_chunks)
                assert b" 400 " in await client.reader.readuntil(b"\r\n\r\n")
            assert await outcome(house) == ("cancelled", None)


async def test_a_body_that_does_not_come(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.exchange, "BODY_S", 0.2)
    async with trial() as house, raw(house.port) as client:
        await client.send(post()[:-20])
        head = await client.reader.readuntil(b"\r\n\r\n")
        assert b" 408 " in head
        assert await outcome(house) == ("failed", "SLOW_CLIENT")


async def stops_reading(client: Raw, **fields: object) -> None:
    await client.send(post(**fields))
    await client.reader.readuntil(b"\r\n\r\n")


def made_s(house: Trial) -> float:
    return next(iter(house.house.requests)).audio_s


async def standing_still(look: Any) -> float:
    """The value once it has not changed for half a second."""
    value, same = look(), 0
    while same < 25:
        await asyncio.sleep(0.02)
        same = same + 1 if look() == value else 0
        value = look()
    return float(value)


async def test_a_client_that_stops_reading_holds_no_engine_and_little_memory() -> None:
    async with trial() as house:
        async with raw(house.port, receive_buffer=4_096) as client:
            await stops_reading(client, input=LONG)
            made = await standing_still(lambda: made_s(house))
            assert made < 30  # of some 70 s
            claims = house.house.pool.claims(next(iter(house.house.requests)).owner)
            assert claims["tts"] == 0
            assert house.house.requests.active == 1
            client.reset()
        assert await outcome(house) == ("cancelled", None)


async def test_a_client_that_reads_slowly_sets_the_pace() -> None:
    async with trial() as house:
        async with raw(house.port, receive_buffer=4_096) as client:
            await stops_reading(client, input=LONG)
            unread_s = []
            for read_s in (0, 10, 20, 30):
                if read_s:
                    await client.reader.readexactly(10 * 48_000)
                unread_s.append(await standing_still(lambda: made_s(house)) - read_s)
            # A clause and what buffers hold, as much after half a minute as at the beginning.
            assert max(unread_s) < 8, unread_s
            client.reset()
        assert await outcome(house) == ("cancelled", None)


async def test_a_client_that_never_reads_on_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.exchange, "STUCK_S", 0.3)
    monkeypatch.setattr("server.peer.FLUSH_S", 0.1)
    async with trial() as house, raw(house.port, receive_buffer=4_096) as client:
        await stops_reading(client, input=LONG)
        assert await outcome(house) == ("failed", "SLOW_CLIENT")


async def test_a_storm_of_requests_that_are_gone_at_once() -> None:
    async with trial() as house:
        for _ in range(50):
            async with raw(house.port) as client:
                await client.send(post())
                client.reset()
        assert (await outcome(house))[0] in ("cancelled", "completed", None)


async def test_forty_requests_beside_a_conversation(mischief: Mischief) -> None:
    async with trial() as house, victim(house) as http:
        answers = await asyncio.gather(
            *(http.post(SPEECH, json=body(input=f"Number {n}. {TEXT}")) for n in range(40))
        )
        assert {answer.status_code for answer in answers} == {200}
