"""The rules for listening with Whisper: how long a window, and when its words are not believed.
Pure; it must not know which runtime decodes.
"""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np

from pipeline.engines.ports import SPEECH_HZ, Float32

FULL_WINDOW_S = 30
"""What Whisper was trained on."""

MOST_TOKENS = 224
"""Half of Whisper's context: as long as its text can get."""

MOST_PROMPT_TOKENS = 223
"""The other half, less the mark before it: of a longer prompt, the end."""

OPENINGS = {"hi": "नमस्ते, आप कैसे हैं? मैं ठीक हूँ।"}
"""As if said before, where nothing else was. Whisper base writes spoken Hindi in Urdu's script, or
as English, unless it has seen Devanagari."""

MEL_FRAMES_PER_S = 100

SHORTEST_S = 0.1
"""Less than this holds no word."""

INAUDIBLE_PEAK = 0.0005
"""-66 dBFS, 16 steps of 16-bit audio: digital silence and dither, to which Whisper says "you"."""

LOOP_RATIO = 2.4
DOUBTFUL_LOGPROB = -1.0
NO_SPEECH = 0.6
"""These three: Radford et al. 2022, section 4.5."""


@dataclass(frozen=True, slots=True)
class WhisperProfile:
    """What was measured of one model; the defaults are safe for any."""

    shortest_window_s: int = FULL_WINDOW_S
    """Below this the decoder repeats itself without end."""
    margin_s: int = 0
    """Silence that the window keeps after the speech."""
    sure_no_speech: float = 1.0
    """Past this probability of no speech, words are not believed however likely they look."""


PROFILES = {
    # 36 clips of 0.8 to 11 s, CTranslate2 int8: WER 1.6% at 9, 10 and 30 s, 5.0% at 8 s (loops).
    # No speech: at most 0.40 on those clips, clean and with pink noise at 10, 5 and 0 dB; 0.83 to
    # 0.99 on noise, hum, tones, clicks and thumps.
    "tiny.en": WhisperProfile(shortest_window_s=10, margin_s=1, sure_no_speech=0.7),
}


@dataclass(frozen=True, slots=True)
class Hearing:
    """One attempt at the words of a window."""

    text: str
    logprob: float
    """Mean per token, the end token included."""
    no_speech: float
    truncated: bool
    """The decoder was still going at its token limit."""
    tokens: tuple[int, ...] = ()
    temperature: float = 0.0
    language: str = "en"


def profile_of(model: str) -> WhisperProfile:
    """What is known of a model; the full window for one that nobody has measured."""
    return PROFILES.get(model, WhisperProfile())


def window_s(samples: int, profile: WhisperProfile) -> int:
    """The shortest safe window for so much 16 kHz audio, in whole seconds."""
    needed = math.ceil(samples / SPEECH_HZ + profile.margin_s)
    return min(FULL_WINDOW_S, max(profile.shortest_window_s, needed))


def token_limit(samples: int) -> int:
    """Tokens that nobody outruns: people speak up to about 7 a second in English."""
    return 12 + math.ceil(12 * samples / SPEECH_HZ)


def is_inaudible(audio: Float32) -> bool:
    """Whether there is nothing that could be heard, so that no model need be asked."""
    return len(audio) < SHORTEST_S * SPEECH_HZ or float(np.abs(audio).max()) < INAUDIBLE_PEAK


def is_silence(hearing: Hearing, profile: WhisperProfile) -> bool:
    """Whether the words are invented: nobody spoke."""
    return hearing.no_speech > profile.sure_no_speech or (
        hearing.no_speech > NO_SPEECH and hearing.logprob < DOUBTFUL_LOGPROB
    )


def is_doubtful(hearing: Hearing) -> bool:
    """Whether the words want a second attempt: endless, repetitive, or a guess."""
    return hearing.logprob < DOUBTFUL_LOGPROB or is_broken(hearing)


def is_broken(hearing: Hearing) -> bool:
    """Whether words are missing, or there in vain: it broke off, or went round in circles."""
    return (
        hearing.truncated
        or _compression_ratio(hearing.text) > LOOP_RATIO
        or ends_in_loop(hearing.text)
    )


def ends_in_loop(text: str) -> bool:
    """Whether a text ends by saying the same again: three words or more twice, fewer thrice.

    People do say "no, no, no", so this calls for a second look, not for a verdict.
    """
    words = [word.strip(".,!?-").lower() for word in text.split()]
    for period in range(1, len(words) // 2 + 1):
        times = 2 if period >= 3 else 3
        tail = words[-period * times :]
        if len(tail) == period * times and tail == tail[:period] * times:
            return True
    return False


def best(hearings: list[Hearing]) -> Hearing:
    """The likeliest of several attempts, those that end before those that go on and on."""
    return max(hearings, key=lambda h: (not (h.truncated or ends_in_loop(h.text)), h.logprob))


def _compression_ratio(text: str) -> float:
    encoded = text.encode()
    return len(encoded) / len(zlib.compress(encoded))
