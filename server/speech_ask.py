"""What a request for speech asks for: its JSON, checked, in terms of what is here. Pure.

Every error names the parameter that it is about.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from pipeline.blends import Blend, read_blend
from pipeline.errors import BadMessage, NotFound
from pipeline.voicing import VoiceChoice
from server.encoding import Format
from server.names import language_of, stands_for
from session.catalogue import Catalogue

SLOWEST, FASTEST = 0.25, 4.0


@dataclass(frozen=True, slots=True)
class SpeechAsk:
    """A request for speech that can be fulfilled."""

    text: str
    voice: VoiceChoice
    format: Format = "mp3"
    stream: bool = True
    """Send audio as it is made; else one body, with its length."""
    events: bool = False
    """As server-sent events."""


@dataclass(frozen=True, slots=True)
class Offer:
    """What can be asked for."""

    catalogue: Catalogue
    models: frozenset[str]
    blends: bool
    """Whether voices can be mixed."""
    most_characters: int

    @property
    def most_bytes(self) -> int:
        """Of a body: JSON may write a character as two escapes of six bytes each."""
        return 12 * self.most_characters + 16_384


class _CustomVoice(msgspec.Struct):
    id: str


class _Body(msgspec.Struct):
    input: str | None = None
    text: str | None = None
    voice: str | _CustomVoice | None = None
    model: str | None = None
    speed: Annotated[float, msgspec.Meta(ge=SLOWEST, le=FASTEST)] | None = None
    language: str | None = None
    response_format: Format | None = None
    stream: bool | None = None
    stream_format: Literal["audio", "sse"] | None = None


def read_ask(body: bytes, offer: Offer) -> SpeechAsk:
    """Read and check a body. Raises `BadMessage`, and `NotFound` for a voice or a model."""
    asked = _decode(body)
    text = asked.input if asked.input is not None else asked.text
    if text is None:
        raise BadMessage("`input` is missing: the text to be spoken", param="input")
    if len(text) > offer.most_characters:
        raise BadMessage(
            f"the text has {len(text)} characters; at most {offer.most_characters} are read",
            param="input",
        )
    if not text.strip():
        raise BadMessage("the text is empty", param="input")
    if asked.model is not None and asked.model not in offer.models:
        known = ", ".join(sorted(offer.models))
        raise NotFound(f"there is no model {asked.model[:80]!r}; there are {known}", param="model")
    events = asked.stream_format == "sse"
    if events and asked.stream is False:
        raise BadMessage("`stream_format` sse is a stream: leave `stream` out", param="stream")
    return SpeechAsk(
        text,
        _voice(asked, offer),
        format=asked.response_format or "mp3",
        stream=asked.stream is not False,
        events=events,
    )


def _decode(body: bytes) -> _Body:
    try:
        return msgspec.json.decode(body, type=_Body)
    except msgspec.ValidationError as wrong:
        what, _, place = str(wrong).partition(" - at `$.")
        param = re.split(r"\W", place)[0] or None
        raise BadMessage(
            f"{param or 'the body'}: {what[0].lower()}{what[1:]}", param=param
        ) from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise BadMessage(f"the body is not JSON: {wrong}") from None


def _voice(asked: _Body, offer: Offer) -> VoiceChoice:
    named = asked.voice.id if isinstance(asked.voice, _CustomVoice) else asked.voice
    catalogue = offer.catalogue
    blend = _blend(catalogue.default_voice if named is None else named, offer)
    voices = catalogue.voices
    language = None
    if asked.language is not None:
        language = language_of(asked.language, voices[blend.leader], set(voices.values()))
        if language is None:
            known = ", ".join(sorted(set(voices.values())))
            raise BadMessage(
                f"no voice here speaks {asked.language[:40]!r}; there are {known}",
                param="language",
            )
        if language == voices[blend.leader]:
            language = None
    return VoiceChoice(str(blend), asked.speed or 1.0, language)


def _blend(named: str, offer: Offer) -> Blend:
    try:
        blend = read_blend(named)
    except ValueError as wrong:
        raise BadMessage(f"voice: {wrong}", param="voice") from None
    catalogue = offer.catalogue
    shares: dict[str, float] = {}
    for name, share in blend.shares:
        voice = stands_for(name, catalogue.voices, catalogue.default_voice)
        if voice is None:
            some = ", ".join(list(catalogue.voices)[:8])
            raise NotFound(
                f"there is no voice {name[:80]!r}; some there are: {some} (GET /v1/audio/voices)",
                param="voice",
            )
        shares[voice] = shares.get(voice, 0.0) + share
    if len(shares) > 1 and not offer.blends:
        raise BadMessage("this server's voice cannot be blended", param="voice")
    return Blend(tuple(shares.items()))
