"""Each client event by itself: what it does, and which error answers it when it cannot."""

from __future__ import annotations

import contextlib
import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import websockets

from pipeline import listening
from server import realtime_socket
from server.wire import g711
from server.wire.realtime_audio import AudioIn, FormatName
from session import limits
from tests.realtime.client import PCM_HZ, Client, connected
from tests.support import live_server, murmur, silence


@pytest_asyncio.fixture
async def client() -> AsyncIterator[Client]:
    async with live_server() as server, connected(server.url.replace("http", "ws")) as one:
        yield one


ITEM = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi."}]}


@pytest.mark.parametrize(
    ("event", "code", "param"),
    [
        ({"type": "nonsense"}, "invalid_value", "type"),
        ({"type": "session.update"}, "invalid_value", None),
        ({"type": "session.update", "session": {"type": "transcription"}}, "invalid_value",
         "session.type"),
        ({"type": "session.update", "session": {"output_modalities": ["text", "audio"]}},
         "invalid_value", "session.output_modalities"),
        ({"type": "session.update", "session": {"audio": {"output": {"speed": 9}}}},
         "invalid_value", "session.audio.output.speed"),
        ({"type": "session.update", "session": {"tools": [{"type": "mcp"}]}}, "invalid_value",
         "session.tools[0].type"),
        ({"type": "session.update", "session": {"audio": {"input": {"transcription":
         {"language": "xx"}}}}}, "invalid_value", "session.audio.input.transcription.language"),
        ({"type": "input_audio_buffer.append", "audio": "not base64!"}, "invalid_value", "audio"),
        ({"type": "input_audio_buffer.append", "audio": "AAAA"}, "invalid_value", None),
        ({"type": "input_audio_buffer.commit"}, "input_audio_buffer_commit_empty", None),
        ({"type": "output_audio_buffer.clear"}, "invalid_event_type", "type"),
        ({"type": "conversation.item.retrieve", "item_id": "no"}, "item_retrieve_invalid_item_id",
         None),
        ({"type": "conversation.item.delete", "item_id": "no"}, "item_delete_invalid_item_id",
         None),
        ({"type": "conversation.item.truncate", "item_id": "no", "content_index": 0,
          "audio_end_ms": 0}, "item_truncate_invalid_item_id", None),
        ({"type": "conversation.item.truncate", "item_id": "no", "content_index": 0,
          "audio_end_ms": -1}, "invalid_value", "audio_end_ms"),
        ({"type": "conversation.item.create", "item": ITEM, "previous_item_id": "no"},
         "item_create_invalid_item_id", None),
        ({"type": "conversation.item.create", "item": {"type": "function_call_output",
          "call_id": "no", "output": ""}}, "item_create_invalid_item_id", None),
        ({"type": "conversation.item.create", "item": {"type": "message", "role": "user",
          "content": [{"type": "input_audio", "audio": "AAAA"}]}}, "unsupported_content",
         "item.content[0]"),
        ({"type": "conversation.item.create", "item": {"type": "message", "role": "user",
          "content": [{"type": "input_image"}]}}, "invalid_value", "item.content[0].type"),
        ({"type": "response.cancel"}, "response_cancel_not_active", None),
        ({"type": "response.create", "response": {"metadata": {"x": 1}}}, "invalid_value",
         "response.metadata[...]"),
        ({"type": "response.create", "response": {"input": [{"type": "item_reference",
          "id": "no"}]}}, "invalid_item_id", None),
    ],
)  # fmt: skip
async def test_a_mistake_is_answered_by_one_error_and_no_close(
    client: Client, event: dict[str, Any], code: str, param: str | None
) -> None:
    await client.say(kind=event["type"], **{k: v for k, v in event.items() if k != "type"},
                     event_id="mine")  # fmt: skip
    error = await client.error()
    assert (error["code"], error["param"], error["event_id"]) == (code, param, "mine")
    await client.type("still here")
    assert client.kinds == [
        "session.created", "error", "conversation.item.added", "conversation.item.done",
    ]  # fmt: skip


@pytest.mark.parametrize("frame", ["", "[]", "{", "NaN", "[" * 100_000, b"\x00\x01"])
async def test_what_is_no_event_is_answered_by_an_error(client: Client, frame: str | bytes) -> None:
    await client.socket.send(frame)
    assert (await client.error())["type"] == "invalid_request_error"
    await client.type("still here")


async def test_ten_mistakes_do_not_close(client: Client) -> None:
    for _ in range(10):
        await client.socket.send("{}")
        await client.error()
    await client.type("still here")


