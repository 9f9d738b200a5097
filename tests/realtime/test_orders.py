"""Golden orders: which events come, and in which order, written by hand from the reference."""

from __future__ import annotations

import asyncio
import json
from base64 import b64decode

from tests.realtime.client import PCM_HZ, connected, hears
from tests.support import live_server, murmur, silence

WEATHER = {
    "type": "function",
    "name": "weather",
    "description": "How the weather is.",
    "parameters": {"type": "object", "properties": {"text": {"type": "string"}}},
}

ANSWER = [
    "response.created",
    "response.output_item.added",
    "conversation.item.added",
    "response.content_part.added",
]
SPOKEN_END = [
    "response.output_audio.done",
    "response.output_audio_transcript.done",
    "response.content_part.done",
    "conversation.item.done",
    "response.output_item.done",
    "response.done",
    "rate_limits.updated",
]
SPOKEN_DELTAS = {"response.output_audio_transcript.delta", "response.output_audio.delta"}


def speech(seconds: float) -> bytes:
    return murmur(seconds, PCM_HZ)


async def test_an_item_of_100_kilobytes_and_a_response_right_behind_it() -> None:
    async with live_server() as server, connected(server.url.replace("http", "ws")) as client:
        content = [{"type": "input_text", "text": "\u4f60" * 34_000}]
        item = {"type": "message", "role": "user", "content": content}
        create = {"type": "conversation.item.create", "item": item}
        client.oracle.sent("conversation.item.create")
        await asyncio.gather(
            client.socket.send(json.dumps(create, ensure_ascii=False)),
            client.say("response.create"),
        )
        assert (await client.done())["status"] == "completed"


async def test_a_text_turn() -> None:
    async with live_server() as server, connected(server.url.replace("http", "ws")) as client:
        await client.update(output_modalities=["text"])
        await client.type("Hello there.")
        await client.say("response.create")
        done = await client.done()
        await client.until("rate_limits.updated")
        assert client.kinds == [
            "session.created",
            "session.updated",
            "conversation.item.added",
            "conversation.item.done",
            *ANSWER,
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
            "rate_limits.updated",
        ]
        assert done["status"] == "completed"
        assert done["status_details"] is None
        assert done["output"][0]["content"] == [
            {"type": "output_text", "text": "This is a scripted reply. It has two sentences."}
        ]
        assert done["usage"]["output_tokens"] > 0
        client.oracle.settled()


async def test_a_voice_turn() -> None:
    async with live_server() as server, connected(server.url.replace("http", "ws")) as client:
        await client.update(audio={"input": {"transcription": {"model": "whisper-1"}}})
        await client.append(speech(1.0) + silence(2.0, PCM_HZ))
        done = await client.done()
        await client.until("rate_limits.updated")
        kinds = [kind for kind in client.kinds if kind not in SPOKEN_DELTAS]
        assert kinds == [
            "session.created",
            "session.updated",
            "input_audio_buffer.speech_started",
            "input_audio_buffer.speech_stopped",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            "conversation.item.input_audio_transcription.delta",
            "conversation.item.input_audio_transcription.completed",
            *ANSWER,
            *SPOKEN_END,
        ]
        user = client.of("conversation.item.done")[0]["item"]
        assert user["content"] == [{"type": "input_audio", "transcript": None}]
        assert client.of("input_audio_buffer.speech_started")[0]["item_id"] == user["id"]
        audio = b"".join(b64decode(e["delta"]) for e in client.of("response.output_audio.delta"))
        assert len(audio) > PCM_HZ
        assert done["output"][0]["content"][0]["transcript"].startswith("This is a scripted")
        client.oracle.settled()


async def test_a_tool_call() -> None:
    async with live_server() as server, connected(server.url.replace("http", "ws")) as client:
        await client.update(tools=[WEATHER], output_modalities=["text"])
        await client.type("How is the weather?")
        await client.say("response.create")
        done = await client.done()
        await client.until("rate_limits.updated")
        assert client.kinds[4:] == [
            "response.created",
            "response.output_item.added",
            "conversation.item.added",
            "response.function_call_arguments.delta",
            "response.function_call_arguments.done",
            "conversation.item.done",
            "response.output_item.done",
            "response.done",
            "rate_limits.updated",
        ]
        call = done["output"][0]
        assert (call["type"], call["name"], call["status"]) == (
            "function_call", "weather", "completed",
        )  # fmt: skip
        output = {"type": "function_call_output", "call_id": call["call_id"], "output": "sunny"}
        await client.say("conversation.item.create", item=output)
        await client.until("conversation.item.done")
        await client.say("response.create")
        said = await client.done()
        assert said["output"][0]["content"][0]["text"] == "The tool says sunny."
        client.oracle.settled()


