"""Sound over a connection: raw and tagged frames, PCM and Opus. What is sent as Opus is heard, what
is spoken comes as Opus, and what is damaged is told and ends nothing."""

from __future__ import annotations

import asyncio
import struct
from itertools import pairwise
from typing import Any

import numpy as np
import pytest

from pipeline import decoding
from pipeline.engines.ports import Float32, SpeechWindow, Stop, Transcript
from pipeline.engines.scripted import ScriptedTranscriber
from pipeline.errors import BadAudio
from pipeline.voicing import REPLY_HZ
from server import encoding
from server.wire.tagged import OPUS_HZ, packet_s, tag, untag
from tests.support import Caller, call, live_server, murmur, silence

OPUS = {"rate": 24_000, "codec": "opus", "framing": "tagged"}
TAGGED = {"rate": 16_000, "codec": "pcm16", "framing": "tagged"}
FRAME = 320


def hum(seconds: float, hz: int = 24_000) -> bytes:
    """A steady tone."""
    t = np.arange(round(seconds * hz)) / hz
    return (9_000 * np.sin(2 * np.pi * 220 * t)).astype("<i2").tobytes()


def packets(pcm: bytes) -> list[bytes]:
    """Opus of PCM at 24 kHz."""
    opus = encoding.OpusPackets()
    return [*opus.feed(pcm), *opus.finish()]


def decoded(frames: list[bytes]) -> Float32:
    opus = decoding.OpusPackets()
    return np.frombuffer(b"".join(opus.decode(frame) for frame in frames), "<i2") / 32_768


def pitch(sound: Float32, hz: int) -> float:
    return float(np.argmax(np.abs(np.fft.rfft(sound))) * hz / len(sound))