async def test_a_second_response_waits_for_nobody(client: Client) -> None:
    await client.type("Hello.")
    await client.say("response.create")
    await client.say("response.create", event_id="second")
    error = await client.error()
    assert error["code"] == "conversation_already_has_active_response"
    assert error["event_id"] == "second"
    assert (await client.done())["status"] == "completed"


async def test_a_session_is_merged_shown_whole_and_null_clears(client: Client) -> None:
    first = await client.update(
        instructions="Be kind.",
        audio={"input": {"turn_detection": {"type": "server_vad", "threshold": 0.8}}},
    )
    assert first["audio"]["input"]["turn_detection"]["threshold"] == 0.8
    assert first["audio"]["input"]["turn_detection"]["interrupt_response"] is True
    second = await client.update(
        audio={
            "input": {
                "turn_detection": {"type": "semantic_vad", "eagerness": "high"},
                "transcription": {"model": "gpt-4o-transcribe", "language": "en"},
            },
            "output": {"voice": "marin", "speed": 1.25},
        }
    )
    assert second["instructions"] == "Be kind."
    assert "threshold" not in second["audio"]["input"]["turn_detection"]
    assert second["audio"]["output"] == {
        "format": {"type": "audio/pcm", "rate": 24_000}, "voice": "marin", "speed": 1.25,
    }  # fmt: skip
    third = await client.update(audio={"input": {"turn_detection": None, "transcription": None}})
    assert third["audio"]["input"]["turn_detection"] is None
    assert third["audio"]["input"]["transcription"] is None
    assert third["audio"]["output"]["voice"] == "marin"


async def test_items_are_put_where_they_belong_and_taken_out(client: Client) -> None:
    for item_id, after in (("b", None), ("a", "root"), ("c", "b")):
        extra = {} if after is None else {"previous_item_id": after}
        await client.say("conversation.item.create", item={**ITEM, "id": item_id}, **extra)
    befores = [(await client.until("conversation.item.done"))["previous_item_id"] for _ in "bac"]
    assert befores == [None, None, "b"]
    await client.say("conversation.item.create", item={**ITEM, "id": "b"})
    assert (await client.error())["code"] == "item_create_duplicate_item_id"
    await client.say("conversation.item.delete", item_id="b")
    assert (await client.until("conversation.item.deleted"))["item_id"] == "b"
    await client.say("conversation.item.retrieve", item_id="c")
    kept = (await client.until("conversation.item.retrieved"))["item"]
    assert kept["content"] == [{"type": "input_text", "text": "Hi."}]


async def test_a_response_has_its_own_instructions_tools_and_metadata(client: Client) -> None:
    tool = {"type": "function", "name": "clock"}
    await client.type("What time is it?")
    await client.say(
        "response.create",
        response={
            "tools": [tool], "tool_choice": {"type": "function", "name": "clock"},
            "metadata": {"a": "b"}, "max_output_tokens": 50, "output_modalities": ["text"],
        },
    )  # fmt: skip
    done = await client.done()
    assert done["output"][0]["name"] == "clock"
    assert (done["metadata"], done["max_output_tokens"]) == ({"a": "b"}, 50)
    await client.say("response.create", response={"output_modalities": ["text"]})
    assert (await client.done())["output"][0]["type"] == "message"


async def test_a_response_that_runs_out_of_tokens_is_incomplete(client: Client) -> None:
    await client.say(
        "response.create",
        response={"max_output_tokens": 2, "output_modalities": ["text"], "input": [ITEM]},
    )
    done = await client.done()
    assert done["output"][0]["content"][0]["text"] == "This is"
    assert (done["status"], done["output"][0]["status"]) == ("incomplete", "incomplete")
    assert done["status_details"] == {"type": "incomplete", "reason": "max_output_tokens"}


async def test_a_response_may_be_longer_than_those_of_its_session(client: Client) -> None:
    await client.update(max_output_tokens=2, output_modalities=["text"])
    await client.say("response.create", response={"input": [ITEM]})
    done = await client.done()
    assert done["max_output_tokens"] == 2
    assert done["output"][0]["content"][0]["text"] == "This is"
    await client.say("response.create", response={"input": [ITEM], "max_output_tokens": "inf"})
    done = await client.done()
    assert done["max_output_tokens"] == "inf"
    assert done["output"][0]["content"][0]["text"].startswith("This is a scripted reply.")


async def test_audio_that_is_cleared_is_no_turn(client: Client) -> None:
    await client.update(audio={"input": {"turn_detection": None}})
    await client.append(murmur(1.0, PCM_HZ))
    await client.say("input_audio_buffer.clear")
    await client.until("input_audio_buffer.cleared")
    await client.say("input_audio_buffer.commit")
    assert (await client.error())["code"] == "input_audio_buffer_commit_empty"
    await client.append(silence(0.5, PCM_HZ))
    await client.say("input_audio_buffer.commit")
    await client.until("input_audio_buffer.committed")
    done = await client.until("conversation.item.done")
    await client.say("conversation.item.retrieve", item_id=done["item"]["id"])
    item = (await client.until("conversation.item.retrieved"))["item"]
    assert item["content"] == [{"type": "input_audio", "transcript": ""}]