async def test_a_manual_turn() -> None:
    async with live_server() as server, connected(server.url.replace("http", "ws")) as client:
        await client.update(audio={"input": {"turn_detection": None}})
        await client.append(speech(1.0))
        await client.say("input_audio_buffer.commit")
        await client.say("response.create")
        await client.done()
        await client.until("rate_limits.updated")
        kinds = [kind for kind in client.kinds if kind not in SPOKEN_DELTAS]
        assert kinds == [
            "session.created",
            "session.updated",
            "input_audio_buffer.committed",
            "conversation.item.added",
            "conversation.item.done",
            *ANSWER,
            *SPOKEN_END,
        ]
        client.oracle.settled()


async def test_a_barge_in_and_the_truncation_that_follows() -> None:
    async with live_server() as server, connected(server.url.replace("http", "ws")) as client:
        hears(server, "Stop it, please.")  # none of the reply's own words
        await client.type("Hello there.")
        await client.say("response.create")
        await client.until("response.output_audio.delta")
        at = len(client.oracle.events)
        await client.append(speech(1.0))
        done = await client.done()
        assert (done["status"], done["status_details"]) == (
            "cancelled", {"type": "cancelled", "reason": "turn_detected"},
        )  # fmt: skip
        item = done["output"][0]
        assert item["status"] == "incomplete"
        kinds = [event["type"] for event in client.oracle.events[at:]]
        kinds = [kind for kind in kinds if kind not in SPOKEN_DELTAS]
        assert kinds[: len(SPOKEN_END)] == [
            "input_audio_buffer.speech_started", *SPOKEN_END[:-1],
        ]  # fmt: skip
        await client.say(
            "conversation.item.truncate", item_id=item["id"], content_index=0, audio_end_ms=0
        )
        assert (await client.until("conversation.item.truncated"))["item_id"] == item["id"]
        await client.say("conversation.item.retrieve", item_id=item["id"])
        kept = (await client.until("conversation.item.retrieved"))["item"]
        assert kept["content"] == [{"type": "output_audio", "transcript": ""}]
        while len(client.of("response.done")) < 2:  # the answer to the words that cut in
            await client.done()
        client.oracle.settled()


async def test_a_response_out_of_band() -> None:
    async with live_server() as server, connected(server.url.replace("http", "ws")) as client:
        await client.say(
            "response.create",
            response={
                "conversation": "none",
                "metadata": {"topic": "mood"},
                "output_modalities": ["text"],
                "instructions": "Classify.",
                "input": [],
            },
        )
        done = await client.done()
        await client.until("rate_limits.updated")
        assert client.kinds[1:] == [
            "response.created",
            "response.output_item.added",
            "response.content_part.added",
            "response.output_text.delta",
            "response.output_text.done",
            "response.content_part.done",
            "response.output_item.done",
            "response.done",
            "rate_limits.updated",
        ]
        assert client.of("response.created")[0]["response"]["metadata"] == {"topic": "mood"}
        assert done["conversation_id"] is None
        await client.say("conversation.item.retrieve", item_id=done["output"][0]["id"])
        assert (await client.error())["code"] == "item_retrieve_invalid_item_id"
        client.oracle.settled()


async def test_cancelling_a_response() -> None:
    async with live_server() as server, connected(server.url.replace("http", "ws")) as client:
        await client.type("Hello there.")
        await client.say("response.create")
        response = (await client.until("response.output_audio.delta"))["response_id"]
        for other in ("resp_other", "1", response[:-1] + "0", response[:-1] + "01"):
            await client.say("response.cancel", response_id=other)
            assert (await client.error())["code"] == "response_cancel_not_active"
        await client.type("It goes on.")
        assert client.oracle.active == response
        await client.say("response.cancel")
        done = await client.done()
        assert done["status_details"] == {"type": "cancelled", "reason": "client_cancelled"}
        client.oracle.settled()