async def send(caller: Caller, frames: list[bytes], rate_hz: int = 24_000) -> None:
    for number, frame in enumerate(frames):
        await caller.socket.send(tag(0, number * rate_hz // 50, frame))


def cut(pcm: bytes, size: int = 2 * FRAME) -> list[bytes]:
    return [pcm[at : at + size] for at in range(0, len(pcm), size)]


@pytest.fixture
def windows(monkeypatch: pytest.MonkeyPatch) -> list[Float32]:
    """What the recogniser was given, at 16 kHz."""
    given: list[Float32] = []

    async def transcribe(_: object, window: SpeechWindow, stop: Stop) -> Transcript:
        given.append(window.audio)
        return Transcript("words", "en")

    monkeypatch.setattr(ScriptedTranscriber, "transcribe", transcribe)
    return given


# --- packets --------------------------------------------------------------------------------------


def test_a_tone_comes_out_of_the_packets_as_it_went_in() -> None:
    sound = decoded(packets(hum(1.0)))
    assert 1.0 <= len(sound) / OPUS_HZ < 1.04  # no sample is lost; the last packet is filled up
    assert pitch(sound, OPUS_HZ) == pytest.approx(220, abs=2)
    assert np.abs(sound[OPUS_HZ // 2 : -OPUS_HZ // 10]).max() == pytest.approx(9_000 / 32_768, 0.15)


@pytest.mark.parametrize("size", [2, 1_000, 4_800, 48_000])
def test_however_it_is_fed_the_packets_are_the_same(size: int) -> None:
    opus = encoding.OpusPackets()
    fed = [packet for piece in cut(hum(0.5), size) for packet in opus.feed(piece)]
    assert [*fed, *opus.finish()] == packets(hum(0.5))


def test_a_packet_says_how_long_it_is() -> None:
    assert {packet_s(packet) for packet in packets(hum(0.2))} == {0.02}


@pytest.mark.parametrize(
    ("packet", "seconds"),
    [
        ("00", 0.01),
        ("18", 0.06),  # SILK, 60 ms
        ("60", 0.01),  # hybrid
        ("80", 0.0025),  # CELT
        ("f8", 0.02),
        ("f9", 0.04),  # two frames
        ("ff06", 0.12),  # six
    ],
)
def test_its_first_bytes_say_so(packet: str, seconds: float) -> None:
    assert packet_s(bytes.fromhex(packet)) == pytest.approx(seconds)


@pytest.mark.parametrize("packet", ["", "ff", "ff00", "ff07", "ff3f", "1b03"])
def test_none_is_longer_than_it_may_be_or_has_nothing_in_it(packet: str) -> None:
    with pytest.raises(BadAudio):
        packet_s(bytes.fromhex(packet))


@pytest.mark.parametrize("packet", [b"", b"\xff\xff\xff", b"\x03\x00", bytes(range(3, 60))])
def test_after_a_damaged_packet_the_next_one_is_heard(packet: bytes) -> None:
    opus, good = decoding.OpusPackets(), packets(hum(0.2))
    opus.decode(good[0])
    with pytest.raises(BadAudio, match="damaged"):
        opus.decode(packet)
    assert len(opus.decode(good[1])) == 2 * OPUS_HZ // 50


@pytest.mark.parametrize("frame", [b"", bytes(7), tag(1, 0, b"ab")])
def test_a_frame_without_a_whole_tag_or_of_a_reply_is_none_of_the_microphones(frame: bytes) -> None:
    with pytest.raises(BadAudio):
        untag(frame)


# --- over a connection ----------------------------------------------------------------------------


async def test_speech_as_opus_is_heard_and_the_reply_comes_as_opus(windows: list[Float32]) -> None:
    async with live_server() as server, call(server.ws_url, {"audio": OPUS}) as caller:
        assert caller.of("welcome")[0]["audio"] == OPUS
        await send(caller, packets(hum(1.0) + silence(1.5, 24_000)))
        await caller.until("transcript", final=True)
        frames: list[bytes] = []
        while not caller.of("reply_audio_end"):
            if isinstance(frame := await caller.next(), bytes):
                frames.append(frame)
    assert pitch(windows[-1], 16_000) == pytest.approx(220, abs=3)
    heads = [struct.unpack("<II", frame[:8]) for frame in frames]
    assert {reply for reply, _ in heads} == {1}
    assert all(b - a == 480 for (_, a), (_, b) in pairwise(heads))
    said_ms = caller.of("reply_audio_end")[0]["audio_ms"]
    sound = decoded([frame[8:] for frame in frames])
    assert said_ms <= 1_000 * len(sound) / OPUS_HZ < said_ms + 40
    assert np.abs(sound).max() > 0.05


async def test_tagged_samples_are_heard_as_they_are_and_replies_say_where_they_begin(
    windows: list[Float32],
) -> None:
    spoken = murmur(1.0)
    hello = {"audio": TAGGED, "turn_detection": "manual"}
    async with live_server() as server, call(server.ws_url, hello) as caller:
        await send(caller, cut(spoken), 16_000)
        await caller.socket.send(tag(0, 16_000, b""))  # an empty one is ignored
        await caller.say("commit")
        at = 0
        while not caller.of("reply_audio_end"):
            if isinstance(frame := await caller.next(), bytes):
                assert struct.unpack("<II", frame[:8]) == (1, at)
                at += (len(frame) - 8) // 2
        assert 1_000 * at == caller.of("reply_audio_end")[0]["audio_ms"] * REPLY_HZ
    assert (windows[-1] * 32_768).astype("<i2").tobytes() == spoken


@pytest.mark.parametrize(
    "frame", [b"\0", bytes(8), tag(0, 0, b"\xff"), tag(0, 0, b"\xff\xff\xff"), tag(7, 0, b"\xf8")]
)
async def test_a_damaged_frame_is_told_and_the_session_goes_on(
    frame: bytes, windows: list[Float32]
) -> None:
    async with live_server() as server, call(server.ws_url, {"audio": OPUS}) as caller:
        await caller.socket.send(frame)
        assert (await caller.until("error"))["code"] == "BAD_AUDIO"
        await send(caller, packets(hum(1.0) + silence(1.5, 24_000)))
        await caller.until("transcript", final=True)
    assert pitch(windows[-1], 16_000) == pytest.approx(220, abs=3)


async def test_a_flood_of_damaged_frames_is_few_errors_and_no_end(windows: list[Float32]) -> None:
    async with live_server() as server, call(server.ws_url, {"audio": OPUS}) as caller:
        for _ in range(1_000):
            await caller.socket.send(tag(0, 0, b"\xff\xff\xff"))
        await caller.say("text", text="Hello.")
        await caller.play()
    assert 1 <= len(caller.of("error")) < 50


async def test_long_packets_are_paid_for_like_any_audio() -> None:
    """Three bytes may be 120 ms of sound: they count as that, and are not decoded unpaid."""
    async with live_server() as server, call(server.ws_url, {"audio": OPUS}) as caller:
        for _ in range(400):
            await caller.socket.send(tag(0, 0, b"\xff\x06\x00"))
        assert (await caller.until("warning"))["code"] == "TOO_MUCH_AUDIO"


async def test_a_line_may_come_back_with_another_sound(windows: list[Float32]) -> None:
    async with live_server() as server:
        async with call(server.ws_url, {"audio": OPUS}) as caller:
            await caller.say("text", text="Hello.")
            await caller.play()
            back: dict[str, Any] = {"resume": caller.of("welcome")[0]["resume"]}
        async with call(server.ws_url, back | {"turn_detection": "manual"}) as caller:
            welcome = caller.of("welcome")[0]
            assert welcome["resumed"] is True
            assert welcome["audio"] == {"rate": 24_000, "codec": "pcm16", "framing": "raw"}
            await caller.speak(spoken := murmur(1.0))
            await caller.say("commit")
            done = await caller.play()
            assert done["status"] == "completed"
    assert (windows[-1] * 32_768).astype("<i2").tobytes() == spoken


async def test_opus_without_tags_is_refused_with_the_reason() -> None:
    async with live_server() as server, call(server.ws_url) as caller:
        await caller.say("hello", audio={"codec": "opus"})
        error = await caller.until("error")
        assert error["code"] == "BAD_MESSAGE"
        assert "tagged" in error["message"]
        await caller.say("hello", audio=OPUS)
        await caller.until("welcome")


async def test_what_is_cut_into_starts_anew_with_the_next_reply() -> None:
    async with live_server() as server, call(server.ws_url, {"audio": OPUS}) as caller:
        await caller.say("text", text="Tell me everything.")
        async with asyncio.timeout(20):
            while not isinstance(await caller.next(), bytes):
                pass
        await caller.say("cancel")
        await caller.until("reply_done", status="cancelled")
        await caller.say("text", text="And now?")
        await caller.until("reply_started", reply=2)
        async with asyncio.timeout(20):
            while not isinstance(frame := await caller.next(), bytes):
                pass
        assert struct.unpack("<II", frame[:8]) == (2, 0)
