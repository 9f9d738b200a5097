"""A scripted voice that marks whom it speaks for: a file in a folder, as long as it does.

Who it is, is told by the speed that each has chosen. What a killed process leaves there are the
calls that were lost with it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

from pipeline.config import EngineConfig
from pipeline.engines.ports import Float32, SpeechRequest, Stop
from pipeline.engines.scripted import ScriptedSynthesizer


class MarkingSynthesizer(ScriptedSynthesizer):
    """Leaves its marks where the models would be."""

    def __init__(self, config: EngineConfig) -> None:
        super().__init__(config.script)
        self._folder = config.models_dir

    async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        mark = self._folder / f"{os.getpid()} {request.speed}"
        mark.touch()
        try:
            async for chunk in super().synthesize(request, stop):
                yield chunk
        finally:
            mark.unlink()


def marking(config: EngineConfig) -> MarkingSynthesizer:
    return MarkingSynthesizer(config)


def spoken_for(folder: Path, pid: int) -> set[float]:
    """The speeds of those for whom that process speaks, or spoke when it was killed."""
    marks = (mark.name.split() for mark in folder.iterdir())
    return {float(speed) for who, speed in marks if int(who) == pid}
