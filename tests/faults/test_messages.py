"""What is not of the protocol, and what its sender is told; the others notice nothing."""

from __future__ import annotations

import asyncio
import contextlib
import json
import zlib
from collections.abc import AsyncIterator

import numpy as np
import pytest
import websockets

from pipeline.engines.ports import Prompt, Stop, TextDelta
from pipeline.errors import PromptRefused
from server.intake import REFUSED_EVERY_S
from server.peer import MESSAGE_BYTES
from session import limits
from tests.faults.mischief import BOOM, Mischief
from tests.faults.raw import BINARY, CONTINUATION, PING, TEXT, frame, raw
from tests.faults.trial import VICTIM, Trial, trial
from tests.support import Caller, murmur, silence

DEEP = 100_000

NOT_OF_THE_FORM = {
    "not JSON": "hello",
    "nothing": "",
    "a list": "[]",
    "a number": "1",
    "null": "null",
    "no type": "{}",
    "an unknown type": '{"type":"shout"}',
    "a type that is no string": '{"type":7}',
    "deep JSON": '{"type":"text","text":' + "[" * DEEP + "]" * DEEP + "}",
    "deep objects": '{"a":' * 20_000 + "1" + "}" * 20_000,
    "NaN": '{"type":"playback","reply":1,"played_ms":NaN}',
    "infinity": '{"type":"playback","reply":1,"played_ms":Infinity}',
    "a number beyond all numbers": '{"type":"playback","reply":1,"played_ms":1e999}',
    "a number of 5,000 digits": '{"type":"playback","reply":' + "9" * 5_000 + ',"played_ms":1}',
    "a lone surrogate": '{"type":"text","text":"\\ud800"}',
    "a negative playback": '{"type":"playback","reply":1,"played_ms":-1}',
    "a prompt of 100,001 characters": json.dumps({"type": "text", "text": "x" * 100_001}),
    "an empty turn": '{"type":"text","text":""}',
    "a rate that no microphone has": '{"type":"hello","audio":{"rate":7}}',
    "speed out of range": '{"type":"configure","speed":1e300}',
    "base64 for binary": '{"type":"audio","audio":"AAAA"}',
    "huge JSON": '{"type":"text","id":"' + "y" * 250_000 + '"}',
}


async def goes_on(victim: Caller) -> None:
    """The session is as good as before."""
    await victim.say("text", text="are you there?")
    assert (await victim.play())["status"] == "completed"


# All at once, each in a session of its own: a mistake must not be another's.
async def test_messages_that_are_not_of_the_form() -> None:
    async def mistaken(house: Trial, name: str, message: str) -> None:
        async with house.call() as victim:
            await victim.socket.send(message)
            error = await victim.until("error")
            assert error["code"] == "BAD_MESSAGE", (name, error)
            await goes_on(victim)

    async with trial() as house, asyncio.TaskGroup() as all_of_them:
        for name, message in NOT_OF_THE_FORM.items():
            all_of_them.create_task(mistaken(house, name, message), name=name)


async def test_the_third_mistake_within_ten_seconds_closes() -> None:
    async with trial() as house, house.call() as victim:
        for _ in range(3):
            await victim.socket.send("{")
        assert await victim.closed() == 1008


async def test_anything_but_a_hello_first_is_a_mistake() -> None:
    async with trial() as house, house.connect() as victim:
        await victim.say("text", text="are you there?")
        assert (await victim.until("error"))["code"] == "BAD_MESSAGE"
        await victim.say("hello", voice="tone-low")
        await victim.until("welcome")
        await goes_on(victim)


async def test_a_second_hello_is_a_mistake() -> None:
    async with trial() as house, house.call() as victim:
        await victim.say("hello")
        assert (await victim.until("error"))["code"] == "BAD_MESSAGE"
        await goes_on(victim)


async def test_a_voice_that_nobody_has() -> None:
    async with trial() as house, house.call() as victim:
        await victim.say("configure", voice="nobody")
        assert (await victim.until("error"))["code"] == "NOT_FOUND"
        await goes_on(victim)


# --- sizes ----------------------------------------------------------------------------------------


async def test_frames_of_every_wrong_size() -> None:
    async with trial() as house, house.call() as victim:
        for length in (0, 1, 3, 639, 65_535):
            await victim.socket.send(bytes(length))
            if length % 2:
                assert (await victim.until("error"))["code"] == "BAD_AUDIO"
                await asyncio.sleep(REFUSED_EVERY_S)  # a flood of them is told once in a while
        await victim.socket.send(bytes(limits.FRAME_BYTES))
        await goes_on(victim)
        assert len(victim.of("error")) == 4


