"""The codec by itself: whatever a client sends, it is a command or a mistake; never a crash."""

from __future__ import annotations

import json
from base64 import b64encode
from dataclasses import replace
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.engines.ports import Tool
from pipeline.errors import ClientError, SttFailed
from pipeline.events import (
    Failed,
    Interrupted,
    ReplyDone,
    ReplyStarted,
    SpeechStarted,
    SpeechStopped,
    UserTranscript,
)
from server.wire.realtime import Audio, Realtime, ref_of
from server.wire.realtime_in import ClientEvent
from session.catalogue import Catalogue
from session.conversation import Item
from session.messages import (
    Configure,
    InsertItem,
    ItemAdded,
    Respond,
    Settings,
    Welcome,
)
from tests.realtime.oracle import check_form

CATALOGUE = Catalogue({"tone": "en-us", "tone-low": "en-us"}, frozenset({"en"}), "tone")
KINDS = [str(kind.__struct_config__.tag) for kind in get_args(ClientEvent)]
NAMES = [
    "session",
    "item",
    "response",
    "audio",
    "input",
    "output",
    "type",
    "role",
    "content",
    "text",
    "transcript",
    "id",
    "item_id",
    "call_id",
    "previous_item_id",
    "audio_end_ms",
    "content_index",
    "tools",
    "name",
    "parameters",
    "instructions",
    "voice",
    "metadata",
    "turn_detection",
    "threshold",
    "format",
    "tool_choice",
    "conversation",
    "output_modalities",
    "max_output_tokens",
]
VALUES = [
    "message",
    "user",
    "input_text",
    "function_call",
    "function_call_output",
    "server_vad",
    "semantic_vad",
    "audio/pcm",
    "audio/pcmu",
    "auto",
    "none",
    "text",
    "audio",
    "root",
    "inf",
    "function",
    "item_reference",
    "\ud800",
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-2, 10**20) | st.floats(allow_nan=False)
    | st.sampled_from(VALUES) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=12,
)  # fmt: skip


def codec() -> Realtime:
    return Realtime("m", "Be kind.", CATALOGUE)


def told(one: Realtime, *events: object) -> list[str]:
    """The types of the events that tell these."""
    one.encode(Welcome("s", Settings("tone", ""), 1, 1, 24_000, 24_000, items="i"))
    kinds: list[str] = []
    for event in events:
        for frame in map(json.loads, one.encode(event)):  # type: ignore[arg-type]
            check_form(frame)
            kinds.append(frame["type"])
    return kinds


@settings(max_examples=400, deadline=None)
@given(st.sampled_from(KINDS), st.dictionaries(st.sampled_from(NAMES), JSON, max_size=5))
def test_whatever_comes_is_a_command_or_a_mistake(kind: str, fields: dict) -> None:
    one = codec()
    frame = json.dumps({**fields, "type": kind, "event_id": "mine"})
    try:
        one.decode(frame)
    except ClientError:
        assert ref_of(frame) in (f"{kind}|mine", None)
    assert one.session.shown()["type"] == "realtime"


@given(st.text(max_size=50))
def test_what_is_no_json_is_a_mistake(text: str) -> None:
    with pytest.raises(ClientError):
        codec().decode(text)


def test_a_session_becomes_settings() -> None:
    one = codec()
    tool = {"type": "function", "name": "clock", "description": "d", "parameters": {"a": 1}}
    session = {
        "type": "realtime",
        "instructions": "Short.",
        "tools": [tool],
        "tool_choice": {"type": "function", "name": "clock"},
        "max_output_tokens": 99,
        "audio": {
            "input": {
                "turn_detection": {
                    "type": "server_vad", "threshold": 0.7, "silence_duration_ms": 400,
                    "prefix_padding_ms": 100, "create_response": False,
                    "interrupt_response": False, "idle_timeout_ms": 6_000,
                }
            },
            "output": {"voice": "tone-low", "speed": 1.5},
        },
    }  # fmt: skip
    command = one.decode(json.dumps({"type": "session.update", "session": session}))
    assert command == Configure(
        voice="tone-low", instructions="Short.", speed=1.5, language=None, pace="normal",
        detection="auto", tools=(Tool("clock", "d", '{"a":1}'),), tool_choice="clock",
        modality="audio", reply_tokens=99, answers=False, interrupts=False, silence_ms=400,
        threshold=0.7, preroll_ms=100, idle_timeout_ms=6_000,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("eagerness", "pace"),
    [("low", "patient"), ("medium", "normal"), ("auto", "normal"), ("high", "quick")],
)
def test_eagerness_is_pace(eagerness: str, pace: str) -> None:
    vad = {"type": "semantic_vad", "eagerness": eagerness}
    session = {"audio": {"input": {"turn_detection": vad}}}
    command = codec().decode(json.dumps({"type": "session.update", "session": session}))
    assert isinstance(command, Configure)
    assert command.pace == pace


