"""A scripted voice that dies, hangs or breaks at a word: once for each folder it is given."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

from pipeline.config import EngineConfig
from pipeline.engines.ports import Float32, SpeechRequest, Stop
from pipeline.engines.scripted import ScriptedSynthesizer

CHUNKS_BEFORE = 3


class MortalSynthesizer(ScriptedSynthesizer):
    """Before the first chunk of what says "early", after three of what says "dies"; a text that
    says "kills" does it each time. One that was told "breaks" fails each call from then on."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config.script)
        self._folder = config.models_dir
        self._broken = False

    async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        words = request.text
        if "kills" in words or ("early" in words and self._first("early")):
            os.kill(os.getpid(), signal.SIGKILL)
        if self._broken or ("breaks" in words and self._first("breaks")):
            self._broken = True
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if "hangs" in words and self._first("hangs"):
            await asyncio.Event().wait()
        given = 0
        async for chunk in super().synthesize(request, stop):
            yield chunk
            given += 1
            if given == CHUNKS_BEFORE and "dies" in words and self._first("dies"):
                os.kill(os.getpid(), signal.SIGKILL)

    def _first(self, what: str) -> bool:
        """Whether it is the first time, of all replicas together; who it was is written down."""
        try:
            with Path(self._folder / what).open("x") as file:
                file.write(str(os.getpid()))
        except FileExistsError:
            return False
        return True


def mortal(config: EngineConfig) -> MortalSynthesizer:
    return MortalSynthesizer(config)
