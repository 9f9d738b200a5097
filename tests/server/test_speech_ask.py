"""What can be asked for over HTTP, and how a mistake is told."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import BadMessage, ClientError, NotFound
from pipeline.voicing import VoiceChoice
from server import names
from server.speech_ask import Offer, SpeechAsk, read_ask
from session.catalogue import Catalogue

KOKORO = Catalogue(
    {
        "af_alloy": "en-us", "af_bella": "en-us", "af_heart": "en-us", "bf_emma": "en-gb",
        "ff_siwis": "fr-fr", "pf_dora": "pt-br",
    },
    frozenset({"en"}),
    "af_heart",
)  # fmt: skip
OFFER = Offer(KOKORO, frozenset({"kokoro", *names.SPEECH_MODELS}), True, 1_000)
ONE_VOICE = Offer(Catalogue({"joe": "en-us"}, frozenset({"en"}), "joe"), frozenset(), False, 1_000)


def ask(offer: Offer = OFFER, **fields: object) -> SpeechAsk:
    return read_ask(json.dumps({"input": "Hello.", **fields}).encode(), offer)


def test_a_text_is_enough() -> None:
    assert read_ask(b'{"text": "Hi."}', OFFER) == SpeechAsk("Hi.", VoiceChoice("af_heart"))


def test_everything_can_be_chosen() -> None:
    assert ask(
        voice="bf_emma", speed=1.5, model="tts-1", response_format="flac", stream=False,
        instructions="cheerfully", unknown=[1],
    ) == SpeechAsk("Hello.", VoiceChoice("bf_emma", 1.5), "flac", stream=False)  # fmt: skip
    assert ask(stream_format="sse").events
    assert ask(stream=None, voice=None, speed=None).voice == VoiceChoice("af_heart")


@pytest.mark.parametrize("voice", ["alloy", {"id": "alloy"}, "af_alloy"])
def test_openais_voices_are_known(voice: object) -> None:
    assert ask(voice=voice).voice.voice == "af_alloy"


def test_every_one_of_openais_voices_means_something_on_every_engine() -> None:
    for name in names.VOICES:
        assert ask(voice=name).voice.voice in KOKORO.voices
        assert ask(ONE_VOICE, voice=name).voice.voice == "joe"


def test_voices_can_be_blended_where_the_engine_can() -> None:
    assert ask(voice="af_heart:0.7+af_bella:0.3").voice.voice == "af_heart:0.7+af_bella:0.3"
    assert ask(voice="af_heart:3+alloy:1").voice.voice == "af_heart:0.75+af_alloy:0.25"
    assert ask(voice="alloy+af_alloy").voice.voice == "af_alloy"
    with pytest.raises(BadMessage, match="blended"):
        ask(Offer(KOKORO, frozenset(), False, 1_000), voice="af_heart+af_bella")


@pytest.mark.parametrize(
    ("voice", "wanted", "language"),
    [
        ("af_heart", "en", None), ("bf_emma", "en", None), ("af_heart", "EN_gb", "en-gb"),
        ("af_heart", "fr", "fr-fr"), ("pf_dora", "pt", None), ("pf_dora", "en", "en-us"),
    ],
)  # fmt: skip
def test_the_language_follows_the_voice_unless_another_is_asked_for(
    voice: str, wanted: str, language: str | None
) -> None:
    assert ask(voice=voice, language=wanted).voice.language == language


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"input": None}, "input"),
        ({"input": ""}, "input"),
        ({"input": " \n"}, "input"),
        ({"input": 3}, "input"),
        ({"input": "x" * 1_001}, "input"),
        ({"voice": "a:x+b"}, "voice"),
        ({"voice": 7}, "voice"),
        ({"voice": {"name": "x"}}, "voice"),
        ({"speed": 0.2}, "speed"),
        ({"speed": 4.1}, "speed"),
        ({"speed": "fast"}, "speed"),
        ({"response_format": "ogg"}, "response_format"),
        ({"stream": "yes"}, "stream"),
        ({"stream_format": "chunks"}, "stream_format"),
        ({"stream_format": "sse", "stream": False}, "stream"),
        ({"language": "tlh"}, "language"),
        ({"model": 1}, "model"),
    ],
)
def test_a_mistake_is_told_with_its_parameter(fields: dict[str, object], param: str) -> None:
    with pytest.raises(BadMessage) as told:
        ask(**fields)
    assert told.value.param == param
    assert str(told.value)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"voice": "nobody"}, "voice"),
        ({"model": "gpt-9"}, "model"),
        ({"voice": "af_heart+x"}, "voice"),
    ],
)
def test_what_is_not_there_is_not_found(fields: dict[str, object], param: str) -> None:
    with pytest.raises(NotFound) as told:
        ask(**fields)
    assert told.value.param == param


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"text"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"input": NaN}',
        b'{"input": "\\ud800"}',
    ],
)
def test_a_body_that_is_no_object_is_a_mistake(body: bytes) -> None:
    with pytest.raises(BadMessage):
        read_ask(body, OFFER)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
FIELDS = st.sampled_from(
    ["input", "text", "voice", "model", "speed", "language", "response_format", "stream", "x"]
)


@given(st.binary(max_size=80) | st.dictionaries(FIELDS, JSON).map(lambda o: json.dumps(o).encode()))
def test_any_body_is_an_ask_or_a_mistake(body: bytes) -> None:
    with contextlib.suppress(ClientError):
        assert 0 < len(read_ask(body, OFFER).text) <= 1_000
