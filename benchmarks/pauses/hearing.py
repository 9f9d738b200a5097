"""Hears the set with the default engines, and keeps what they said on disk.

Silero's probabilities come in frames as a session's would; Whisper and Smart Turn answer for the
windows that the turn machine asks for. The same window of the same audio is computed once.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from benchmarks.pauses.speech import Spoken
from pipeline.audio import level_dbfs
from pipeline.engines import silero, smart_turn
from pipeline.engines.faster_whisper import FasterWhisperTranscriber
from pipeline.engines.ports import SpeechWindow, Stop
from pipeline.engines.silero import SileroVoiceActivity
from pipeline.engines.smart_turn import SmartTurnModel
from pipeline.utterance import FRAME
from pipeline.vad import VadBatcher

STT_MODEL = "tiny.en"
RECIPE = 2
"""Raise it when the same audio is heard otherwise: what is on disk is then heard anew."""


class Ear(Protocol):
    """What the harness asks of whoever listens to one utterance."""

    @property
    def probabilities(self) -> tuple[float, ...]:
        """Of speech, one a frame of 32 ms."""
        ...

    @property
    def levels(self) -> tuple[float, ...]:
        """In dBFS, one a frame."""
        ...

    async def words(self, start: int, end: int) -> str:
        """What is understood of the samples [start, end)."""
        ...

    async def vote(self, start: int, end: int) -> float:
        """How likely it is that the turn is over at `end`."""
        ...


class Engines:
    """Silero, Whisper and Smart Turn, each loaded when it is first needed."""

    def __init__(self, models_dir: Path) -> None:
        self._vad = SileroVoiceActivity(models_dir)
        self._stt = FasterWhisperTranscriber(models_dir, STT_MODEL, slots=1, threads=2)
        self._eot = SmartTurnModel(models_dir)
        self._started: list[Callable[[], Coroutine[None, None, None]]] = []

    async def _need(
        self, engine: SileroVoiceActivity | FasterWhisperTranscriber | SmartTurnModel
    ) -> None:
        if engine.close not in self._started:
            await engine.start()
            self._started.append(engine.close)

    async def close(self) -> None:
        """Free what was loaded."""
        while self._started:
            await self._started.pop()()

    async def probabilities(self, spoken: Spoken) -> list[float]:
        """Silero's word on each whole frame."""
        await self._need(self._vad)
        size = self._vad.frame_samples
        heard = []
        async with VadBatcher(self._vad) as vad:
            stream = vad.stream()
            for start in range(0, len(spoken.audio) - size + 1, size):
                probability = await stream.probability(spoken.audio[start : start + size])
                heard.append(round(probability, 4))
        return heard

    async def words(self, spoken: Spoken, start: int, end: int) -> str:
        await self._need(self._stt)
        window = SpeechWindow(spoken.audio[start:end], "en")
        return (await self._stt.transcribe(window, Stop())).text

    async def vote(self, spoken: Spoken, start: int, end: int) -> float:
        await self._need(self._eot)
        return round(await self._eot.probability(spoken.audio[start:end], Stop()), 4)


@dataclass(slots=True)
class Notes:
    """What is known of one utterance."""

    probabilities: list[float] = field(default_factory=list)
    words: dict[str, str] = field(default_factory=dict)
    votes: dict[str, float] = field(default_factory=dict)


class Listener:
    """An `Ear` for one utterance: remembers, and asks the engines for the rest."""

    def __init__(self, spoken: Spoken, engines: Engines, directory: Path) -> None:
        self._spoken = spoken
        self._engines = engines
        models = f"{RECIPE} {silero.MODEL} {STT_MODEL} {smart_turn.MODEL}".replace(" ", "_")
        self._file = directory / models / f"{spoken.name}.json"
        self._notes = Notes()
        self._changed = False

    async def __aenter__(self) -> Listener:
        if self._file.exists():
            self._notes = Notes(**json.loads(self._file.read_text(encoding="utf-8")))
        else:
            self._notes.probabilities = await self._engines.probabilities(self._spoken)
            self._changed = True
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._changed:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            notes = {name: getattr(self._notes, name) for name in Notes.__slots__}
            self._file.write_text(json.dumps(notes), encoding="utf-8")

    @property
    def probabilities(self) -> tuple[float, ...]:
        return tuple(self._notes.probabilities)

    @property
    def levels(self) -> tuple[float, ...]:
        whole = self._spoken.audio[: len(self._notes.probabilities) * FRAME].reshape(-1, FRAME)
        return tuple(round(level_dbfs(frame), 1) for frame in whole)

    async def words(self, start: int, end: int) -> str:
        key = f"{start}-{end}"
        if key not in self._notes.words:
            self._notes.words[key] = await self._engines.words(self._spoken, start, end)
            self._changed = True
        return self._notes.words[key]

    async def vote(self, start: int, end: int) -> float:
        key = f"{start}-{end}"
        if key not in self._notes.votes:
            self._notes.votes[key] = await self._engines.vote(self._spoken, start, end)
            self._changed = True
        return self._notes.votes[key]
