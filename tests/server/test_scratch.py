"""The room for requests' files: all of them share it, and each gives back what it took."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import httpx
import pytest

from pipeline.errors import AtCapacity, GpuOutOfMemory, SettingsError
from server.scratch import Scratch
from server.settings import load
from tests.server.speech_client import SPEECH, Stage, client, until
from tests.support import LiveServer, live_server

TRANSCRIBE = "/v1/audio/transcriptions"
RECORDING = (Path(__file__).parents[1] / "speech" / "LJ001-0008.wav").read_bytes()


def test_what_was_taken_is_given_back_with_the_scope() -> None:
    scratch = Scratch(100)
    with scratch.share() as one, scratch.share() as other:
        one.take(60)
        other.take(40)
        with pytest.raises(AtCapacity):
            one.take(1)
        assert (one.bytes, other.bytes, scratch.bytes) == (60, 40, 100)
    assert scratch.bytes == 0


async def ask(http: httpx.AsyncClient, file: bytes) -> httpx.Response:
    return await http.post(TRANSCRIBE, files={"file": ("a.wav", file)})


async def test_uploads_share_the_room_and_who_finds_none_is_told_when_to_come_back() -> None:
    big = RECORDING + bytes(2 * len(RECORDING))
    async with live_server() as server, client(server.url) as http:
        server.house.scratch = Scratch(len(big) * 3 // 2)
        coming = asyncio.Event()

        async def slow() -> Any:
            head = '--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
            yield head.encode() + big
            await coming.wait()
            yield b"\r\n--x--\r\n"

        form = {"content-type": "multipart/form-data; boundary=x"}
        first = asyncio.ensure_future(http.post(TRANSCRIBE, content=slow(), headers=form))
        await until(lambda: server.house.scratch.bytes >= len(big))
        refused = await ask(http, big)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "AT_CAPACITY")
        assert int(refused.headers["retry-after"]) > 0
        coming.set()
        assert (await first).status_code == 200
        assert (await ask(http, big)).status_code == 200
        assert server.house.scratch.bytes == 0


async def test_a_whole_body_takes_of_it_too_and_gives_it_back() -> None:
    long = {"input": "This is a sentence. " * 10, "response_format": "wav"}
    async with live_server() as server, client(server.url) as http:
        server.house.scratch = Scratch(200_000)
        refused = await http.post(SPEECH, json={**long, "stream": False})
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "AT_CAPACITY")
        assert server.house.scratch.bytes == 0
        assert (await http.post(SPEECH, json=long)).status_code == 200
        short = await http.post(SPEECH, json={"input": "Hello there.", "stream": False})
        assert short.status_code == 200


def test_the_room_holds_one_upload_at_least() -> None:
    environ = {"ANTIPHON_SCRATCH_MB": "20", "ANTIPHON_TRANSCRIPTION_MB": "25"}
    with pytest.raises(SettingsError, match="ANTIPHON_SCRATCH_MB: 20"):
        load(environ, env_file=None)


async def test_whatever_says_later_says_when(
    server: LiveServer, http: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = Stage(monkeypatch)

    def full(*_: object) -> None:
        raise GpuOutOfMemory("out of memory in the voice")

    monkeypatch.setattr(stage.cue, "is_set", full)
    answer = await http.post(SPEECH, json={"input": "Hello."})
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "GPU_OOM")
    assert int(answer.headers["retry-after"]) > 0
