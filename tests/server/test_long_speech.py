"""An hour of text over HTTP: all of it comes, and what the server holds of it does not grow."""

from __future__ import annotations

import gc
import tracemalloc
from dataclasses import replace

import pytest

import server.app
from pipeline.config import EngineConfig, ScriptConfig
from pipeline.engines.build import build
from pipeline.engines.engine_set import Engines
from tests.server.speech_client import SPEECH, client
from tests.support import live_server

SENTENCE = "This is one of the sentences of a long book, and it is like all others. "
MINUTE = SENTENCE * 14
"""Some 1,000 characters."""
SECOND_BYTES = 48_000


def quick(config: EngineConfig) -> Engines:
    """A voice far faster than real time."""
    return build(replace(config, script=ScriptConfig(tts_first_s=0.0, tts_rtf=0.0)))


async def peak_bytes(url: str, minutes: int) -> tuple[int, float]:
    """The most that was held, client and server together, while so much text was read at a quarter
    of its length; and the seconds of audio that came."""
    body = {"input": MINUTE * minutes, "response_format": "pcm", "speed": 4.0}
    came = 0
    async with client(url) as http, http.stream("POST", SPEECH, json=body) as answer:
        assert answer.status_code == 200
        gc.collect()
        tracemalloc.start()
        try:
            async for data in answer.aiter_raw():
                came += len(data)
            return tracemalloc.get_traced_memory()[1], came / SECOND_BYTES
        finally:
            tracemalloc.stop()


async def test_an_hour_of_text_is_streamed_in_little_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server.app, "build", quick)
    async with live_server(ANTIPHON_CHARACTERS_PER_MINUTE="10000000") as live:
        await peak_bytes(live.url, 1)  # what is made once, is
        held, audio_s = await peak_bytes(live.url, 60)
        assert next(iter(live.house.requests)).outcome == "completed"
    assert audio_s > 15 * 60
    assert held < 0.1 * audio_s * SECOND_BYTES
    assert held < 4_000_000  # measured: 2.1 MB, and 2.0 MB for five minutes
