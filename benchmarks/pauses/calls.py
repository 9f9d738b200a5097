"""Takes the turns of an utterance with the real turn machine, in virtual time.

A frame is heard when its last sample has arrived; the answer to a look, and a draft's first audio,
come after stated delays. Nothing else takes time.
"""

from __future__ import annotations

import heapq
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count
from unittest import mock

from benchmarks.pauses.hearing import Ear
from pipeline import endpointing
from pipeline.endpointing import Pace
from pipeline.events import UserTranscript
from pipeline.signals import (
    Draft,
    DraftAudio,
    DraftClause,
    DraftMade,
    DraftText,
    DraftVoiced,
    Effect,
    Event,
    Heard,
    Look,
    Looked,
    Send,
    Voted,
)
from pipeline.turn import Phase, TurnConfig, TurnMachine
from pipeline.utterance import FRAME, SPEECH_HZ

Policy = Callable[[str, float | None, Pace], float]
"""The signature of `pipeline.endpointing.patience_s`."""

REPLY = "All right."
REPLY_S = 1.0


@dataclass(frozen=True, slots=True)
class Delays:
    """What the engines take."""

    words_s: float = 0.08
    """From the request to the words (tiny.en on 2 cores)."""
    vote_s: float = 0.03
    """From the words to Smart Turn's vote."""
    reply_s: float = 0.30
    """From the words to the reply's first audio."""


@dataclass(frozen=True, slots=True)
class Call:
    """What the machine did while one utterance was spoken, in seconds of its audio."""

    commits_s: tuple[float, ...]
    """When a turn was taken for over; also where it was taken back."""
    replies_s: tuple[float, ...]
    """When the first audio of a reply left."""


@contextmanager
def deciding(policy: Policy) -> Iterator[None]:
    """Let the turn machine wait as `policy` says, wherever it asks."""
    ours = endpointing.patience_s
    users = [
        module
        for name, module in sys.modules.items()
        if name.startswith("pipeline.")
        and module is not endpointing
        and getattr(module, "patience_s", None) is ours
    ]
    with ExitStack() as stack:
        for module in users:
            stack.enter_context(mock.patch.object(module, "patience_s", policy))
        yield


async def take_call(ear: Ear, delays: Delays, config: TurnConfig | None = None) -> Call:
    """Step a new machine through everything that `ear` hears."""
    machine = TurnMachine(config or TurnConfig())
    order = count()
    agenda: list[tuple[float, int, Event]] = []
    frames = zip(ear.probabilities, ear.levels, strict=True)
    for number, (probability, level_dbfs) in enumerate(frames, start=1):
        arrived = number * FRAME / SPEECH_HZ
        heard = Heard(probability, number * FRAME, arrived, level_dbfs)
        agenda.append((arrived, next(order), heard))
    commits: list[float] = []
    replies: dict[int, float] = {}
    now = 0.0
    while agenda:
        committed = machine.phase is Phase.COMMITTED
        wake = machine.next_wake(now)
        if wake is not None and now < wake < agenda[0][0]:
            now = wake
            effects = machine.step(None, now)
        else:
            now, _, event = heapq.heappop(agenda)
            effects = machine.step(event, now)
        # A reply that lay ready leaves in the same step: its turn is seen only by its transcript.
        if not committed and (machine.phase is Phase.COMMITTED or any(map(_final, effects))):
            commits.append(now)
        for effect in effects:
            for after_s, answer in await _follow(effect, ear, delays):
                heapq.heappush(agenda, (now + after_s, next(order), answer))
            if isinstance(effect, Send):
                replies.setdefault(effect.reply, now)
    return Call(tuple(commits), tuple(replies.values()))


def _final(effect: Effect) -> bool:
    return isinstance(effect, UserTranscript) and effect.final and not effect.discarded


async def _follow(effect: Effect, ear: Ear, delays: Delays) -> list[tuple[float, Event]]:
    """What the stages would post for an effect, and after how long."""
    match effect:
        case Look(key, segment, attempt, start, end, final):
            looked = Looked(key, segment, attempt, await ear.words(start, end))
            answers: list[tuple[float, Event]] = [(delays.words_s, looked)]
            if final:
                voted = Voted(key, segment, attempt, await ear.vote(start, end))
                answers.append((delays.words_s + delays.vote_s, voted))
            return answers
        case Draft(draft):
            samples = round(REPLY_S * TurnConfig().rate_hz)
            made: list[Event] = [
                DraftText(draft, REPLY),
                DraftClause(draft),
                DraftAudio(draft, samples),
                DraftVoiced(draft, 0, len(REPLY), 0, samples),
                DraftMade(draft),
            ]
            return [(delays.reply_s, news) for news in made]
    return []
