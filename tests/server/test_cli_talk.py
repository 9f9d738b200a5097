"""`antiphon talk` against a server of set answers, and once against the scripted one."""

from __future__ import annotations

import argparse
import asyncio
import json
import socket
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from websockets.asyncio.server import ServerConnection, serve

from pipeline.errors import BadAudio
from server.cli import one_turn, talk
from server.cli.wav import read_wav, write_wav
from tests.support import ServerProcess

REPLY_HZ = 24_000
TONE = (8_000 * np.sin(np.arange(REPLY_HZ) * 0.1)).astype("<i2").tobytes()  # 1 s
LATENCY = {"endpoint": 0, "stt": 90, "llm": 60, "tts": 250, "total": 400}

Script = Callable[[ServerConnection, list[dict[str, Any]], list[bytes]], Awaitable[None]]


@asynccontextmanager
async def server_that(
    script: Script,
) -> AsyncIterator[tuple[str, list[dict[str, Any]], list[bytes]]]:
    """A server that admits everyone and answers the question (commit or text) by the script."""
    heard: list[dict[str, Any]] = []
    frames: list[bytes] = []

    async def handle(peer: ServerConnection) -> None:
        async for raw in peer:
            if isinstance(raw, bytes):
                frames.append(raw)
                continue
            message = json.loads(raw)
            heard.append(message)
            if message["type"] == "hello":
                welcome = {"audio": {"rate": REPLY_HZ, "codec": "pcm16", "framing": "raw"}}
                await tell(peer, "welcome", **welcome)
            elif message["type"] in ("commit", "text"):
                await script(peer, heard, frames)

    async with serve(handle, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        yield f"ws://127.0.0.1:{port}/ws", heard, frames


async def tell(peer: ServerConnection, kind: str, **fields: object) -> None:
    await peer.send(json.dumps({"type": kind, **fields}))


async def answer(peer: ServerConnection, heard: list[dict[str, Any]], frames: list[bytes]) -> None:
    """A whole reply: its text in two pieces, its audio in 20 ms frames."""
    await tell(peer, "transcript", turn=1, text="what time is it", final=True)
    await tell(peer, "reply_started", reply=1, turn=1)
    await tell(peer, "reply_text", reply=1, text="It is ")
    await tell(peer, "reply_text", reply=1, text="noon.")
    for start in range(0, len(TONE), 960):
        await peer.send(TONE[start : start + 960])
    await tell(peer, "reply_audio_end", reply=1, audio_ms=1_000)
    done = {"status": "completed", "text": "It is noon.", "heard": "It is noon.", "saved": True}
    await tell(peer, "reply_done", reply=1, turn=1, latency_ms=LATENCY, **done)


@pytest.fixture
def question(tmp_path: Path) -> Path:
    path = tmp_path / "question.wav"
    write_wav(path, b"\x01\x02" * 8_000, 16_000)
    return path


async def talk_to(url: str, *arguments: str | Path, out: Path) -> int:
    """The command as the shell would run it; in a thread, for it brings its own event loop."""
    parser = argparse.ArgumentParser()
    talk.add_parser(parser.add_subparsers())
    everything = ["talk", *map(str, arguments), "--url", url, "--out", str(out)]
    args = parser.parse_args(everything)
    return await asyncio.to_thread(talk.run, args)


async def test_a_spoken_question_is_answered_on_the_terminal_and_in_a_file(
    question: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "reply.wav"
    async with server_that(answer) as (url, heard, frames):
        assert await talk_to(url, question, out=out) == 0
    printed = capsys.readouterr().out
    assert "what time is it" in printed
    assert "It is noon." in printed
    assert "stt 90 ms" in printed
    assert "total 400 ms" in printed
    assert str(out) in printed.replace("\n", "")
    with wave.open(str(out)) as saved:
        assert (saved.getframerate(), saved.getnchannels(), saved.getsampwidth()) == (24_000, 1, 2)
        assert saved.readframes(saved.getnframes()) == TONE
    assert heard[0]["turn_detection"] == "manual"
    assert heard[0]["audio"] == {"rate": 16_000}
    assert b"".join(frames) == b"\x01\x02" * 8_000


async def test_playback_is_reported_as_received_and_ends_with_done(
    question: Path, tmp_path: Path
) -> None:
    async with server_that(answer) as (url, heard, _):
        await talk_to(url, question, out=tmp_path / "reply.wav")
    reports = [message for message in heard if message["type"] == "playback"]
    assert reports[-1] == {"type": "playback", "reply": 1, "played_ms": 1_000, "done": True}
    assert [report["played_ms"] for report in reports[:-1]] == [500, 1_000]


async def test_a_typed_question_needs_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with server_that(answer) as (url, heard, frames):
        assert await talk_to(url, "--text", "What time is it?", out=tmp_path / "reply.wav") == 0
    assert heard[1]["text"] == "What time is it?"
    assert frames == []
    assert "It is noon." in capsys.readouterr().out


async def test_a_greeting_is_not_taken_for_the_answer(question: Path, tmp_path: Path) -> None:
    async def greet_then_answer(
        peer: ServerConnection, heard: list[dict[str, Any]], frames: list[bytes]
    ) -> None:
        await tell(peer, "reply_started", reply=7, turn=0)
        await peer.send(b"\x00\x00" * 100)
        await tell(peer, "reply_done", reply=7, turn=0, status="completed", text="Hello!")
        await answer(peer, heard, frames)

    out = tmp_path / "reply.wav"
    async with server_that(greet_then_answer) as (url, _, _):
        assert await talk_to(url, question, out=out) == 0
    assert read_wav(out).samples.tobytes() == TONE


async def error(peer: ServerConnection, heard: list[dict[str, Any]], frames: list[bytes]) -> None:
    await tell(peer, "error", code="STT_FAILED", message="Speech could not be transcribed.")


async def full(peer: ServerConnection, heard: list[dict[str, Any]], frames: list[bytes]) -> None:
    await peer.close(1013, "every place is taken")


async def noise(peer: ServerConnection, heard: list[dict[str, Any]], frames: list[bytes]) -> None:
    await tell(peer, "transcript", turn=1, text="", final=True, discarded=True)


async def silence(peer: ServerConnection, heard: list[dict[str, Any]], frames: list[bytes]) -> None:
    pass


@pytest.mark.parametrize(
    ("script", "line"),
    [
        (error, "antiphon: STT_FAILED: Speech could not be transcribed."),
        (
            full,
            "antiphon: the server takes nobody in now; try again soon (close code 1013",
        ),
        (noise, "antiphon: no words were understood"),
        (silence, "has said nothing for 0.2 s"),
    ],
)
async def test_what_goes_wrong_is_one_line_and_exit_status_1(
    script: Script,
    line: str,
    question: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(one_turn, "SILENCE_S", 0.2)
    async with server_that(script) as (url, _, _):
        assert await talk_to(url, question, out=tmp_path / "reply.wav") == 1
    printed = capsys.readouterr().err
    assert line in printed
    assert printed.count("\n") == 1


async def test_a_refused_connection_says_how_to_start_a_server(
    question: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        url = f"ws://127.0.0.1:{taken.getsockname()[1]}/ws"
        assert await talk_to(url, question, out=tmp_path / "reply.wav") == 1
    assert "start one with `antiphon serve`" in capsys.readouterr().err


@pytest.mark.parametrize("url", ["http://127.0.0.1:1/ws", "nonsense"])
async def test_an_address_that_is_none_is_named(
    url: str, question: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert await talk_to(url, question, out=tmp_path / "reply.wav") == 1
    assert f"antiphon: {url} is not a ws:// or wss:// address\n" == capsys.readouterr().err


async def test_a_file_that_is_no_wav_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("hello")
    assert await talk_to("ws://127.0.0.1:1/ws", text, out=tmp_path / "reply.wav") == 1
    assert "notes.txt is not a PCM WAV file" in capsys.readouterr().err


async def test_ctrl_c_ends_with_130(
    question: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(talk, "ask", interrupted)
    assert await talk_to("ws://127.0.0.1:1/ws", question, out=tmp_path / "reply.wav") == 130


def test_a_file_or_a_text_but_not_both() -> None:
    parser = argparse.ArgumentParser()
    talk.add_parser(parser.add_subparsers())
    for wrong in (["talk"], ["talk", "a.wav", "--text", "hello"]):
        with pytest.raises(SystemExit):
            parser.parse_args(wrong)


@pytest.mark.parametrize(
    ("environment", "port"),
    [({}, 8000), ({"PORT": "81"}, 81), ({"PORT": "81", "ANTIPHON_PORT": "82"}, 82)],
)
def test_the_address_is_where_serve_would_listen(
    environment: dict[str, str], port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PORT", raising=False)
    monkeypatch.delenv("ANTIPHON_PORT", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert talk.default_url() == f"ws://127.0.0.1:{port}/ws"


def test_eight_seconds_leave_at_once_and_the_rest_in_real_time() -> None:
    assert [one_turn.due_s(position) for position in (0.1, 8.0, 9.0, 30.0)] == [0, 0, 1, 22]


@pytest.mark.parametrize("width", [1, 2, 3, 4])
@pytest.mark.parametrize("channels", [1, 2])
def test_pcm_of_any_width_reads_the_same(width: int, channels: int, tmp_path: Path) -> None:
    levels = np.array([0, 64, -64, 127, -128])  # what 8 bits can tell apart
    if width == 1:
        data = (levels + 128).astype(np.uint8).repeat(channels).tobytes()
    else:
        one = [
            (int(level) << (8 * (width - 1))).to_bytes(width, "little", signed=True)
            for level in levels
        ]
        data = b"".join(sample * channels for sample in one)
    path = tmp_path / "clip.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((channels, width, 22_050, 0, "NONE", ""))
        file.writeframes(data)
    recording = read_wav(path)
    assert recording.rate_hz == 22_050
    assert recording.samples.tolist() == (levels * 256).tolist()


def test_stereo_is_mixed_down(tmp_path: Path) -> None:
    path = tmp_path / "stereo.wav"
    with wave.open(str(path), "wb") as file:
        file.setparams((2, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.array([1_000, 3_000, -32_768, -32_768], "<i2").tobytes())
    assert read_wav(path).samples.tolist() == [2_000, -32_768]


@pytest.mark.parametrize(
    ("rate_hz", "pcm", "says"), [(96_000, b"\0\0", "96000 Hz"), (16_000, b"", "has no audio")]
)
def test_what_the_server_would_not_take_is_not_sent(
    rate_hz: int, pcm: bytes, says: str, tmp_path: Path
) -> None:
    path = tmp_path / "clip.wav"
    write_wav(path, pcm, rate_hz)
    with pytest.raises(BadAudio, match=says):
        read_wav(path)


async def test_a_turn_with_the_scripted_server(
    scripted_server: ServerProcess,
    question: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "reply.wav"
    assert await talk_to(scripted_server.ws_url, "--text", "Hello there", out=out) == 0
    assert "Hello there" in capsys.readouterr().out
    assert read_wav(out).seconds > 0.1
