"""What a request for a transcription asks for, field by field."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import AntiphonError, BadMessage, NotFound
from server.names import TRANSCRIPTION_MODELS
from server.transcription_ask import FORMATS, Ear, TranscriptionAsk, read_ask

EAR = Ear(frozenset({"tiny.en", *TRANSCRIPTION_MODELS}), frozenset({"en", "de"}))


def ask(**fields: str) -> TranscriptionAsk:
    return read_ask(fields.items(), EAR)


def test_nothing_needs_to_be_said() -> None:
    assert ask() == TranscriptionAsk()


def test_everything_that_can_be_said() -> None:
    asked = ask(
        model="whisper-1", language="de", prompt="Namen: Änne.", temperature="0.4",
        response_format="verbose_json", stream="false",
    )  # fmt: skip
    assert (asked.wish.language, asked.wish.prompt) == ("de", "Namen: Änne.")
    assert asked.wish.temperature == 0.4
    assert asked.format == "verbose_json"


@pytest.mark.parametrize("model", ["tiny.en", *TRANSCRIPTION_MODELS])
def test_our_models_and_openais_can_be_named(model: str) -> None:
    ask(model=model)


@pytest.mark.parametrize(("written", "code"), [("en-GB", "en"), ("DE", "de"), ("en_US", "en")])
def test_a_region_says_nothing_to_a_recogniser(written: str, code: str) -> None:
    assert ask(language=written).wish.language == code


@pytest.mark.parametrize("written", ["true", "True", "1"])
def test_a_stream_is_asked_for(written: str) -> None:
    assert ask(stream=written).stream


def test_several_times_can_be_asked_for() -> None:
    name = "timestamp_granularities[]"
    fields = [("response_format", "verbose_json"), (name, "word"), (name, "segment")]
    assert read_ask(fields, EAR).granularities == {"word", "segment"}


def test_empty_and_unknown_fields_are_passed_over() -> None:
    assert ask(language="", temperature=" ", chunking_strategy="auto") == TranscriptionAsk()


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"language": "tlh"}, "language"),
        ({"response_format": "docx"}, "response_format"),
        ({"response_format": "diarized_json"}, "response_format"),
        ({"temperature": "hot"}, "temperature"),
        ({"temperature": "nan"}, "temperature"),
        ({"temperature": "1.1"}, "temperature"),
        ({"temperature": "-0.1"}, "temperature"),
        ({"stream": "perhaps"}, "stream"),
        ({"stream": "true", "response_format": "srt"}, "stream"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
        (
            {"timestamp_granularities[]": "letter", "response_format": "verbose_json"},
            "timestamp_granularities",
        ),
    ],
)
def test_a_mistake_names_its_parameter(fields: dict[str, str], param: str) -> None:
    with pytest.raises(BadMessage) as raised:
        ask(**fields)
    assert raised.value.param == param
    assert param in str(raised.value) or param == "language"


def test_an_unknown_model_is_not_found() -> None:
    with pytest.raises(NotFound, match=r"tiny\.en") as raised:
        ask(model="whisper-99")
    assert raised.value.param == "model"


@given(
    st.dictionaries(
        st.sampled_from(
            ["model", "language", "response_format", "temperature", "stream", "prompt"]
        ),
        st.one_of(st.text(max_size=20), st.sampled_from([*FORMATS, "en", "0.5", "true"])),
    )
)
def test_whatever_is_asked_is_understood_or_refused_by_name(fields: dict[str, str]) -> None:
    told: list[AntiphonError] = []
    try:
        ask(**fields)
    except AntiphonError as error:
        told.append(error)
    assert all(error.param in fields for error in told)
