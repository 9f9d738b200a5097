"""Golden orders of what goes wrong, and of silence: written by hand from the reference."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import websockets

from pipeline.engines.ports import Float32, SpeechRequest, Stop
from pipeline.errors import (
    AntiphonError,
    AtCapacity,
    GpuOutOfMemory,
    PoolTimeout,
    SttFailed,
    TtsFailed,
)
from server import realtime_socket
from tests.contract.chat_backend import chat_backend, chunk, head, refuses, resets, sends
from tests.realtime.client import PCM_HZ, Client, connected
from tests.realtime.test_orders import ANSWER, SPOKEN_DELTAS, SPOKEN_END, speech
from tests.support import LiveServer, live_server, silence

VAD_TURN = [
    "input_audio_buffer.speech_started",
    "input_audio_buffer.speech_stopped",
]
USER_ITEM = [
    "input_audio_buffer.committed",
    "conversation.item.added",
    "conversation.item.done",
]
DONE = b"data: [DONE]\n\n"
TEXT_END = [
    "response.output_text.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]


def url_of(server: LiveServer) -> str:
    return server.url.replace("http", "ws")


def since(client: Client, kind: str) -> list[str]:
    return client.kinds[client.kinds.index(kind) :]


def deaf(server: LiveServer) -> None:
    """From now on the recogniser fails."""

    async def fail(*_: object) -> None:
        raise SttFailed("no words for this")

    server.house.engines.transcriber.transcribe = fail  # type: ignore[method-assign,assignment]


async def test_a_model_that_says_nothing() -> None:
    async with chat_backend() as backend:
        backend.answer = refuses(500)
        async with (
            live_server(ANTIPHON_LLM_ENGINE="openai", ANTIPHON_LLM_BASE_URL=backend.url) as server,
            connected(url_of(server)) as client,
        ):
            await client.update(output_modalities=["text"])
            await client.type("Hello there.")
            await client.say("response.create")
            done = await client.done()
            await client.until("rate_limits.updated")
            assert since(client, "response.created") == [
                "response.created", "response.done", "rate_limits.updated",
            ]  # fmt: skip
            assert (done["status"], done["output"]) == ("failed", [])
            assert done["status_details"]["error"]["code"] == "llm_failed"
            client.oracle.settled()


async def test_a_model_that_breaks_off() -> None:
    async with chat_backend() as backend:
        backend.answer = resets(head(), chunk("Half a "))
        async with (
            live_server(ANTIPHON_LLM_ENGINE="openai", ANTIPHON_LLM_BASE_URL=backend.url) as server,
            connected(url_of(server)) as client,
        ):
            await client.update(output_modalities=["text"])
            await client.type("Hello there.")
            await client.say("response.create")
            done = await client.done()
            await client.until("rate_limits.updated")
            told = since(client, "response.created")
            assert told == [*ANSWER, "response.output_text.delta", *TEXT_END]
            assert done["status"] == "failed"
            assert done["output"][0]["status"] == "incomplete"
            client.oracle.settled()


async def test_a_spoken_response_that_reaches_its_longest() -> None:
    async with live_server() as server, connected(url_of(server)) as client:
        await client.update(max_output_tokens=4)
        await client.append(speech(1.0) + silence(2.0, PCM_HZ))
        done = await client.done()
        await client.until("rate_limits.updated")
        kinds = [kind for kind in since(client, "response.created") if kind not in SPOKEN_DELTAS]
        assert kinds == [*ANSWER, *SPOKEN_END]
        assert done["status"] == "incomplete"
        assert done["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}
        item = done["output"][0]
        assert item["status"] == "incomplete"
        assert item["content"][0]["transcript"] == "This is a scripted"
        client.oracle.settled()


async def test_a_model_elsewhere_that_says_it_reached_the_longest() -> None:
    async with chat_backend() as backend:
        backend.answer = sends(head(), chunk("Half a "), chunk("reply", finish="length"), DONE)
        async with (
            live_server(ANTIPHON_LLM_ENGINE="openai", ANTIPHON_LLM_BASE_URL=backend.url) as server,
            connected(url_of(server)) as client,
        ):
            await client.update(output_modalities=["text"], max_output_tokens=7)
            await client.type("Hello there.")
            await client.say("response.create")
            done = await client.done()
            assert backend.requests[-1]["max_tokens"] == 7
            assert done["output"][0]["content"][0]["text"] == "Half a reply"
            assert done["status"] == "incomplete"
            assert done["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}


async def test_a_model_elsewhere_that_counts() -> None:
    counted = b'data: {"choices": [], "usage": {"prompt_tokens": 91, "completion_tokens": 7}}\n\n'
    async with chat_backend() as backend:
        backend.answer = sends(
            head(), chunk("Half past four."), chunk(finish="stop"), counted, DONE
        )
        async with (
            live_server(ANTIPHON_LLM_ENGINE="openai", ANTIPHON_LLM_BASE_URL=backend.url) as server,
            connected(url_of(server)) as client,
        ):
            await client.update(output_modalities=["text"])
            await client.type("What time is it?")
            await client.say("response.create")
            usage = (await client.done())["usage"]
            told = (usage["input_tokens"], usage["output_tokens"], usage["total_tokens"])
            assert told == (91, 7, 98)
            assert usage["input_token_details"]["text_tokens"] == 91
            assert usage["output_token_details"]["text_tokens"] == 7


async def test_words_that_are_not_understood() -> None:
    async with live_server() as server, connected(url_of(server)) as client:
        deaf(server)
        vad = {"transcription": {"model": "whisper-1"}, "turn_detection": None}
        await client.update(audio={"input": vad})
        await client.append(speech(1.0))
        await client.say("input_audio_buffer.commit")
        failed = await client.until("conversation.item.input_audio_transcription.failed")
        assert client.kinds[2:] == [
            *USER_ITEM,
            "conversation.item.input_audio_transcription.failed",
        ]
        assert failed["item_id"] == client.of("conversation.item.done")[0]["item"]["id"]
        assert failed["error"]["code"] == "stt_failed"
        client.oracle.settled()


async def test_a_commit_is_told_before_its_words() -> None:
    async with live_server() as server, connected(url_of(server)) as client:
        input_ = {"transcription": {"model": "whisper-1"}, "turn_detection": None}
        await client.update(audio={"input": input_})
        await client.append(speech(1.0))
        await client.say("input_audio_buffer.commit")
        await client.until("conversation.item.input_audio_transcription.completed")
        assert client.kinds[2:] == [
            *USER_ITEM,
            "conversation.item.input_audio_transcription.delta",
            "conversation.item.input_audio_transcription.completed",
        ]
        item = client.of("conversation.item.done")[0]["item"]
        assert item["content"] == [{"type": "input_audio", "transcript": None}]
        await client.say("conversation.item.retrieve", item_id=item["id"])
        known = (await client.until("conversation.item.retrieved"))["item"]
        assert known["content"][0]["transcript"]


async def test_what_is_no_json_is_a_mistake_and_no_end() -> None:
    async with live_server() as server, connected(url_of(server)) as client:
        for text in ("{", "", '{"type": "response.create"'):
            await client.socket.send(text)
            error = await client.error()
            assert (error["type"], error["code"]) == ("invalid_request_error", "invalid_json")
        await client.type("Still here.")
        assert client.kinds == [
            "session.created", "error", "conversation.item.added", "conversation.item.done",
        ]  # fmt: skip


async def test_audio_past_its_credit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(realtime_socket, "CREDIT_S", 2.0)
    async with live_server() as server, connected(url_of(server)) as client:
        await client.append(silence(5.0, PCM_HZ))
        error = await client.error()
        assert (error["type"], error["code"]) == ("invalid_request_error", "rate_limit_exceeded")
        await client.type("Still here.")
        assert client.kinds == [
            "session.created", "error", "conversation.item.added", "conversation.item.done",
        ]  # fmt: skip


async def test_a_fault_of_ours() -> None:
    async with live_server() as server, connected(url_of(server)) as client:
        (session,) = server.house.sessions

        def break_down(_: object) -> None:
            raise RuntimeError("a secret of the house")

        session._orders.obey = break_down  # type: ignore[method-assign]
        await client.say("response.create")
        error = await client.error()
        assert (error["type"], error["code"]) == ("server_error", "internal")
        assert "secret" not in error["message"]
        assert await client.closed() == 1011
        assert client.kinds == ["session.created", "error"]


async def test_a_cancel_of_nothing() -> None:
    async with live_server() as server, connected(url_of(server)) as client:
        await client.say("response.cancel", event_id="mine")
        error = await client.error()
        assert client.kinds == ["session.created", "error"]
        assert (error["code"], error["event_id"]) == ("response_cancel_not_active", "mine")
        assert error["message"] == "Cancellation failed: no active response found"


async def test_silence_after_a_reply() -> None:
    async with live_server() as server, connected(url_of(server)) as client:
        vad = {"type": "server_vad", "idle_timeout_ms": 5_000}
        await client.update(audio={"input": {"turn_detection": vad}}, output_modalities=["text"])
        await client.append(speech(1.0) + silence(2.0, PCM_HZ))
        await client.done()
        timeout = await client.until("input_audio_buffer.timeout_triggered")
        await client.done()
        await client.until("rate_limits.updated")
        reply = [*ANSWER, "response.output_text.delta", *TEXT_END]
        assert client.kinds[2:] == [
            *VAD_TURN, *USER_ITEM, *reply,
            "input_audio_buffer.timeout_triggered", *USER_ITEM, *reply,
        ]  # fmt: skip
        assert timeout["audio_end_ms"] >= timeout["audio_start_ms"]
        committed = client.of("input_audio_buffer.committed")
        assert committed[1]["item_id"] == timeout["item_id"]
        client.oracle.settled()


def voiceless(server: LiveServer, error: AntiphonError, after: int = 0) -> None:
    """From now on the synthesizer fails, after so many clauses."""
    (synthesizer,) = server.house.engines.synthesizers
    speak, left = synthesizer.synthesize, after

    async def fail(request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        nonlocal left
        left -= 1
        if left < 0:
            raise error
        async for piece in speak(request, stop):
            yield piece

    synthesizer.synthesize = fail  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TtsFailed("no voice for this"), "tts_failed"),
        (GpuOutOfMemory("the memory is full"), "gpu_oom"),
        (PoolTimeout("no voice in time"), "server_overloaded"),
        (AtCapacity("too many wait for a voice"), "server_overloaded"),
    ],
)
async def test_a_voice_that_never_speaks(error: AntiphonError, code: str) -> None:
    async with live_server() as server, connected(url_of(server)) as client:
        voiceless(server, error)
        await client.type("Hello there.")
        await client.say("response.create")
        done = await client.done()
        await client.until("rate_limits.updated")
        kinds = [kind for kind in since(client, "response.created") if kind not in SPOKEN_DELTAS]
        assert kinds == [*ANSWER, *SPOKEN_END]
        assert not client.of("response.output_audio.delta")
        assert (done["status"], done["output"][0]["status"]) == ("failed", "incomplete")
        assert done["status_details"]["error"]["code"] == code
        client.oracle.settled()


async def test_a_voice_that_breaks_off() -> None:
    async with live_server() as server, connected(url_of(server)) as client:
        voiceless(server, TtsFailed("no voice for this"), after=1)
        await client.type("Hello there.")
        await client.say("response.create")
        done = await client.done()
        await client.until("rate_limits.updated")
        kinds = [kind for kind in since(client, "response.created") if kind not in SPOKEN_DELTAS]
        assert kinds == [*ANSWER, *SPOKEN_END]
        assert (done["status"], done["output"][0]["status"]) == ("failed", "incomplete")
        assert done["status_details"]["error"]["code"] == "tts_failed"
        client.oracle.settled()


@asynccontextmanager
async def nothing_left() -> AsyncIterator[Client]:
    """A client that has had its one response of the minute."""
    async with (
        live_server(ANTIPHON_TURNS_PER_MINUTE="1") as server,
        connected(url_of(server)) as client,
    ):
        await client.update(output_modalities=["text"])
        await client.type("Hello there.")
        await client.say("response.create")
        await client.until("rate_limits.updated")
        yield client


async def test_a_response_too_many_this_minute() -> None:
    async with nothing_left() as client:
        at = len(client.oracle.events)
        await client.say("response.create", event_id="mine")
        error = await client.error()
        assert (error["code"], error["event_id"]) == ("rate_limit_exceeded", "mine")
        assert error["type"] == "rate_limit_error"
        await client.type("Still here.")
        assert [event["type"] for event in client.oracle.events[at:]] == [
            "error", "conversation.item.added", "conversation.item.done",
        ]  # fmt: skip
        client.oracle.settled()


async def test_a_spoken_turn_too_many_this_minute() -> None:
    async with nothing_left() as client:
        await client.append(speech(1.0) + silence(2.0, PCM_HZ))
        done = await client.done()
        await client.until("rate_limits.updated")
        assert since(client, VAD_TURN[0]) == [
            *VAD_TURN, *USER_ITEM, "response.created", "response.done", "rate_limits.updated",
        ]  # fmt: skip
        assert (done["status"], done["output"]) == ("failed", [])
        assert done["status_details"]["error"]["code"] == "rate_limit_exceeded"
        client.oracle.settled()


async def test_a_response_beside_another() -> None:
    async with live_server() as server, connected(url_of(server)) as client:
        await client.type("Hello there.")
        await client.say("response.create")
        await client.say("response.create", event_id="second")
        error = await client.error()
        assert error["code"] == "conversation_already_has_active_response"
        assert error["event_id"] == "second"
        await client.until("rate_limits.updated")
        kinds = since(client, "conversation.item.added")[2:]
        assert kinds.count("error") == 1
        kinds = [kind for kind in kinds if kind not in {"error", *SPOKEN_DELTAS}]
        assert kinds == [*ANSWER, *SPOKEN_END]  # as if nothing had been asked
        client.oracle.settled()


async def test_a_server_that_stops() -> None:
    async with live_server() as server, connected(url_of(server)) as client:
        await client.type("Hello there.")
        await client.say("response.create")
        await client.until("response.output_audio.delta")
        os.kill(os.getpid(), signal.SIGTERM)
        assert await client.closed() == 1012
        kinds = [kind for kind in since(client, "response.created") if kind not in SPOKEN_DELTAS]
        assert kinds == [*ANSWER, *SPOKEN_END, "error"]
        assert client.of("response.done")[0]["response"]["status"] == "completed"
        assert client.of("error")[0]["error"]["code"] == "session_expired"
        client.oracle.settled()


async def test_coming_to_a_server_that_stops() -> None:
    async with live_server() as server, connected(url_of(server)) as busy:
        await busy.type("Hello there.")
        await busy.say("response.create")
        await busy.until("response.output_audio.delta")
        os.kill(os.getpid(), signal.SIGTERM)
        while server.house.stage != "draining":
            await busy.next()
        async with websockets.connect(f"{url_of(server)}/v1/realtime?model=m") as socket:
            late = Client(socket)
            assert (await late.error())["code"] == "session_expired"
            assert await late.closed() == 1012
            assert late.kinds == ["error"]
