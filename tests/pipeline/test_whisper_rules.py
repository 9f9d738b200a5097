"""When Whisper's words are believed, and how long a window it is given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.ports import SPEECH_HZ
from pipeline.engines.whisper_rules import (
    Hearing,
    WhisperProfile,
    best,
    ends_in_loop,
    is_doubtful,
    is_inaudible,
    is_silence,
    profile_of,
    window_s,
)

FINE = Hearing("What time is it?", logprob=-0.2, no_speech=0.05, truncated=False)
TINY = profile_of("tiny.en")


@given(st.integers(0, 30 * SPEECH_HZ), st.integers(1, 30), st.integers(0, 5))
def test_a_window_holds_all_the_speech_and_is_never_past_whispers(
    samples: int, shortest_s: int, margin_s: int
) -> None:
    seconds = window_s(samples, WhisperProfile(shortest_s, margin_s))
    assert samples <= seconds * SPEECH_HZ
    assert shortest_s <= seconds <= 30


def test_a_model_nobody_measured_gets_the_full_window() -> None:
    assert window_s(SPEECH_HZ, profile_of("large-v9")) == 30


def test_a_short_clip_gets_the_shortest_window_that_was_measured() -> None:
    assert window_s(SPEECH_HZ, TINY) == 10
    assert window_s(11 * SPEECH_HZ, TINY) == 12


@pytest.mark.parametrize(
    "text",
    [
        "Stop. Stop. Stop.",
        "in being modern, in being modern,",
        "That is not what I asked. That is not what I asked.",
        "Yes, the book of the, the book of the",
    ],
)
def test_a_stammer_is_a_loop(text: str) -> None:
    assert ends_in_loop(text)
    assert is_doubtful(replace(FINE, text=text))


@pytest.mark.parametrize(
    "text",
    ["", "Stop.", "No, no.", "Ask what you can do for your country.", "Thank you. Thank you."],
)
def test_ordinary_emphasis_is_not(text: str) -> None:
    assert not ends_in_loop(text)


def test_words_that_are_sure_and_end_are_believed() -> None:
    assert not is_doubtful(FINE)
    assert not is_silence(FINE, TINY)


def test_endless_or_unlikely_words_are_doubted() -> None:
    assert is_doubtful(replace(FINE, truncated=True))
    assert is_doubtful(replace(FINE, logprob=-1.1))


def test_words_that_nobody_spoke_are_silence() -> None:
    you = Hearing("you", logprob=-0.6, no_speech=0.95, truncated=False)
    assert is_silence(you, TINY)
    assert not is_silence(you, WhisperProfile())
    assert is_silence(replace(you, logprob=-1.2), WhisperProfile())


def test_of_doubtful_hearings_one_that_ends_wins() -> None:
    looping = Hearing("go on " * 9, logprob=-0.1, no_speech=0.1, truncated=True)
    guess = Hearing("Okay, go on.", logprob=-1.2, no_speech=0.1, truncated=False)
    worse = replace(guess, text="Oak egg own.", logprob=-1.6)
    assert best([looping, worse, guess]) is guess


def test_nothing_is_heard_in_dither_or_in_a_click_of_50_ms() -> None:
    dither = np.random.default_rng(1).uniform(-1, 1, SPEECH_HZ) / 32_768
    assert is_inaudible(dither.astype(np.float32))
    assert is_inaudible(np.ones(SPEECH_HZ // 20, np.float32))
    assert not is_inaudible(np.full(SPEECH_HZ, 0.01).astype(np.float32))
