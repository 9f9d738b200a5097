"""Runs policies over one half of the set: an utterance is heard once, and decided by each."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.pauses.calls import Delays, Policy, deciding, take_call
from benchmarks.pauses.hearing import Engines, Listener
from benchmarks.pauses.sentences import Half, List, takes
from benchmarks.pauses.speech import Speaker
from benchmarks.pauses.tally import Outcome, outcome
from pipeline.models import default_models_dir


@dataclass(frozen=True, slots=True)
class Contender:
    """A policy, and what the engines take while it decides."""

    name: str
    policy: Policy
    delays: Delays


Outcomes = dict[str, list[Outcome]]
"""By contender."""


async def run(contenders: Sequence[Contender], half: Half, source: List) -> Outcomes:
    """Every contender over every take of a list's half. Minutes when nothing is on disk yet."""
    models_dir = Path(os.environ.get("ANTIPHON_MODELS_DIR") or default_models_dir())
    cache = default_models_dir().parent / "benchmarks" / "pauses"
    speaker, engines = Speaker(models_dir, cache / "speech"), Engines(models_dir)
    outcomes: Outcomes = {contender.name: [] for contender in contenders}
    said = takes(half, source)
    try:
        for number, take in enumerate(said, start=1):
            print(f"\r  {source}: utterance {number} of {len(said)}", end="", flush=True)
            spoken = speaker.speak(take)
            async with Listener(spoken, engines, cache / "hearing") as ear:
                for contender in contenders:
                    with deciding(contender.policy):
                        call = await take_call(ear, contender.delays)
                    outcomes[contender.name].append(outcome(spoken, ear.probabilities, call))
    finally:
        print("\r" + " " * 60 + "\r", end="")
        await engines.close()
    return outcomes
