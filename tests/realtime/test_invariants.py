"""Random conversations through the real session and codec: whatever a client sends and the engines
do, in any order, every event has the reference's form and its rules hold (`oracle.py`)."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import LlmFailed
from session.buckets import Allowance
from tests import virtual_time
from tests.realtime.scripted_session import ScriptedSession

WORDS = ["", "Mm-hm.", "Stop.", "I went to the", "What time is it?", "I think so."]
TOOL = {"type": "function", "name": "clock"}
HELLO = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hello."}]}
VADS = [
    None,
    {"type": "server_vad"},
    {"type": "server_vad", "create_response": False},
    {"type": "server_vad", "interrupt_response": False, "silence_duration_ms": 200},
    {"type": "semantic_vad", "eagerness": "low"},
]

PLACES = st.integers(0, 5)
"""Which of the items that there are, from the newest on; one too many names none."""
RESPONSES = st.fixed_dictionaries(
    {},
    optional={
        "conversation": st.sampled_from(["auto", "none"]),
        "output_modalities": st.sampled_from([["text"], ["audio"]]),
        "input": st.sampled_from([[], [HELLO]]),
        "tools": st.just([TOOL]),
        "metadata": st.just({"a": "b"}),
    },
)
SESSIONS = st.fixed_dictionaries(
    {"type": st.just("realtime")},
    optional={
        "output_modalities": st.sampled_from([["text"], ["audio"]]),
        "instructions": st.sampled_from([None, "Be brief.", "Speak of noon."]),
        "audio": st.builds(
            lambda vad, words: {"input": {"turn_detection": vad, "transcription": words}},
            st.sampled_from(VADS),
            st.sampled_from([None, {"model": "whisper-1"}, {"language": "en"}]),
        ),
    },
)
UPDATES = st.tuples(st.just("session.update"), st.fixed_dictionaries({"session": SESSIONS}))
CLIENTS = st.one_of(
    UPDATES,
    st.tuples(st.just("response.create"), st.fixed_dictionaries({"response": RESPONSES})),
    st.tuples(st.just("response.cancel"), st.just({})),
    st.tuples(st.just("response.cancel"), st.fixed_dictionaries({"response_id": PLACES})),
    st.tuples(st.just("input_audio_buffer.commit"), st.just({})),
    st.tuples(st.just("input_audio_buffer.clear"), st.just({})),
    st.tuples(st.just("conversation.item.create"), st.just({"item": HELLO})),
    st.tuples(
        st.just("conversation.item.create"),
        st.fixed_dictionaries({"item": st.just(HELLO), "previous_item_id": PLACES}),
    ),
    st.tuples(
        st.just("conversation.item.create"),
        st.builds(
            lambda call: {
                "item": {"type": "function_call_output", "call_id": call, "output": "noon"}
            },
            st.sampled_from(["a1", "a2", "b2", "no"]),
        ),
    ),
    st.tuples(st.just("conversation.item.delete"), st.fixed_dictionaries({"item_id": PLACES})),
    st.tuples(st.just("conversation.item.retrieve"), st.fixed_dictionaries({"item_id": PLACES})),
    st.tuples(
        st.just("conversation.item.truncate"),
        st.fixed_dictionaries(
            {"item_id": PLACES, "audio_end_ms": st.sampled_from([0, 400, 9_000])}
        ),
    ),
    st.tuples(st.just("nonsense"), st.just({})),
)
ENGINES = st.one_of(
    st.tuples(st.just("understand"), st.sampled_from([*WORDS, None])),
    st.tuples(st.just("write"), st.sampled_from(["Well. ", "It is noon. ", "So!"])),
    st.tuples(
        st.just("call"), st.sampled_from(["a", "b"]), st.just("clock"),
        st.sampled_from(["", "{", "}"]),
    ),
    st.tuples(st.just("finish"), st.sampled_from(["completed", "failed", "cut_short"])),
    st.tuples(st.just("fail_late"), st.integers(1, 6)),
    st.tuples(st.just("rotate")),
)  # fmt: skip
USERS = st.one_of(
    st.tuples(st.just("sound"), st.sampled_from([0.02, 0.95]), st.integers(1, 25)),
    st.tuples(st.just("turn"), st.sampled_from(WORDS)),
    st.tuples(st.just("wait"), st.sampled_from([0.05, 0.5, 2.0])),
)
SMALL = Allowance(characters_per_minute=10)
"""A word or two; of instructions one, and a debt."""
MOVES = st.one_of(USERS, ENGINES, st.tuples(st.just("say"), CLIENTS))


async def move(session: ScriptedSession, name: str, arguments: list[Any]) -> None:
    match name:
        case "say":
            kind, fields = arguments[0]
            await session.say(kind, **{key: named(session, key, fields[key]) for key in fields})
        case "finish":
            error = LlmFailed("gone") if arguments[0] == "failed" else None
            await session.finish(error, cut_short=arguments[0] == "cut_short")
        case "turn":
            await session.sound(0.95, 25)
            await session.sound(0.02, 4)
            await session.understand(arguments[0])
            await session.sound(0.02, 10)
        case "rotate":
            session.rotate()
        case _:
            await getattr(session, name)(*arguments)


def named(session: ScriptedSession, key: str, value: Any) -> Any:
    """A place among what there is, as its id."""
    if not isinstance(value, int) or key == "audio_end_ms":
        return value
    events = session.oracle.events
    if key == "response_id":
        ids = [one["response"]["id"] for one in events if one["type"] == "response.created"]
    else:
        ids = [one["item"]["id"] for one in events if one["type"] == "conversation.item.added"]
    return ids[-1 - value] if value < len(ids) else "none"


@pytest.mark.parametrize("ending", ["rest", "end"])
@settings(max_examples=70, deadline=None)
@given(
    allowance=st.sampled_from([Allowance(), SMALL]),
    moves=st.lists(MOVES, min_size=15, max_size=50),
)
def test_every_conversation_keeps_the_rules(
    ending: str, allowance: Allowance, moves: list[tuple[Any, ...]]
) -> None:
    async def play(monkeypatch: pytest.MonkeyPatch) -> None:
        session = ScriptedSession(monkeypatch, allowance)
        for name, *arguments in moves:
            await move(session, name, arguments)
        if ending == "rest":
            await session.rest()
            session.oracle.settled()
            session.agrees()
        await session.end()
        session.oracle.settled()

    with pytest.MonkeyPatch.context() as monkeypatch:
        virtual_time.run(play(monkeypatch))


@settings(max_examples=70, deadline=None)
@given(
    moves=st.lists(
        st.tuples(st.just("say"), UPDATES) | st.tuples(st.just("wait"), st.sampled_from([0.1, 20])),
        max_size=10,
    )
)
def test_a_session_is_what_its_client_was_told_whatever_can_be_paid_for(
    moves: list[tuple[Any, ...]],
) -> None:
    async def play(monkeypatch: pytest.MonkeyPatch) -> None:
        session = ScriptedSession(monkeypatch, SMALL)
        for name, *arguments in moves:
            await move(session, name, arguments)
            session.agrees()
        await session.end()

    with pytest.MonkeyPatch.context() as monkeypatch:
        virtual_time.run(play(monkeypatch))


def test_who_speaks_after_a_clear_over_a_response_speaks_in_a_turn_of_its_own() -> None:
    async def play(monkeypatch: pytest.MonkeyPatch) -> None:
        session = ScriptedSession(monkeypatch)
        await session.say("conversation.item.create", item=HELLO)
        await session.say("response.create")
        for _ in range(6):
            await session.write("A long sentence it is. ")
        await session.sound(0.95, 12)
        await session.say("input_audio_buffer.clear")
        await session.sound(0.02, 10)
        at = len(session.oracle.events)
        await session.sound(0.95, 25)
        await session.sound(0.02, 4)
        await session.understand("Stop it now.")
        await session.rest()
        told = [one for one in session.oracle.events[at:] if "audio_buffer" in one["type"]]
        assert [one["type"].removeprefix("input_audio_buffer.") for one in told] == [
            "speech_started", "speech_stopped", "committed",
        ]  # fmt: skip
        assert len({one["item_id"] for one in told}) == 1
        assert told[0]["audio_start_ms"] >= 12 * 32  # nothing of what was cleared
        await session.end()

    with pytest.MonkeyPatch.context() as monkeypatch:
        virtual_time.run(play(monkeypatch))