async def test_a_turn_that_is_not_to_be_answered_is_committed_and_no_more(client: Client) -> None:
    vad = {"type": "server_vad", "create_response": False}
    await client.update(audio={"input": {"turn_detection": vad}})
    await client.append(murmur(1.0, PCM_HZ) + silence(2.0, PCM_HZ))
    await client.until("input_audio_buffer.committed")
    await client.until("conversation.item.done")
    await client.say("response.create", response={"output_modalities": ["text"]})
    assert (await client.done())["status"] == "completed"
    assert len(client.of("response.created")) == 1


async def test_words_over_a_response_that_nothing_interrupts(client: Client) -> None:
    vad = {"type": "server_vad", "interrupt_response": False}
    await client.update(audio={"input": {"turn_detection": vad}})
    await client.type("Hello.")
    await client.say("response.create")
    await client.until("response.output_audio.delta")
    await client.append(murmur(1.0, PCM_HZ) + silence(1.0, PCM_HZ))
    await client.until("input_audio_buffer.speech_started")
    assert (await client.done())["status"] == "completed"


@pytest.mark.parametrize(("kind", "law"), [("audio/pcmu", "mu"), ("audio/pcma", "a")])
async def test_a_telephone_speaks_and_hears(client: Client, kind: str, law: g711.Law) -> None:
    formats = {"format": {"type": kind}}
    await client.update(audio={"input": formats, "output": formats})
    spoken = np.frombuffer(murmur(1.0, 8_000) + silence(2.0, 8_000), "<i2")
    audio = g711.encode(spoken, law)
    await client.append(audio, 1_600)
    done = await client.done()
    assert done["audio"]["output"]["format"] == {"type": kind}
    reply = b"".join(b64decode(e["delta"]) for e in client.of("response.output_audio.delta"))
    heard = g711.decode(reply, law).astype(float)
    assert abs(heard).max() > 5_000
    seconds = len("This is a scripted reply. It has two sentences.") * 0.06
    assert len(reply) / 8_000 == pytest.approx(seconds, rel=0.25)


async def test_fifteen_mebibytes_may_be_appended_at_once(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listening, "ROOM_S", 1e6)  # it need not all be heard
    await client.update(audio={"input": {"turn_detection": None}})
    audio = b64encode(bytes(15 * 1024 * 1024 * 3 // 4)).decode()
    await client.socket.send(json.dumps({"type": "input_audio_buffer.append", "audio": audio}))
    await client.type("still here")
    assert not client.of("error")


async def test_telephone_audio_past_its_credit_is_never_decoded(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    decoded: list[int] = []
    decode = AudioIn.decode

    def counted(ear: AudioIn, data: bytes, name: FormatName) -> bytes:
        decoded.append(len(data))
        return decode(ear, data, name)

    monkeypatch.setattr(AudioIn, "decode", counted)
    monkeypatch.setattr(realtime_socket, "CREDIT_S", 5.0)
    await client.update(audio={"input": {"format": {"type": "audio/pcmu"}}})
    audio = b64encode(bytes(15 * 1024 * 1024 * 3 // 4)).decode()
    await client.say("input_audio_buffer.append", audio=audio)
    assert await client.closed() == 1008
    assert set(decoded) == {8_000}  # a second at a time
    assert len(decoded) <= 15  # the credit, and what time has given back


async def test_events_do_not_pass_for_audio_by_their_ids(client: Client) -> None:
    for _ in range(round(limits.MESSAGES_PER_S * limits.MESSAGES_WINDOW_S) + 1):
        with contextlib.suppress(websockets.ConnectionClosed):
            await client.say("input_audio_buffer.clear", event_id="input_audio_buffer.append")
    assert await client.closed() == 1008


async def test_silence_after_a_reply_is_answered_where_that_is_asked_for(client: Client) -> None:
    vad = {"type": "server_vad", "idle_timeout_ms": 5_000}
    await client.update(audio={"input": {"turn_detection": vad}}, output_modalities=["text"])
    await client.say("response.create", response={"input": [ITEM]})
    await client.done()
    await client.until("input_audio_buffer.timeout_triggered")
    await client.until("response.done")
    kinds = client.kinds[client.kinds.index("input_audio_buffer.timeout_triggered") :]
    assert kinds[:5] == [
        "input_audio_buffer.timeout_triggered",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
        "response.created",
    ]
