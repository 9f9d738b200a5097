"""The names that OpenAI's clients know, in terms of what is here. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping

SPEECH_MODELS = ("tts-1", "tts-1-hd", "gpt-4o-mini-tts", "gpt-4o-mini-tts-2025-12-15")
TRANSCRIPTION_MODELS = (
    "whisper-1",
    "gpt-4o-transcribe",
    "gpt-4o-mini-transcribe",
    "gpt-4o-mini-transcribe-2025-12-15",
)

VOICES: Mapping[str, str] = {
    "alloy": "af_alloy",
    "ash": "am_michael",
    "ballad": "bm_george",
    "cedar": "am_fenrir",
    "coral": "af_bella",
    "echo": "am_echo",
    "fable": "bm_fable",
    "marin": "af_heart",
    "nova": "af_nova",
    "onyx": "am_onyx",
    "sage": "af_sarah",
    "shimmer": "af_sky",
    "verse": "am_puck",
}
"""OpenAI's voices and the ones of Kokoro's that stand for them: its namesakes where it has them,
else one of about the same pitch."""


def stands_for(name: str, voices: Collection[str], default: str) -> str | None:
    """The voice that a name means here; None when it means nothing. An engine without Kokoro's
    voices speaks for all of OpenAI's with its default."""
    if name in voices:
        return name
    if name in VOICES:
        return VOICES[name] if VOICES[name] in voices else default
    return None


def language_of(wanted: str, own: str, spoken: Collection[str]) -> str | None:
    """The language that is meant ("en": the voice's own English, else American; "fr": "fr-fr"), of
    those that are spoken here; None when there is none such."""
    tag = wanted.lower().replace("_", "-")
    known = [own, *sorted(spoken, key=lambda one: (one != "en-us", one))]
    if tag in known:
        return tag
    return next((one for one in known if one.split("-")[0] == tag), None)