@pytest.mark.parametrize("message", ['{"type":"text","text":"hi!"}', '{"type":"text","text":"hi"}'])
async def test_json_in_a_binary_frame_is_audio_of_whoever_sent_it(message: str) -> None:
    async with trial() as house, house.call() as victim:
        await victim.socket.send(message.encode())
        await goes_on(victim)
        assert not victim.of("transcript")[:-1]
        odd = bool(len(message) % 2)
        assert [error["code"] for error in victim.of("error")] == ["BAD_AUDIO"] * odd


async def test_a_frame_over_64_kib_closes() -> None:
    async with trial() as house, house.call() as victim:
        await victim.socket.send(bytes(limits.FRAME_BYTES + 2))
        assert await victim.closed() == 1009


async def test_a_message_over_256_kib_closes() -> None:
    async with trial() as house, raw(house.port) as victim:
        await victim.hello()
        await victim.send(frame(TEXT, bytes(MESSAGE_BYTES + 1)))
        assert await victim.close_code() in (1009, None)


async def test_a_message_in_a_million_pieces_closes() -> None:
    async with trial() as house, raw(house.port) as victim:
        await victim.hello()
        await victim.send(frame(TEXT, b"{", fin=False))
        for _ in range(100):
            await victim.send(frame(CONTINUATION, b"", fin=False) * 1_000)
        assert await victim.close_code() in (1009, None)


async def test_a_message_whose_end_never_comes_ends_with_its_sender() -> None:
    async with trial() as house, raw(house.port) as victim:
        await victim.hello()
        await victim.send(frame(TEXT, b'{"type":', fin=False))
        await victim.reader.readuntil(b"welcome")
        victim.reset()


LONG = "word " * 19_980
"""99.9 kB: with the rest of its message, just below the 100,000 that one may have."""


async def test_a_prompt_as_long_as_a_message_may_be_is_answered() -> None:
    async with trial() as house, house.call() as victim:
        await victim.say("text", text=LONG)
        assert (await victim.play())["status"] == "completed"


async def test_instructions_as_long_as_a_message_may_be_are_given_to_the_model(
    mischief: Mischief,
) -> None:
    given: list[str] = []

    async def write(prompt: Prompt, stop: Stop) -> AsyncIterator[TextDelta]:
        given.append(prompt.messages[0].content)
        yield TextDelta("All of it.")

    mischief.writing(write)
    async with trial() as house, house.call() as victim:
        # What comes right behind them finds them in the outbox still.
        await asyncio.gather(
            victim.say("configure", instructions=LONG), victim.say("text", text=BOOM)
        )
        await victim.until("configured")
        assert (await victim.play())["text"] == "All of it."
        assert given == [LONG]


async def test_instructions_that_no_model_takes_fail_that_reply_with_a_reason(
    mischief: Mischief,
) -> None:
    async def write(prompt: Prompt, stop: Stop) -> AsyncIterator[TextDelta]:
        if len(prompt.messages[0].content) > 8_000:
            raise PromptRefused("The language model refused (HTTP 400): the prompt is too long.")
        yield TextDelta("Well.")

    mischief.writing(write)
    async with trial() as house, house.call(instructions=LONG) as victim:
        for _ in range(3):  # so often that it would be taken to be broken
            await victim.say("text", text=BOOM)
            assert (await victim.play())["status"] == "failed"
        errors = victim.of("error")
        assert {error["code"] for error in errors} == {"LLM_FAILED"}
        assert "too long" in errors[0]["message"]
        await victim.say("configure", instructions="Be brief.")
        await victim.say("text", text=BOOM)
        assert (await victim.play())["text"] == "Well."
        assert house.house.why_not_ready() is None


@pytest.mark.parametrize("kind", ["hello", "configure"])
async def test_instructions_over_the_bound_are_refused_by_name(kind: str) -> None:
    async with trial() as house, house.connect() as victim:
        if kind == "configure":
            await victim.say("hello", voice=VICTIM)
            await victim.until("welcome")
        await victim.say(kind, instructions="x" * 100_001)
        error = await victim.until("error")
        assert (error["code"], "100000" in error["message"]) == ("BAD_MESSAGE", True)
        if kind == "hello":
            await victim.say("hello", voice=VICTIM)
            await victim.until("welcome")
        await goes_on(victim)


