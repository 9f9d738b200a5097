"""Engines that misbehave for the victim, and for nobody else.

A fault replaces one method of the scripted engines, for what is the victim's: its voice, its louder
speech, its typed words. What it gives back is the victim's alone to bear.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest

from pipeline.engines.ports import (
    Float32,
    Prompt,
    SpeechRequest,
    SpeechWindow,
    Stop,
    TextDelta,
    Transcript,
)
from pipeline.engines.scripted import (
    ScriptedEndOfTurn,
    ScriptedLanguageModel,
    ScriptedSynthesizer,
    ScriptedTranscriber,
    ScriptedVoiceActivity,
)
from tests.faults.trial import VICTIM
from tests.support import murmur

LOUD = 0.6
"""The victim speaks above this, the bystander below."""
BOOM = "boom"
"""A typed turn with this word in it is the victim's."""

Voicing = Callable[[SpeechRequest, Stop], AsyncIterator[Float32]]
Writing = Callable[[Prompt, Stop], AsyncIterator[TextDelta]]


def shout(seconds: float) -> bytes:
    """The victim's speech."""
    return murmur(seconds, level=0.9)


def is_shouted(audio: Float32) -> bool:
    """Whether it is the victim who speaks."""
    return bool(len(audio)) and float(np.abs(audio).max()) > LOUD


def piece(seconds: float = 0.1) -> Float32:
    """A chunk of audio that nothing is wrong with."""
    return np.full(round(seconds * 24_000), 0.1, np.float32)


class Mischief:
    """Sets faults for as long as a test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._patch = monkeypatch
        self.release = asyncio.Event()
        """Set, and engines that hang return."""
        self.reached = asyncio.Event()
        """Set by an engine that hangs: the pool would tell of the bystander's calls, too."""

    def voicing(self, fault: Voicing) -> None:
        """The victim's clauses are voiced by `fault`."""
        good = ScriptedSynthesizer.synthesize

        async def synthesize(
            engine: ScriptedSynthesizer, request: SpeechRequest, stop: Stop
        ) -> AsyncIterator[Float32]:
            bad = request.voice == VICTIM
            chunks: Any = fault(request, stop) if bad else good(engine, request, stop)
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk

        self._patch.setattr(ScriptedSynthesizer, "synthesize", synthesize)

    def writing(self, fault: Writing) -> None:
        """The victim's replies are written by `fault`."""
        good = ScriptedLanguageModel.generate

        async def generate(
            engine: ScriptedLanguageModel, prompt: Prompt, stop: Stop
        ) -> AsyncIterator[TextDelta]:
            bad = BOOM in prompt.messages[-1].content
            deltas: Any = fault(prompt, stop) if bad else good(engine, prompt, stop)
            async with aclosing(deltas):
                async for delta in deltas:
                    yield delta

        self._patch.setattr(ScriptedLanguageModel, "generate", generate)

    def hearing(self, fault: Callable[[SpeechWindow, Stop], Awaitable[Transcript]]) -> None:
        """The victim's speech is transcribed by `fault`."""
        good = ScriptedTranscriber.transcribe

        async def transcribe(
            engine: ScriptedTranscriber, window: SpeechWindow, stop: Stop
        ) -> Transcript:
            if is_shouted(window.audio):
                return await fault(window, stop)
            return await good(engine, window, stop)

        self._patch.setattr(ScriptedTranscriber, "transcribe", transcribe)

    def voting(self, fault: Callable[[Float32], float]) -> None:
        """Whether the victim has finished is judged by `fault`."""
        good = ScriptedEndOfTurn.probability

        async def probability(engine: ScriptedEndOfTurn, audio: Float32, stop: Stop) -> float:
            return fault(audio) if is_shouted(audio) else await good(engine, audio, stop)

        self._patch.setattr(ScriptedEndOfTurn, "probability", probability)

    def sensing(self, fault: Callable[[], float]) -> None:
        """The victim's frames have the probability that `fault` gives; raising, it fails whatever
        batch they are in."""
        good = ScriptedVoiceActivity.score

        def score(
            engine: ScriptedVoiceActivity, frames: Float32, states: Float32
        ) -> tuple[Float32, Float32]:
            probabilities, states = good(engine, frames, states)
            for row, frame in enumerate(frames):
                if is_shouted(frame):
                    probabilities[row] = fault()
            return probabilities, states

        self._patch.setattr(ScriptedVoiceActivity, "score", score)

    async def hang(self) -> None:
        """What a hanging engine does: nothing, whatever it is told."""
        self.reached.set()
        await self.release.wait()
