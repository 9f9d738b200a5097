"""What an engine that is in doubt is asked: small, plain, and nobody's own words.

Whoever sends what an engine fails on must not make it look broken. One that fails on this too is.
A probe passes when it ends without an error; what it gives is not looked at.
"""

from __future__ import annotations

from collections.abc import AsyncIterator

import numpy as np

from .engines.ports import (
    EndOfTurnModel,
    LanguageModel,
    Message,
    Prompt,
    SpeechRequest,
    SpeechWindow,
    Stop,
    Synthesizer,
    Transcriber,
)

_SILENCE = np.zeros(8_000, np.float32)
"""Half a second at 16 kHz."""


async def transcriber(engine: Transcriber, stop: Stop) -> AsyncIterator[object]:
    """Silence."""
    yield await engine.transcribe(SpeechWindow(_SILENCE), stop)


async def end_of_turn(engine: EndOfTurnModel, stop: Stop) -> AsyncIterator[object]:
    """Silence."""
    yield await engine.probability(_SILENCE, stop)


async def synthesizer(engine: Synthesizer, stop: Stop) -> AsyncIterator[object]:
    """A word, in the first voice."""
    request = SpeechRequest("Hello.", engine.voices[0].name)
    length = sum([len(chunk) async for chunk in engine.synthesize(request, stop)])
    yield length


async def language_model(engine: LanguageModel, stop: Stop) -> AsyncIterator[object]:
    """The first token of an answer."""
    prompt = Prompt((Message("user", "Hello."),), max_tokens=1)
    yield [delta async for delta in engine.generate(prompt, stop)]
