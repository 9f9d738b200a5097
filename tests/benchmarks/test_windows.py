"""The windows benchmark: what counts as a repetition, and what a row adds up to."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.wer import WordErrors
from benchmarks.windows import (
    MARGIN_S,
    WINDOWS_S,
    Row,
    generated,
    hear,
    is_repetition,
    recorded,
    sentences,
)
from pipeline.engines.whisper_rules import FULL_WINDOW_S, Hearing, profile_of


def hearing(text: str, *, logprob: float = -0.2, truncated: bool = False) -> Hearing:
    return Hearing(text, logprob, no_speech=0.0, truncated=truncated)


def test_saying_the_same_again_and_running_on_are_repetitions() -> None:
    assert is_repetition(hearing("I see it, I see it, I see it, I see it"))
    assert is_repetition(hearing("and so on and", truncated=True))


def test_a_guess_is_doubtful_but_no_repetition() -> None:
    assert not is_repetition(hearing("perhaps", logprob=-2.0))
    assert not is_repetition(hearing("Turn off the lights in the kitchen."))


def test_a_row_has_the_errors_of_recorded_and_generated_speech() -> None:
    row = Row(10, recorded=WordErrors(1, 10), generated=WordErrors(2, 20))
    assert row.errors == WordErrors(3, 30)
    assert "10.0%" in str(row)


def test_the_full_window_is_what_the_others_are_held_against() -> None:
    assert WINDOWS_S[-1] == FULL_WINDOW_S
    assert list(WINDOWS_S) == sorted(WINDOWS_S)


def test_there_are_enough_sentences_and_none_twice() -> None:
    texts = sentences()
    assert len(texts) == len(set(texts)) >= 60
    assert all(text[0].isupper() for text in texts)


def test_the_recorded_clips_are_at_the_recognisers_rate() -> None:
    for said in recorded():
        assert 1 < len(said.audio) / 16_000 < 12
        assert not said.generated


@pytest.mark.models
async def test_the_window_that_is_used_costs_at_most_two_points(models_dir: Path) -> None:
    used = profile_of("tiny.en")
    assert used.shortest_window_s < FULL_WINDOW_S
    assert used.margin_s == MARGIN_S  # as the benchmark has it
    said = [*recorded(), *await generated(models_dir, sentences()[3::30])]
    short = await hear(models_dir, "tiny.en", used.shortest_window_s, said)
    full = await hear(models_dir, "tiny.en", FULL_WINDOW_S, said)
    assert short.errors.words == full.errors.words > 80
    assert short.errors.rate - full.errors.rate <= 0.02
