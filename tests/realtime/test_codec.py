"""The codec by itself: whatever a client sends, it is a command or a mistake; never a crash."""

from __future__ import annotations

import json
import tracemalloc
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
from server.wire.realtime import APPEND_BYTES, Realtime
from server.wire.realtime_audio import Audio
from server.wire.realtime_in import ClientEvent, ref_of
from server.wire.realtime_out import error_object
from server.wire.realtime_words import Words
from session import limits
from session.catalogue import Catalogue
from session.items import Item
from session.messages import (
    PREROLL_MS,
    Configure,
    Configured,
    InsertItem,
    ItemAdded,
    Respond,
    Settings,
    Welcome,
    chosen,
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
    "speed",
    "transcription",
    "noise_reduction",
    "tracing",
    "truncation",
    "retention_ratio",
    "token_limits",
    "include",
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
    "disabled",
    "retention_ratio",
    "near_field",
    "tone-low",
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


def any_of(**fields: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    """An object with some of these fields, any of which may hold something else altogether."""
    return st.fixed_dictionaries({}, optional={name: one | JSON for name, one in fields.items()})


TOKENS = st.integers(0, 5_000) | st.sampled_from(["inf", None])
FORMAT = st.sampled_from([{"type": "audio/pcm", "rate": 24_000}, {"type": "audio/pcmu"}])
OUTPUT = any_of(
    format=FORMAT,
    voice=st.sampled_from(["tone", "alloy", {"id": "marin"}]),
    speed=st.sampled_from([1, 0.25, 9]),
)
TOOLS = st.lists(
    any_of(
        type=st.just("function"), name=st.just("clock"), description=st.text(max_size=3),
        parameters=st.just({"type": "object"}),
    ),
    max_size=2,
)  # fmt: skip
CHOICE = st.sampled_from(["auto", "none", "required", {"type": "function", "name": "clock"}])
VAD = any_of(
    type=st.just("server_vad"), threshold=st.sampled_from([0, 0.0, 0.5, 1, 2]),
    prefix_padding_ms=st.integers(0, 9_000), silence_duration_ms=st.integers(0, 20_000),
    idle_timeout_ms=st.just(5_000), create_response=st.booleans(), interrupt_response=st.booleans(),
) | any_of(type=st.just("semantic_vad"), eagerness=st.just("low"))  # fmt: skip
SESSION = any_of(
    type=st.just("realtime"),
    output_modalities=st.sampled_from([["audio"], ["text"], ["audio", "audio"], []]),
    instructions=st.text(max_size=5),
    audio=any_of(
        input=any_of(
            format=FORMAT,
            transcription=any_of(model=st.just("whisper-1"), language=st.just("en")),
            noise_reduction=any_of(type=st.just("near_field")),
            turn_detection=VAD,
        ),
        output=OUTPUT,
    ),
    tools=TOOLS,
    tool_choice=CHOICE,
    max_output_tokens=TOKENS,
    tracing=st.just("auto")
    | any_of(group_id=st.text(max_size=3), metadata=JSON, workflow_name=st.text(max_size=3)),
    truncation=st.sampled_from(["auto", "disabled"])
    | any_of(
        type=st.just("retention_ratio"), retention_ratio=st.floats(-1, 2),
        token_limits=any_of(post_instructions=st.integers(-1, 9)),
    ),
    include=st.just(["item.input_audio_transcription.logprobs"]),
)  # fmt: skip
RESPONSE = any_of(
    instructions=st.text(max_size=5),
    output_modalities=st.sampled_from([["audio"], ["text"]]),
    audio=any_of(output=OUTPUT),
    tools=TOOLS,
    tool_choice=CHOICE,
    max_output_tokens=TOKENS,
    conversation=st.sampled_from(["auto", "none"]),
    metadata=st.just({"topic": "mood"}),
)
PART = any_of(
    type=st.sampled_from(["input_text", "output_text", "audio"]), text=st.text(max_size=5)
)
ITEM = (
    any_of(
        type=st.just("message"), role=st.sampled_from(["user", "assistant", "system"]),
        content=st.lists(PART, max_size=2), id=st.text(max_size=5),
    )
    | any_of(
        type=st.just("function_call"), name=st.just("clock"), arguments=st.text(max_size=5),
        call_id=st.just("c"), id=st.text(max_size=5),
    )
    | any_of(
        type=st.just("function_call_output"), call_id=st.just("c"), output=st.text(max_size=5)
    )
)  # fmt: skip
FRAME = st.one_of(
    st.fixed_dictionaries({"type": st.just("session.update"), "session": SESSION}),
    st.fixed_dictionaries({"type": st.just("response.create"), "response": RESPONSE}),
    st.fixed_dictionaries({"type": st.just("conversation.item.create"), "item": ITEM}),
)


@settings(max_examples=400, deadline=None)
@given(st.lists(FRAME, max_size=3))
def test_what_is_taken_is_told_in_the_references_form(frames: list[object]) -> None:
    one = codec()
    for frame in map(json.dumps, frames):
        try:
            command = one.decode(frame)
        except ClientError as refused:
            kind, _, event_id = (ref_of(frame) or "").partition("|")
            error = error_object(refused, kind, event_id)
            check_form({"type": "error", "event_id": "e", "error": error})
            continue
        match command:
            case Configure():
                assert told(one, Configured(Settings("tone", ""))) == ["session.updated"]
            case InsertItem(item):
                assert told(one, ItemAdded(replace(item, id=item.id or "i1"), None))
            case Respond():
                begun = ReplyStarted(1, 0, ask=command.ask, aside=command.aside)
                done = ReplyDone(1, 0, "completed", "", "")
                assert "response.done" in told(one, begun, done)
            case other:
                raise AssertionError(other)


def test_a_truncation_or_a_tracing_of_another_form_is_a_mistake() -> None:
    for name, value in (
        ("truncation", 5),
        ("truncation", "never"),
        ("truncation", {"type": "retention_ratio"}),
        ("tracing", "on"),
        ("tracing", {"group_id": 5}),
    ):
        with pytest.raises(ClientError):
            codec().decode(json.dumps({"type": "session.update", "session": {name: value}}))


def test_a_turn_that_ends_with_no_silence_at_all_is_a_mistake() -> None:
    """0 is a session's word for a silence that nobody chose."""

    def update(silence_ms: int) -> str:
        vad = {"type": "server_vad", "silence_duration_ms": silence_ms}
        session = {"audio": {"input": {"turn_detection": vad}}}
        return json.dumps({"type": "session.update", "session": session})

    with pytest.raises(ClientError, match="Expected `int` >= 1") as refused:
        codec().decode(update(0))
    assert refused.value.param == "session.audio.input.turn_detection.silence_duration_ms"
    shortest = codec().decode(update(1))
    assert isinstance(shortest, Configure)
    assert shortest.silence_ms == 1


def test_no_threshold_at_all_is_a_threshold() -> None:
    one = codec()
    vad = {"type": "server_vad", "threshold": 0.0}
    session = {"audio": {"input": {"turn_detection": vad}}}
    command = one.decode(json.dumps({"type": "session.update", "session": session}))
    assert isinstance(command, Configure)
    assert command.threshold == 0.0
    assert one.session.shown()["audio"]["input"]["turn_detection"]["threshold"] == 0.0


@given(st.text(max_size=50))
def test_what_is_no_json_is_a_mistake(text: str) -> None:
    with pytest.raises(ClientError):
        codec().decode(text)


def test_an_event_is_measured_in_bytes_as_it_came() -> None:
    """Three for each of these letters."""
    update = '{"type": "session.update", "session": {"type": "realtime", "instructions": "%s"}}'
    fits = (limits.TEXT_BYTES - len(update % "")) // 3
    assert codec().decode(update % ("時" * fits))
    with pytest.raises(ClientError, match="at most 100000 bytes"):
        codec().decode(update % ("時" * (fits + 1)))
    assert ref_of(update % ("時" * (fits + 1))) is None


def test_tools_are_measured_in_bytes() -> None:
    def update(letters: int) -> str:
        tool = {"type": "function", "name": "clock", "description": "時" * letters}
        session = {"type": "realtime", "tools": [tool]}
        return json.dumps({"type": "session.update", "session": session}, ensure_ascii=False)

    assert codec().decode(update(limits.TOOLS_BYTES // 3 - 100))
    with pytest.raises(ClientError, match="more than 65536 bytes"):
        codec().decode(update(limits.TOOLS_BYTES // 3))


MANY = "[[]" + ",[]" * 1_000_000 + "]"


@pytest.mark.parametrize(
    "frame",
    [
        '{"type": "conversation.item.create", "item": {"a": %s}}',
        '{"item": {"a": %s}, "type": "conversation.item.create"}',
        '{"type": "session.update", "session": {"a": %s}, "type": "input_audio_buffer.append"}',
        '{"type": "input_audio_buffer.append", "item": %s, "type": "conversation.item.create"}',
        '{"type": "input_audio_buffer.clear", "a": %s}',
        '{"audio": "AAAA", "a": %s}',
        "%s",
        '{"type": "input_audio_buffer.append", "a": %s',
    ],
)
def test_of_an_event_that_is_too_large_nothing_is_built(frame: str) -> None:
    text, one = frame % MANY, codec()
    tracemalloc.start()
    try:
        with pytest.raises(ClientError, match="An event without audio has at most 100000 bytes"):
            one.decode(text)
        _, peak_bytes = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak_bytes < limits.TEXT_BYTES


def nested(depth: int, form: str) -> str:
    """JSON of objects or lists within one another."""
    return '{"a":' * depth + "1" + "}" * depth if form == "{}" else "[" * depth + "]" * depth


DEEP = [
    ('{"type": "session.update", "session": {"tracing": {"metadata": %s}}}', 2, "session"),
    (
        '{"type": "session.update", "session": {"tools": [{"type": "function", "name": "a",'
        ' "parameters": {"a": %s}}]}}',
        4,
        "session",
    ),
    ('{"type": "session.update", "session": {"unknown": %s}}', 1, "session"),
    ('{"type": "conversation.item.create", "item": {"content": %s}}', 1, "item"),
    ('{"type": "response.create", "response": {"input": [{"content": %s}]}}', 3, "response"),
]


@pytest.mark.parametrize("form", ["{}", "[]"])
@pytest.mark.parametrize(("frame", "around", "where"), DEEP)
def test_what_is_nested_too_deep_is_a_mistake_at_any_depth(
    frame: str, around: int, where: str, form: str
) -> None:
    least = limits.MOST_DEPTH - around + 1
    for depth in (least, 500, *range(900, 1_001, 3), 5_000):
        with pytest.raises(ClientError) as refused:
            codec().decode(frame % nested(depth, form))
        if depth < 900:  # more may be too deep to be read at all
            assert "more than 100 objects" in str(refused.value)
            assert refused.value.param == where


@pytest.mark.parametrize("form", ["{}", "[]"])
@pytest.mark.parametrize(("frame", "around"), [(frame, around) for frame, around, _ in DEEP[:2]])
def test_what_is_nested_as_deep_as_may_be_is_kept_and_shown(
    frame: str, around: int, form: str
) -> None:
    one, update = codec(), frame % nested(limits.MOST_DEPTH - around, form)
    for _ in range(2):
        one.decode(update)
        assert told(one, Configured(Settings("tone", ""))) == ["session.updated"]


def test_audio_is_taken_from_a_large_event_wherever_its_type_stands() -> None:
    audio = b64encode(bytes(600_000)).decode()
    for frame in (
        {"type": "input_audio_buffer.append", "audio": audio},
        {"event_id": "mine", "audio": audio, "type": "input_audio_buffer.append"},
    ):
        assert codec().decode(json.dumps(frame)) == Audio(bytes(600_000))
    with pytest.raises(ClientError, match="at most 15728640 bytes"):
        codec().decode(json.dumps({**frame, "audio": "AAAA" * (APPEND_BYTES // 4 + 1)}))


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
        voice="tone-low", instructions="Short.", speed=1.5, language="", pace="normal",
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


def test_an_update_that_is_not_told_yet_is_kept_as_what_will_be_sent() -> None:
    """Of many small fields, objects take ten times as much."""
    one = codec()

    def update(**session: object) -> None:
        one.decode(json.dumps({"type": "session.update", "session": session}))

    schema = {"type": "object", "properties": {f"a{at}": {} for at in range(4_000)}}
    speeds, taken_bytes = [1 + at / 20 for at in range(20)], list[int]()
    tracemalloc.start()
    try:
        update(tools=[{"type": "function", "name": "clock", "parameters": schema}])
        for speed in speeds:
            update(audio={"output": {"speed": speed}})
            taken_bytes.append(tracemalloc.get_traced_memory()[0] - one.untold_bytes)
    finally:
        tracemalloc.stop()
    assert one.untold_bytes > len(speeds) * 40_000
    # An encoder's buffer is up to half as long again as what it holds.
    assert taken_bytes[-1] - taken_bytes[0] < one.untold_bytes // 2
    for speed in (1.0, *speeds):
        (frame,) = one.encode(Configured(Settings("tone", "")))
        updated = json.loads(frame)
        check_form(updated)
        assert updated["session"]["audio"]["output"]["speed"] == speed
        assert updated["session"]["tools"][0]["parameters"] == schema
    assert one.untold_bytes == 0


def test_an_update_that_is_refused_changes_nothing() -> None:
    one = codec()
    before = one.session.shown()
    for audio in ({"output": {"speed": 99}}, {"input": {"transcription": {"language": "xx"}}}):
        session = {"instructions": "New.", "audio": audio}
        with pytest.raises(ClientError):
            one.decode(json.dumps({"type": "session.update", "session": session}))
    assert one.session.shown() == before


@pytest.mark.parametrize("cleared", [None, {"input": None}])
def test_only_a_detection_of_null_is_manual(cleared: object) -> None:
    one = codec()
    chosen_vad = {"input": {"turn_detection": {"type": "semantic_vad", "eagerness": "low"}}}
    for audio, detection, shown in (
        (chosen_vad, "auto", "semantic_vad"),
        (cleared, "auto", "server_vad"),
        ({"input": {"turn_detection": {"threshold": 0.7}}}, "auto", "server_vad"),
        ({"input": {"turn_detection": None}}, "manual", None),
    ):
        session = {"audio": audio}
        command = one.decode(json.dumps({"type": "session.update", "session": session}))
        assert isinstance(command, Configure)
        vad = one.session.shown()["audio"]["input"]["turn_detection"]
        assert (command.detection, vad and vad["type"]) == (detection, shown)


@pytest.mark.parametrize("cleared", [None, {"language": None}, {"model": "a", "language": None}])
def test_a_language_that_is_cleared_is_the_recognisers_own(cleared: object) -> None:
    one, kept = codec(), Settings("tone", "")
    for words, language in (({"language": "en"}, "en"), ({"model": "b"}, "en"), (cleared, None)):
        session = {"audio": {"input": {"transcription": words}}}
        command = one.decode(json.dumps({"type": "session.update", "session": session}))
        assert isinstance(command, Configure)
        kept = chosen(kept, command)
        assert kept.language == language


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


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 8))
def test_the_pieces_of_a_transcript_that_only_grows_add_up_to_it(
    steps: list[int], shaky: int
) -> None:
    spoken = [f"word{at}" for at in range(sum(steps) + 1)]
    words, told, length = Words(), "", 0
    for step in steps:
        length += step
        text = " ".join([*spoken[:length], "perhaps"][: length + (shaky > step)])
        piece = words.hear(text)
        told += piece
        assert text.startswith(told)
    whole = " ".join(spoken)
    assert told + words.finish(whole) == whole


def test_words_are_told_once_they_were_understood_alike_twice_and_others_follow() -> None:
    words = Words()
    assert words.hear("and so my fell") == ""
    assert words.hear("And so my fellow Americans.") == ""
    assert words.hear("And so my fellow Americans asked not") == "And so my fellow"
    assert words.hear("And so my fellow Americans ask not what") == " Americans"
    assert words.finish("And so, my fellow") == ""  # what is told cannot be taken back
    assert words.finish("And so my fellow Americans, ask not.") == ", ask not."


def test_who_speaks_in_another_turn_is_not_taken_for_who_spoke_before() -> None:
    one = codec()
    words = (*OVER[:2], SpeechStarted(2, 9_000), Interrupted(1, ""))
    one.encode(Welcome("s", Settings("tone", ""), 1, 1, 24_000, 24_000, items="i"))
    frames = [json.loads(frame) for event in words for frame in one.encode(event)]  # type: ignore[arg-type]
    (started,) = [one for one in frames if one["type"].endswith("speech_started")]
    assert (started["item_id"], started["audio_start_ms"]) == ("iu2", 9_000 - PREROLL_MS)
