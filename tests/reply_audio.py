"""A reply as it would be sent, and what a careful ear would measure on its samples."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from pipeline.clause_policy import ClausePolicy
from pipeline.clauses import Clause, ClauseCutter
from pipeline.engines.ports import Float32, Synthesizer
from pipeline.pool import TTS, ResourcePool
from pipeline.signals import Draft, DraftVoiced, Event
from pipeline.speaking import Speaking
from pipeline.voicing import REPLY_HZ, VoiceChoice

QUIET = 10 ** (-50 / 20)
"""-50 dBFS: softer samples are silence."""
BLOCK = REPLY_HZ // 100


@dataclass(frozen=True, slots=True)
class Seam:
    """The silence between two clauses: from the last sample heard to the next one."""

    before: str
    after: str
    ms: float


@dataclass(frozen=True, slots=True)
class SpokenReply:
    """What the client gets for a text: samples at 24 kHz, and which of them belong to a clause."""

    voice: str
    clauses: tuple[tuple[str, Float32], ...]

    @property
    def audio(self) -> Float32:
        return np.concatenate([audio for _, audio in self.clauses])

    @property
    def lead_ms(self) -> float:
        """Silence before the first sample that is heard."""
        return 1000 * int(heard(self.audio)[0]) / REPLY_HZ

    def seams(self) -> Iterator[Seam]:
        for (before, one), (after, other) in pairwise(self.clauses):
            silent = len(one) - 1 - heard(one)[-1] + heard(other)[0]
            yield Seam(before, after, 1000 * int(silent) / REPLY_HZ)

    def loudness_db(self) -> list[float]:
        """RMS of the voiced 10 ms of each clause, in dBFS."""
        return [loudness_db(audio) for _, audio in self.clauses]


def heard(audio: Float32) -> NDArray[np.intp]:
    """Where the audio is louder than silence."""
    return np.flatnonzero(np.abs(audio) > QUIET)


def loudness_db(audio: Float32) -> float:
    blocks = audio[: len(audio) // BLOCK * BLOCK].reshape(-1, BLOCK)
    power = (blocks.astype(np.float64) ** 2).mean(axis=1)
    return float(10 * np.log10(power[power > QUIET**2].mean()))


def largest_step_at_silence(audio: Float32) -> float:
    """The loudest sample that stands beside 2 ms of digital silence; before and after is silence.

    A sound that is cut off, or begins at once, is a click.
    """
    run = REPLY_HZ // 500
    padded = np.concatenate((np.zeros(run + 1), audio, np.zeros(run + 1)))
    silent = np.flatnonzero(sliding_window_view(padded == 0, run).all(axis=1))
    beside = np.concatenate((silent - 1, silent + run))
    inside = beside[(beside >= 0) & (beside < len(padded))]
    return float(np.abs(padded[inside]).max())


async def spoken(engine: Synthesizer, text: str, voice: str, policy: ClausePolicy) -> SpokenReply:
    """Voice a text through the real stages: cut in clauses, leased from a pool, taken in order."""
    clauses: list[tuple[str, Float32]] = []

    async def post(event: Event) -> None:
        if isinstance(event, DraftVoiced) and event.end > event.start:
            pcm = speaking.take(event.start, event.end)
            audio = (np.frombuffer(pcm, "<i2") / 32_768).astype(np.float32)
            clauses.append((text[event.text_start : event.text_end], audio))

    async with ResourcePool({TTS: [engine]}) as pool:
        speaking = Speaking(Draft(1, 1, text), "anna", VoiceChoice(voice), pool, post)
        await speaking.run(clauses_of(text, policy))
    assert not speaking.skipped
    return SpokenReply(voice, tuple(clauses))


async def clauses_of(text: str, policy: ClausePolicy) -> AsyncIterator[Clause]:
    """The text as it is cut when all of it comes at once."""
    cutter = ClauseCutter(policy)
    for clause in [*cutter.feed(text), *cutter.finish()]:
        yield clause
