"""Speech over HTTP with the default voice: what was asked for is heard, also beside others."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest

from benchmarks.speech import MOST_WER, ROW, Answer, ask, errors_in, register_of, untracked
from pipeline.voicing import REPLY_HZ
from server.encoding import Format
from tests.server.speech_client import SPEECH
from tests.server.test_encoding import FORMATS, assert_clean, decoded
from tests.support import ServerProcess

pytestmark = pytest.mark.models

LOUDEST = 0.97
"""Of any sample: the limiter's peak, and what resampling may add to it."""

HARD = {
    "numbers": "On 3.14.2026 at 10:30 it cost $1,234.56, about 12% of 10,000,000.",
    "abbreviations": "Dr. Smith vs. Mr. Jones, e.g. on Main St. at 5 p.m., etc.",
    "addresses": "See https://example.com/a?b=c#d or write to someone@example.com, please.",
    "emoji": "Great 👍🏽 job 🎉🎉 everyone!",
    "scripts": "Hello. Привет, мир! 日本語です。 مرحبا. नमस्ते।",
    "no punctuation": "so we went on and on and on " * 12,
    "one word": "a" * 2_000,
    "signs": "--- *** ### ... ~~~ | | | well < > & % $ # @ ! yes",
    "control": "a\u0000b\u200d\ufeff c\u0007 done",
}


def asking(server: ServerProcess) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, timeout=120)


async def test_what_is_asked_for_one_after_the_other_and_at_once_is_heard(
    real_server: ServerProcess, models_dir: Path
) -> None:
    async with asking(real_server) as http:
        before = (await http.get("/status")).json()["requests"]["total"]
        row = [await ask(http, text, "af_heart") for text in ROW[:4]]
        crowd = await asyncio.gather(*(ask(http, text, "af_heart") for text in ROW[:4]))
        after = (await http.get("/status")).json()["requests"]
        register = (await register_of(http)).json()
    assert after["total"] == before + 8
    assert untracked([*row, *crowd], register) == []
    for alone, beside in zip(row, crowd, strict=True):
        # On a slow machine one that is alone is said in shorter clauses, with a pause after each.
        assert beside.audio_s == pytest.approx(alone.audio_s, rel=0.2)
    assert max(errors.rate for errors in await errors_in([*row, *crowd])) <= MOST_WER


@pytest.mark.parametrize("text", HARD.values(), ids=HARD)
async def test_whatever_the_text_it_is_voiced_and_its_end_is_clean(
    real_server: ServerProcess, text: str
) -> None:
    async with asking(real_server) as http:
        answer: Answer = await ask(http, text, "af_heart")
    samples = np.frombuffer(bytes(answer.pcm), "<i2").astype(float) / 32_768
    assert len(samples) > REPLY_HZ / 3
    assert np.abs(samples).max() <= LOUDEST
    ending = samples[-round(0.05 * REPLY_HZ) :]
    assert np.sqrt(np.mean(ending**2)) < 0.002
    assert np.abs(samples[-24:]).max() < 0.001


@pytest.mark.parametrize("name", FORMATS)
async def test_openais_client_reads_every_format(real_server: ServerProcess, name: Format) -> None:
    async with openai.AsyncOpenAI(base_url=f"{real_server.url}/v1", api_key="none") as client:
        answer = await client.audio.speech.create(
            model="tts-1", voice="nova", input="Hello there.", response_format=name, speed=1.2
        )
        whole = decoded(name, await answer.aread())
        async with client.audio.speech.with_streaming_response.create(
            model="tts-1", voice="nova", input="Hello there.", response_format=name, speed=1.2
        ) as stream:
            data = b"".join([chunk async for chunk in stream.iter_bytes()])
    assert 0.5 * REPLY_HZ < len(whole) == len(decoded(name, data))
    assert_clean(name, data)


async def test_a_blend_is_neither_of_its_voices(real_server: ServerProcess) -> None:
    async with asking(real_server) as http:
        voices = ("af_heart", "am_michael", "af_heart:0.5+am_michael:0.5", "am_michael+af_heart")
        heart, michael, blend, same = [
            bytes((await ask(http, "Hello there.", voice)).pcm) for voice in voices
        ]
    assert len({heart, michael, blend}) == 3
    assert blend == same


async def test_a_language_can_be_named_and_an_unknown_one_is_refused(
    real_server: ServerProcess,
) -> None:
    async with asking(real_server) as http:
        for language, status in (("en", 200), ("fr", 200), ("pt-BR", 200), ("tlh", 400)):
            answer = await http.post(SPEECH, json={"input": "Hello.", "language": language})
            assert answer.status_code == status, answer.text


def espeak_of(server: ServerProcess) -> int:
    """The process in which the server has espeak read."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # one that has just ended
            parent = (process / "stat").read_text().rpartition(")")[2].split()[1]
            ours = int(parent) == server.pid
            if ours and b"espeak_child.py" in (process / "cmdline").read_bytes():
                return int(process.name)
    raise AssertionError("it has none")


async def test_that_espeak_was_killed_is_not_noticed(real_server: ServerProcess) -> None:
    async with asking(real_server) as http:
        before = await ask(http, ROW[0], "af_heart")
        os.kill(espeak_of(real_server), signal.SIGKILL)
        after = await ask(http, ROW[0], "af_heart")
        assert (await http.get("/readyz")).status_code == 200
    assert after.pcm == before.pcm
