"""In which passes Whisper listens to a window, and which of them is believed. Pure: it asks for a
pass and is given what was heard; who runs it, alone or in a batch, is not known here.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

from pipeline.engines import whisper_rules as rules
from pipeline.engines.ports import Float32, SpeechWindow, Stop

SECOND_TEMPERATURE = 0.4
"""For words that the greedy decoder could not settle on the full window either."""

ANY_LANGUAGE = "<|any|>"
"""In a prompt: whoever runs the first pass is to find out, and to say so in the hearing."""


@dataclass(frozen=True, slots=True, eq=False)
class Pass:
    """One look at a window: its audio padded to so many seconds, and how words are drawn."""

    audio: Float32
    window_s: int
    prompt: tuple[str, ...]
    token_limit: int
    temperature: float


@dataclass(frozen=True, slots=True)
class Chosen:
    """What is believed: a hearing (None: nobody spoke), and the window that it was heard on."""

    hearing: rules.Hearing | None
    no_speech: float
    language: str
    window_s: int


def listen(
    window: SpeechWindow, prompt: tuple[str, ...], profile: rules.WhisperProfile, stop: Stop
) -> Generator[Pass, rules.Hearing, Chosen]:
    """Greedily on the short window; in doubt on the full one; then at a temperature.

    A quick one ends after the first: the others take five times as long.
    """
    audio, temperature = window.audio, window.temperature
    limit = rules.token_limit(len(audio))
    window_s = short_s = rules.window_s(len(audio), profile)
    heard = [(yield Pass(audio, short_s, prompt, limit, temperature))]
    language = heard[0].language
    prompt = tuple(f"<|{language}|>" if token == ANY_LANGUAGE else token for token in prompt)
    if not (window.quick or rules.is_silence(heard[0], profile)):
        if rules.is_doubtful(heard[0]) and short_s < rules.FULL_WINDOW_S and not stop.is_set:
            window_s = rules.FULL_WINDOW_S
            heard.append((yield Pass(audio, window_s, prompt, 2 * limit, temperature)))
        if rules.is_doubtful(heard[-1]) and not stop.is_set:
            second = max(temperature, SECOND_TEMPERATURE)
            heard.append((yield Pass(audio, window_s, prompt, 2 * limit, second)))
    certain = len(heard) == 1 or not rules.is_doubtful(heard[-1])
    chosen = heard[-1] if certain else rules.best(heard)
    silent = rules.is_silence(chosen, profile)
    heard_on_s = short_s if chosen is heard[0] else window_s
    return Chosen(None if silent else chosen, chosen.no_speech, language, heard_on_s)
