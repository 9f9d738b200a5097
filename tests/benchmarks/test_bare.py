"""Engines without a server: who of them voices what, and what is counted of it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from benchmarks.bare import Bare, clauses
from pipeline.engines.ports import Float32, SpeechRequest, Stop
from pipeline.engines.scripted import ScriptedSynthesizer

TEXTS = ("One, two and three of them, and four.", "Five.")


class Noting(ScriptedSynthesizer):
    def __init__(self) -> None:
        super().__init__()
        self.said: list[str] = []

    async def synthesize(self, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        self.said.append(request.text)
        async for piece in super().synthesize(request, stop):
            yield piece


async def test_those_that_are_chosen_share_all_clauses_and_the_others_have_none() -> None:
    engines = [Noting(), Noting(), Noting()]
    everything = sorted(clause for text in TEXTS for clause in clauses(text))
    chosen = Bare(engines, "tone").only(0, 2)
    await chosen.all_s(TEXTS)
    assert sorted(engines[0].said + engines[2].said) == everything
    assert engines[0].said
    assert engines[2].said
    assert not engines[1].said


async def test_what_they_made_is_counted_in_seconds() -> None:
    engine = Noting()
    bare = Bare([engine], "tone")
    await bare.first_s(TEXTS[0])
    (first,) = engine.said
    pieces = [piece async for piece in engine.synthesize(SpeechRequest(first, "tone"), Stop())]
    assert bare.made_s == pytest.approx(sum(map(len, pieces)) / engine.rate_hz)
