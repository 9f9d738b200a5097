"""The curve of cut-offs against wait: what is run, the tables, and what they mean."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.pauses.calls import Delays
from benchmarks.pauses.contest import Contender, run
from benchmarks.pauses.figure import curve_svg
from benchmarks.pauses.policies import ours, silence_alone, three_tiers
from benchmarks.pauses.sentences import PAUSE_MS, TAKES, VOICES, Half
from benchmarks.pauses.tally import Result, cut_at, result
from pipeline.endpointing import PACE_FACTOR

SILENCES_S = (0.256, 0.32, 0.384, 0.448, 0.512, 0.576, 0.64, 0.736)
SCALES = (PACE_FACTOR["quick"], 1.0, 1.25, 1.375, 1.6, PACE_FACTOR["patient"], 2.1, 2.5)
"""Waits are longer than at `pace: normal` by these factors."""
REPLIES_S = (0.2, 0.4)
"""Other delays of a reply than the default one."""
WAITS_MS = (300, 350, 400, 450, 500, 550, 600)

METHOD = """Sentences of our own, complete at their end (sentences.txt), each said by {takes} of
{voices} Kokoro voices; half of the sentences and of the voices are for tuning, the others are
reported. Speech is made in one piece and cut where the person pauses: {shortest} to {longest} ms,
uniform, of noise at -60 dBFS. Silero, Whisper tiny.en and Smart Turn are the real ones, and so is
the turn machine, in virtual time: words {words_s:g} s after they are asked for, the vote
{vote_s:g} s after them, a reply's first audio {reply_s:g} s after its words.
Committed: the turn was taken for over in the pause, even if that was taken back. Talked into: reply
audio left before the voice went on. Wait: from Silero's first frame of silence at an utterance's
end to the commit; reply: from its last sample of voice to the reply's first audio."""

AFTERTHOUGHTS = """Afterthoughts (afterthoughts.txt): what was said sounds whole, and goes on. Words
and voice are like an end's: what is cut here is the price of any early commit."""


def main(half: Half = "report", figure: Path | None = None) -> dict[str, object]:
    """Run everything and print it; returns what `--json` writes."""
    delays = Delays()
    method = METHOD.format(
        takes=TAKES,
        voices=len(VOICES[half]),
        shortest=PAUSE_MS[0],
        longest=PAUSE_MS[1],
        **asdict(delays),
    )
    print(f"Pauses inside a turn, {half} half\n{method}\n")
    contenders = _contenders(delays)
    outcomes = asyncio.run(run(contenders, half, "sentences"))
    sentences = {name: result(name, ones) for name, ones in outcomes.items()}
    _print_table(sentences)
    silence = [sentences[_silence(wait_s)] for wait_s in SILENCES_S]
    curve = [sentences[_ours(scale)] for scale in SCALES]
    at_waits = _print_curve(silence, curve)
    _print_kinds(sentences)

    print(f"\n{AFTERTHOUGHTS}\n")
    late = asyncio.run(run(contenders, half, "afterthoughts"))
    afterthoughts = {name: result(name, ones) for name, ones in late.items()}
    _print_table(afterthoughts)
    print("\nBoth lists together\n")
    both = {name: result(name, [*ones, *late[name]]) for name, ones in outcomes.items()}
    _print_table(both)
    if figure is not None:
        figure.parent.mkdir(parents=True, exist_ok=True)
        svg = curve_svg(silence, curve, sentences["three tiers"], sentences[_ours(1.0)])
        figure.write_text(svg, encoding="utf-8")
    return {
        "half": half,
        "delays": asdict(delays),
        "sentences": _as_json(sentences),
        "afterthoughts": _as_json(afterthoughts),
        "both": _as_json(both),
        "committed_at_median_wait_ms": at_waits,
    }


def _contenders(delays: Delays) -> list[Contender]:
    """The policies as they are named in the tables."""
    return [
        *(Contender(_silence(s), silence_alone(s), delays) for s in SILENCES_S),
        Contender("three tiers", three_tiers, delays),
        *(Contender(_ours(scale), ours(scale), delays) for scale in SCALES),
        *(
            Contender(
                f"pace normal, reply {s:g} s", ours(), Delays(delays.words_s, delays.vote_s, s)
            )
            for s in REPLIES_S
        ),
    ]


def _silence(wait_s: float) -> str:
    return f"silence {wait_s * 1000:.0f} ms"


def _ours(scale: float) -> str:
    paces = {factor: f"pace {pace}" for pace, factor in PACE_FACTOR.items()}
    return paces.get(scale, f"waits x {scale:g}")


def _print_table(results: Mapping[str, Result]) -> None:
    one = next(iter(results.values()))
    print(
        f"  {one.pauses} pauses, {one.ends} ends             share of the pauses        ms, p50/p95"
    )
    print("  policy                      committed talked into         wait        reply")
    for name, r in results.items():
        print(
            f"  {name:26} {r.committed:9.1%} {r.talked_into:11.1%}"
            f"   {r.wait_ms[0]:4}/{r.wait_ms[1]:4}   {r.reply_ms[0]:4}/{r.reply_ms[1]:4}"
        )
    ours_now = results[_ours(1.0)]
    print(
        f"  At pace normal {ours_now.elsewhere} commits fell into gaps that the voices made by"
        f" themselves, and {ours_now.missed} ends were missed."
    )


def _print_curve(silence: Sequence[Result], curve: Sequence[Result]) -> dict[str, list[float]]:
    """Committed at the same median wait; returns [silence alone, ours] by wait."""
    print("\n  Committed at the same median wait (straight lines between the points above)")
    print("  median wait   silence alone     ours   ours/silence")
    at_waits: dict[str, list[float]] = {}
    for wait_ms in WAITS_MS:
        alone, with_words = cut_at(silence, wait_ms), cut_at(curve, wait_ms)
        if alone is None or with_words is None:
            continue
        print(f"  {wait_ms:8} ms {alone:14.1%} {with_words:9.1%} {with_words / alone:10.2f}")
        at_waits[str(wait_ms)] = [round(alone, 4), round(with_words, 4)]
    return at_waits


def _print_kinds(results: Mapping[str, Result]) -> None:
    print("\n  By what stands before the pause: committed, talked into")
    for name in ("three tiers", _ours(1.0)):
        kinds = ", ".join(
            f"{kind} {committed} and {talked} of {many}"
            for kind, (many, committed, talked) in sorted(results[name].kinds.items())
        )
        print(f"  {name:26} {kinds}")


def _as_json(results: Mapping[str, Result]) -> list[dict[str, object]]:
    return [asdict(one) for one in results.values()]
