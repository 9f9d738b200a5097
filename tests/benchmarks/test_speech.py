"""What the speech benchmark reads off an answer, and what it holds the server against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from benchmarks.bare import clauses
from benchmarks.speech import RATE_HZ, ROW, Answer, off, queued, untracked
from pipeline.config import ScriptConfig
from pipeline.engines.ports import SpeechRequest, Stop
from pipeline.engines.scripted import ScriptedSynthesizer
from pipeline.pool import TTS, ResourcePool
from pipeline.reading import Reading
from pipeline.voicing import VoiceChoice

SECOND = 2 * RATE_HZ
PEERS = Path(__file__).parents[2] / "benchmarks" / "peers"


def test_playback_stands_still_when_all_that_has_come_is_over() -> None:
    came = [(0.5, SECOND), (1.5, SECOND), (3.0, SECOND), (3.1, SECOND), (5.25, SECOND)]
    answer = Answer("", came=came)
    assert answer.gaps_s == [(2.0, 0.5), (4.0, pytest.approx(0.25))]
    assert answer.gap_s == pytest.approx(0.75)


def test_what_comes_in_time_leaves_no_gap() -> None:
    assert Answer("", came=[(2.0, SECOND), (2.9, SECOND), (3.0, SECOND)]).gaps_s == []


def test_the_last_of_several_is_held_against_the_work_before_it() -> None:
    answers = [Answer("", came=[(ttfa_s, SECOND)]) for ttfa_s in (0.3, 1.2, 0.6, 0.9)]
    assert queued(answers, first_s=0.3, instances=1) == pytest.approx(1.0)
    assert queued(answers, first_s=0.3, instances=2) == pytest.approx(2.0)


def test_lengths_are_held_against_the_same_text_alone() -> None:
    def answer(text: str, seconds: float) -> Answer:
        return Answer(text, pcm=bytearray(round(seconds * SECOND)))

    alone = [answer("a", 1.0), answer("b", 2.0), answer("c", 4.0)]
    assert off([answer("b", 2.0), answer("a", 1.0)], alone) == 0
    assert off([answer("c", 3.8), answer("a", 1.02)], alone) == pytest.approx(0.05)
    assert off([answer("b", 2.2)], alone) == pytest.approx(0.1)


def entry(name: str, **changed: Any) -> dict[str, Any]:
    """What the register shows of an answer of one second that is as it should be."""
    times = {"queue": 1.0, "ttfa": 400.0, "total": 900.0}
    return {"id": name, "outcome": "completed", "times_ms": times, "audio_s": 1.0, **changed}


def test_an_answer_that_the_register_lacks_or_has_otherwise_is_complained_of() -> None:
    answers = [Answer("", name, [(0.5, SECOND)], bytearray(SECOND)) for name in "abcdef"]
    register = [
        entry("a"),
        entry("b", outcome="failed"),
        entry("c", audio_s=0.9),
        entry("d", times_ms={"queue": 1.0, "ttfa": None, "total": 900.0}),
        entry("e", times_ms={"queue": 1.0, "ttfa": 600.0, "total": 900.0}),
    ]
    assert [each[0] for each in untracked(answers, register)] == list("bcdef")


class Nobody:
    def queued(self, seconds: float, position: int) -> None: ...

    def skip(self, start: int, end: int, text: str, reason: str) -> None: ...


@pytest.mark.parametrize("text", ROW)
async def test_bare_engines_are_asked_for_what_the_server_asks_for(text: str) -> None:
    asked: list[str] = []

    class Noting(ScriptedSynthesizer):
        def synthesize(self, request: SpeechRequest, stop: Stop):  # type: ignore[no-untyped-def]
            asked.append(request.text)
            return super().synthesize(request, stop)

    engine = Noting(ScriptConfig(tts_first_s=0.0, tts_rtf=0.0, tts_s_per_char=0.002))
    async with ResourcePool({TTS: [engine]}) as pool:
        voice, still = VoiceChoice("tone"), lambda: 0.0
        async for _ in Reading(text, "r", voice, pool, Nobody(), clock=still).pieces():
            pass
    assert clauses(text) == asked


def test_the_peers_needs_are_pinned() -> None:
    lines = (PEERS / "fastkokoro" / "requirements.txt").read_text().splitlines()
    needs = [line for line in lines if line and not line.startswith("#")]
    assert needs[0].startswith("fastkokoro[cpu]==")
    assert all(need.count("==") == 1 for need in needs)
