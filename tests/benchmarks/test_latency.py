"""What counts as a latency: an answer that never came is no fast one."""

from __future__ import annotations

import json
import statistics
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from benchmarks.client import Reply, Turn
from benchmarks.crowd import Calls
from benchmarks.latency import Quantiles, summary
from benchmarks.playback import Playback


def taken(after_s: float | None, *, cut_off: bool = False) -> Turn:
    """A turn whose reply was heard so long after it; None: it had no sound."""
    playback = Playback(24_000)
    if after_s is not None:
        playback.add(np.full(2_400, 8_000, np.int16), 10.0 + after_s)
    return Turn(10.0, Reply(1, 1, playback), (), (), cut_off)


FAST = [taken(0.5)] * 20


@given(st.lists(st.floats(1, 5_000), min_size=2, max_size=60))
def test_quantiles_are_those_of_the_field(values: list[float]) -> None:
    cuts = statistics.quantiles(values, n=20, method="inclusive")
    quantiles = Quantiles.of(values)
    assert quantiles.p50 == pytest.approx(statistics.median(values), abs=0.06)
    assert quantiles.p95 == pytest.approx(cuts[18], abs=0.06)


@pytest.mark.parametrize("never", [None, taken(None)])
def test_a_turn_without_an_answer_takes_for_ever(never: Turn | None) -> None:
    for missing, p95 in ((0, 500.0), (1, 500.0), (2, inf)):
        turns = (*FAST, *[never] * missing)
        crowd, (alone, quantiles) = Calls(turns), summary(turns)
        assert crowd.quantiles == quantiles["voice_to_voice"] == Quantiles(500.0, p95)
        for said in (crowd.summary(), alone):
            assert (said["answered"], said["no_answer"], said["failures"]) == (20, missing, missing)
            written = {"p50": 500.0, "p95": None if p95 == inf else p95}
            assert said["voice_to_voice_ms"] == written
            json.dumps(said, allow_nan=False)


def test_a_cut_off_has_no_latency_and_is_a_failure() -> None:
    turns = (*FAST, taken(-0.3, cut_off=True))
    for said in (Calls(turns).summary(), summary(turns)[0]):
        assert (said["turns"], said["answered"], said["no_answer"]) == (21, 20, 0)
        assert (said["cut_off"], said["failures"]) == (1, 1)
        assert said["voice_to_voice_ms"] == {"p50": 500.0, "p95": 500.0}