def test_an_update_that_is_refused_changes_nothing() -> None:
    one = codec()
    before = one.session.shown()
    for audio in ({"output": {"speed": 99}}, {"input": {"transcription": {"language": "xx"}}}):
        session = {"instructions": "New.", "audio": audio}
        with pytest.raises(ClientError):
            one.decode(json.dumps({"type": "session.update", "session": session}))
    assert one.session.shown() == before


def test_items_become_items() -> None:
    for raw, item in (
        ({"type": "message", "role": "system", "content": [{"type": "input_text", "text": "a"}]},
         Item("", "system", "a")),
        ({"type": "message", "role": "assistant", "id": "x",
          "content": [{"type": "output_text", "text": "a"}, {"type": "output_text", "text": "b"}]},
         Item("x", "assistant", "ab")),
        ({"type": "message", "role": "user",
          "content": [{"type": "input_audio", "transcript": "heard"}]}, Item("", "user", "heard")),
        ({"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"},
         Item("", "assistant", "{}", call="c", name="f")),
        ({"type": "function_call_output", "call_id": "c", "output": "o"},
         Item("", "tool", "o", call="c")),
    ):  # fmt: skip
        command = codec().decode(json.dumps({"type": "conversation.item.create", "item": raw}))
        assert command == InsertItem(item, None, "conversation.item.create|")


def test_a_response_may_answer_items_of_its_own() -> None:
    response = {"conversation": "none", "input": [{"type": "item_reference", "id": "i1"}]}
    command = codec().decode(json.dumps({"type": "response.create", "response": response}))
    assert isinstance(command, Respond)
    assert (command.aside, command.input) == (True, ("i1",))


def test_audio_is_taken_as_it_is() -> None:
    audio = b64encode(b"\x01\x02").decode()
    event = {"type": "input_audio_buffer.append", "audio": audio}
    assert codec().decode(json.dumps(event)) == Audio(b"\x01\x02")


# --- a turn that was not understood ---------------------------------------------------------------


def test_words_that_failed_are_told_at_the_item_or_as_an_error() -> None:
    one = codec()
    failed = Failed(SttFailed("no ear"), turn=1)
    noise = UserTranscript(1, "", final=True, discarded=True)
    assert told(one, failed, noise) == ["error"]
    transcription = {"audio": {"input": {"transcription": {"model": "whisper-1"}}}}
    one.decode(json.dumps({"type": "session.update", "session": transcription}))
    kinds = told(one, failed, replace(noise, ended=True))
    assert kinds == ["conversation.item.input_audio_transcription.failed"]
    assert told(one, failed, UserTranscript(1, "Well.", final=True))[-1].endswith("completed")


# --- what the user said over a response -----------------------------------------------------------

OVER = (ReplyStarted(1, 0), SpeechStarted(1, 0), SpeechStopped(1, 500))
SAID = ItemAdded(Item("iu1", "user", "Stop.", 1, spoken=True), None)


def test_a_cough_over_a_response_is_never_told() -> None:
    noise = UserTranscript(1, "", final=True, discarded=True)
    assert told(codec(), *OVER, noise) == ["response.created"]


def test_words_over_a_response_are_not_told_before_they_end_it() -> None:
    assert told(codec(), *OVER, UserTranscript(1, "Mm", final=False)) == ["response.created"]


def test_words_over_a_response_are_told_when_they_end_it() -> None:
    done = ReplyDone(1, 0, "interrupted", "", "")
    assert told(codec(), *OVER, Interrupted(1, ""), done, SAID) == [
        "response.created",
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
        "response.done",
        "rate_limits.updated",
        "input_audio_buffer.committed",
        "conversation.item.added",
        "conversation.item.done",
    ]


def test_words_that_outlast_a_response_are_told_when_they_are_known() -> None:
    done = ReplyDone(1, 0, "completed", "", "")
    more = SpeechStarted(1, 700)
    words = UserTranscript(1, "Stop", final=False)
    assert told(codec(), *OVER, more, done, words, SpeechStopped(1, 900))[3:] == [
        "input_audio_buffer.speech_started",
        "input_audio_buffer.speech_stopped",
    ]