# --- frames that are none -------------------------------------------------------------------------


NO_FRAMES = {
    "not UTF-8": (frame(TEXT, b"\xff\xfe{"), 1007),
    "compressed, which nobody agreed on": (frame(TEXT, bytes(50), rsv=0b100), 1002),
    "a reserved opcode": (frame(0x3, b"?"), 1002),
    "the end of a message without its beginning": (frame(CONTINUATION, b"?"), 1002),
    "a ping that is too long": (frame(PING, bytes(126)), 1002),
    "half a ping": (frame(PING, b"", fin=False), 1002),
    "without a mask": (b"\x81\x02{}", 1002),
}


async def test_a_frame_that_is_none_closes() -> None:
    async with trial() as house:
        for name, (bad, code) in NO_FRAMES.items():
            async with raw(house.port) as victim:
                await victim.hello()
                await victim.send(bad)
                assert await victim.close_code() == code, name


async def test_a_compression_bomb_is_not_unpacked() -> None:
    squeeze = zlib.compressobj(9, zlib.DEFLATED, -15)
    bomb = squeeze.compress(b'"' + bytes(200_000_000)) + squeeze.flush(zlib.Z_SYNC_FLUSH)
    async with trial() as house, raw(house.port) as victim:
        answer = await victim.upgrade("Sec-WebSocket-Extensions: permessage-deflate")
        assert b"permessage-deflate" not in answer.lower()
        await victim.send(frame(TEXT, bomb[:-4], rsv=0b100))
        assert await victim.close_code() == 1002


# --- floods ---------------------------------------------------------------------------------------


async def test_a_flood_of_audio_is_dropped_and_then_closes() -> None:
    async with trial() as house, house.call() as victim:
        with contextlib.suppress(websockets.ConnectionClosed):
            await victim.speak(silence(30.0), frame_bytes=6_400)
        assert await victim.closed() == 1008
        assert victim.of("warning")[0]["code"] == "TOO_MUCH_AUDIO"


async def test_a_flood_of_messages_closes() -> None:
    async with trial() as house, house.call() as victim:
        with contextlib.suppress(websockets.ConnectionClosed):
            for number in range(1_000):
                await victim.say("playback", reply=1, played_ms=number)
        assert await victim.closed() == 1008
        assert "messages a second" in (victim.socket.close_reason or "")


async def test_a_flood_of_tiny_frames_closes() -> None:
    async with trial() as house, raw(house.port) as victim:
        await victim.hello()
        # Read all the while: what is still unread when the server hangs up is lost with the reset.
        code = asyncio.ensure_future(victim.close_code())
        for _ in range(11):
            await victim.send(frame(BINARY, b"\0\0") * 1_000)
        assert await code == 1008


async def test_a_flood_of_settings_and_clears() -> None:
    async with trial() as house, house.call() as victim:
        for _ in range(60):
            await victim.say("configure", pace="quick")
            await victim.say("clear")
            await victim.say("mute")
        await goes_on(victim)


# --- audio that is no speech ----------------------------------------------------------------------


async def test_audio_at_the_end_of_its_scale() -> None:
    sounds = {
        "noise": np.random.default_rng(0).integers(-32_768, 32_767, 16_000, np.int16),
        "square": np.where(np.arange(16_000) // 40 % 2, 32_767, -32_768).astype(np.int16),
        "extremes": np.full(16_000, -32_768, np.int16),
    }

    async def make(house: Trial, sound: bytes) -> None:
        async with house.call(pace="quick") as victim:
            await victim.speak(sound + silence(1.0))
            await victim.until("transcript", final=True)
            await goes_on(victim)

    async with trial() as house, asyncio.TaskGroup() as all_of_them:
        for name, sound in sounds.items():
            all_of_them.create_task(make(house, sound.tobytes()), name=name)


async def test_speech_without_end_is_bounded() -> None:
    async with trial() as house, house.call(turn_detection="manual") as victim:
        await victim.speak(murmur(50.0), frame_bytes=64_000)
        await victim.say("commit")
        await victim.until("transcript", final=True)
        assert (await victim.play())["status"] == "completed"


async def test_a_rate_of_48_khz_in_single_samples() -> None:
    async with trial() as house, house.call(audio={"rate": 48_000}) as victim:
        for _ in range(2_000):
            await victim.socket.send(b"\x01\x00")
        await goes_on(victim)
