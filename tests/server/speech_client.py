"""What tests of speech over HTTP share: a voice that waits for its cue, and how to ask."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from pipeline.engines.ports import Float32, SpeechRequest, Stop
from pipeline.engines.scripted import ScriptedSynthesizer
from server.house import House

SPEECH = "/v1/audio/speech"


class Stage:
    """All scripted voices of a test: what they were asked, how many spoke at once; and a cue."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.said: list[str] = []
        self.speaking = self.most_speaking = 0
        self.cue = asyncio.Event()
        """Nobody speaks before it is set."""
        self.cue.set()
        good = ScriptedSynthesizer.synthesize

        async def synthesize(
            engine: ScriptedSynthesizer, request: SpeechRequest, stop: Stop
        ) -> AsyncIterator[Float32]:
            self.said.append(request.text)
            self.speaking += 1
            self.most_speaking = max(self.most_speaking, self.speaking)
            try:
                while not (self.cue.is_set() or stop.is_set):
                    await asyncio.sleep(0.005)
                async for chunk in good(engine, request, stop):
                    yield chunk
            finally:
                self.speaking -= 1

        monkeypatch.setattr(ScriptedSynthesizer, "synthesize", synthesize)

    def hold(self) -> None:
        """From now on nobody speaks."""
        self.cue.clear()


async def until(condition: Any, within_s: float = 20.0) -> None:
    """Wait until it holds."""
    async with asyncio.timeout(within_s):
        while not condition():
            await asyncio.sleep(0.005)


def claimed(house: House) -> int:
    state = house.pool.status()["tts"]
    return state.claimed + state.waiting


def client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=60, limits=httpx.Limits(max_connections=None))
