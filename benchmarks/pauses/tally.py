"""Counts what came of the calls: pauses cut or talked into, and how long ends waited. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.pauses.calls import Call
from benchmarks.pauses.sentences import Kind
from benchmarks.pauses.speech import Spoken
from pipeline.edges import OFF, Onset
from pipeline.utterance import FRAME, SPEECH_HZ

NOTICED_S = 0.2
"""Voice that goes on is noticed a little later: a commit until then is the pause's."""


@dataclass(frozen=True, slots=True)
class Cut:
    """What became of one pause."""

    kind: Kind
    committed: bool
    """Taken for the end of the turn, even if that was taken back."""
    talked_into: bool
    """Reply audio left before the voice went on."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """One utterance under one policy."""

    cuts: tuple[Cut, ...]
    elsewhere: int
    """Commits before the end and in none of the pauses: at a gap that the voice made by itself."""
    wait_s: float | None
    """From the first frame of silence at the end to the commit; None: it never came."""
    after_voice_s: float | None
    """The same, from the last sample that was voiced."""
    reply_s: float | None
    """From the last voiced sample to the first audio of the reply."""


def outcome(spoken: Spoken, probabilities: Sequence[float], call: Call) -> Outcome:
    """What a call did to its utterance."""
    cuts = []
    in_pauses = 0
    for pause in spoken.pauses:
        start_s, end_s = pause.start / SPEECH_HZ, pause.end / SPEECH_HZ
        commits = [at for at in call.commits_s if start_s <= at < end_s + NOTICED_S]
        replies = [at for at in call.replies_s if start_s <= at < end_s]
        in_pauses += len(commits)
        cuts.append(Cut(pause.kind, bool(commits), bool(replies)))
    silence_s, voice_s = heard_end(probabilities) / SPEECH_HZ, spoken.voice_end / SPEECH_HZ
    commit = next((at for at in call.commits_s if at > silence_s), None)
    reply = next((at for at in call.replies_s if at > silence_s), None)
    return Outcome(
        tuple(cuts),
        sum(at <= silence_s for at in call.commits_s) - in_pauses,
        None if commit is None else commit - silence_s,
        None if commit is None else commit - voice_s,
        None if reply is None else reply - voice_s,
    )


def heard_end(probabilities: Sequence[float]) -> int:
    """The sample after the last voiced frame, by the turn machine's rules for voice."""
    end, speaking = 0, False
    onset = Onset()
    for number, probability in enumerate(probabilities, start=1):
        begins = onset.hear(probability, 0.0) > 0
        if speaking and probability < OFF:
            onset.forget()
        speaking = probability >= OFF if speaking else begins
        if speaking:
            end = number
    return end * FRAME


@dataclass(frozen=True, slots=True)
class Result:
    """All utterances under one policy: one point of the curve. Rates are shares of the pauses."""

    policy: str
    pauses: int
    committed: float
    talked_into: float
    elsewhere: int
    ends: int
    missed: int
    """Ends without a commit."""
    wait_ms: tuple[int, int]
    """Median and 95th percentile, as all pairs here."""
    after_voice_ms: tuple[int, int]
    reply_ms: tuple[int, int]
    kinds: dict[str, tuple[int, int, int]]
    """For each kind of pause: how many, committed, talked into."""


def result(policy: str, outcomes: Iterable[Outcome]) -> Result:
    """Add up."""
    outcomes = list(outcomes)
    cuts = [cut for one in outcomes for cut in one.cuts]
    kinds: dict[str, tuple[int, int, int]] = {}
    for cut in cuts:
        many, committed, talked = kinds.get(cut.kind, (0, 0, 0))
        kinds[cut.kind] = (many + 1, committed + cut.committed, talked + cut.talked_into)
    return Result(
        policy,
        len(cuts),
        sum(cut.committed for cut in cuts) / max(1, len(cuts)),
        sum(cut.talked_into for cut in cuts) / max(1, len(cuts)),
        sum(one.elsewhere for one in outcomes),
        len(outcomes),
        sum(one.wait_s is None for one in outcomes),
        _quantiles_ms(one.wait_s for one in outcomes),
        _quantiles_ms(one.after_voice_s for one in outcomes),
        _quantiles_ms(one.reply_s for one in outcomes),
        kinds,
    )


def _quantiles_ms(values_s: Iterable[float | None]) -> tuple[int, int]:
    known = sorted(value for value in values_s if value is not None)
    if len(known) < 2:
        return (round(1000 * sum(known)),) * 2
    cuts = statistics.quantiles(known, n=20, method="inclusive")
    return round(1000 * statistics.median(known)), round(1000 * cuts[18])


def cut_at(curve: Sequence[Result], wait_ms: float) -> float | None:
    """The share of pauses committed at a median wait, by straight lines between a curve's points.

    None outside of the curve.
    """
    points = sorted((one.wait_ms[0], one.committed) for one in curve)
    for (wait, rate), (next_wait, next_rate) in pairwise(points):
        if wait <= wait_ms <= next_wait:
            share = (wait_ms - wait) / (next_wait - wait) if next_wait > wait else 0.0
            return rate + share * (next_rate - rate)
    return None
