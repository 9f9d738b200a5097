"""One clause through a leased engine to audio that can be played: the one way there is.

Replies (`speaking`) and texts read over HTTP (`reading`) both go it; who waits for what, and where
the audio goes, is theirs.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace

import numpy as np

from .engines.ports import Float32, SpeechRequest, Stop, Synthesizer, TimedSpeech, TimesWords
from .errors import TtsFailed
from .pool import Slot
from .resampling import Resampler
from .seams import ClauseShaper, pause_s

REPLY_HZ = 24_000
"""The rate of all audio that is made; engines of another rate are resampled."""
LONGEST_S, LONGEST_S_PER_CHARACTER = 20.0, 1.0
"""A clause of so much audio is no speech: the voice is stuck. A long number, spoken digit by digit,
takes some 0.5 s a character."""
MOST_S = 240.0
"""However slow the speed: 12 MB."""


@dataclass(frozen=True, slots=True)
class VoiceChoice:
    """Whose voice something is spoken in."""

    voice: str
    speed: float = 1.0
    language: str | None = None

    def request(self, speech: str) -> SpeechRequest:
        """What an engine is asked for, to say this."""
        return SpeechRequest(speech, self.voice, self.speed, self.language)


async def voiced(
    slot: Slot[Synthesizer],
    request: SpeechRequest,
    opening_s: float = 0.0,
    words: list[int] | None = None,
) -> AsyncGenerator[Float32]:
    """A clause's audio as it is made, at `REPLY_HZ`, pieces of shape (n,): `opening_s` of silence,
    the words with their edges shaped, and the pause that belongs after them.

    An engine that chooses is told when the slot was due. `words` is filled at the end with where
    each of them begins in this audio, and where the last one ends, if the engine knows. Raises what
    the engine raises, and `TtsFailed` for what cannot be played.
    """
    request = replace(request, due=slot.due)
    engine_hz = slot.engine.rate_hz
    resampler = Resampler(engine_hz, REPLY_HZ)
    shaper = ClauseShaper(REPLY_HZ)
    left = round(_longest_s(request) * engine_hz)
    chunks = slot.stream(
        lambda engine, stop: timed(engine, request, stop),
        lambda speech: len(speech.audio) / engine_hz,
    )
    before, places = opening_s, tuple[int, ...]()
    async with aclosing(chunks):  # type: ignore[type-var]
        async for speech in chunks:
            chunk, places = speech.audio, speech.words
            left -= len(chunk)
            if left < 0:
                raise TtsFailed("the voice did not come to an end")
            if not np.isfinite(chunk).all():
                raise TtsFailed("the voice made a sound that cannot be played")
            yield np.concatenate((silence(opening_s), shaper.feed(resampler.feed(chunk))))
            opening_s = 0.0
    if words is not None:
        shift = round(before * REPLY_HZ) - shaper.left_out
        words += [max(0, at * REPLY_HZ // engine_hz + shift) for at in places]
    yield np.concatenate(
        (shaper.feed(resampler.flush()), shaper.finish(), silence(pause_s(request.text)))
    )


async def timed(
    engine: Synthesizer, request: SpeechRequest, stop: Stop
) -> AsyncGenerator[TimedSpeech]:
    """The engine's chunks, with the times of the words where it knows them."""
    if isinstance(engine, TimesWords):
        async with aclosing(engine.synthesize_timed(request, stop)) as timed:  # type: ignore[type-var]
            async for speech in timed:
                yield speech
        return
    async with aclosing(engine.synthesize(request, stop)) as chunks:  # type: ignore[type-var]
        async for chunk in chunks:
            yield TimedSpeech(chunk)


def silence(seconds: float) -> Float32:
    """So much of it at `REPLY_HZ`."""
    return np.zeros(round(seconds * REPLY_HZ), np.float32)


def _longest_s(request: SpeechRequest) -> float:
    return min(MOST_S, (LONGEST_S + LONGEST_S_PER_CHARACTER * len(request.text)) / request.speed)
