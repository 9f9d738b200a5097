"""The history of a session: what was said, and what of it was heard."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.ports import Message, ToolCall
from pipeline.errors import ItemExists, NoSuchItem
from pipeline.events import (
    ReplyDone,
    ReplyStarted,
    ReplyText,
    SpeechStarted,
    ToolCalled,
    ToolText,
    UserTranscript,
)
from pipeline.playback import Voiced
from session.conversation import ROOT, WHOLE_BYTES, Conversation
from session.items import Item
from session.reading import tokens


def talk(conversation: Conversation, turn: int, text: str, reply: str, heard: str) -> None:
    conversation.note(UserTranscript(turn, text[:2], final=False))
    conversation.note(UserTranscript(turn, text, final=True))
    conversation.note(ReplyStarted(turn, turn))
    for word in reply.split(" "):
        conversation.note(ReplyText(turn, word + " "))
    status = "completed" if reply == heard else "interrupted"
    conversation.note(ReplyDone(turn, turn, status, reply, heard))


def test_the_history_says_what_was_heard_not_what_was_generated() -> None:
    conversation = Conversation()
    talk(conversation, 1, "Tell me a story.", "Once upon a time there was a king.", "Once upon a")
    assert [item.text for item in conversation.items] == ["Tell me a story.", "Once upon a"]
    assert conversation.items[1].status == "interrupted"


def test_an_apology_is_nobodys_words() -> None:
    conversation = Conversation()
    conversation.note(UserTranscript(1, "Hello?", final=True))
    conversation.note(ReplyStarted(1, 1))
    conversation.note(ReplyText(1, "So sorry."))
    conversation.note(ReplyDone(1, 1, "failed", "So sorry.", "So sorry.", apology=True))
    assert [(item.text, item.status) for item in conversation.items] == [
        ("Hello?", "completed"),
        ("", "failed"),
    ]
    assert conversation.messages("", turn=1, text="Hello?") == (Message("user", "Hello?"),)


def test_noise_and_partials_are_not_history() -> None:
    conversation = Conversation()
    conversation.note(SpeechStarted(1, 0))
    conversation.note(UserTranscript(1, "hel", final=False))
    conversation.note(UserTranscript(1, "", final=True, discarded=True))
    assert conversation.items == ()


def test_the_prompt_ends_with_what_is_being_answered_once() -> None:
    conversation = Conversation()
    talk(conversation, 1, "Hello.", "Hi.", "Hi.")
    before = conversation.messages("Be kind.", turn=2, text="How are you?")
    conversation.note(UserTranscript(2, "How are you?", final=True))
    after = conversation.messages("Be kind.", turn=2, text="How are you?")
    assert before == after == (
        Message("system", "Be kind."),
        Message("user", "Hello."),
        Message("assistant", "Hi."),
        Message("user", "How are you?"),
    )  # fmt: skip


def test_a_reply_of_which_nothing_was_heard_is_not_in_the_prompt() -> None:
    conversation = Conversation()
    talk(conversation, 1, "Hello.", "Hi there.", "")
    roles = [message.role for message in conversation.messages("", turn=2, text="Again.")]
    assert roles == ["user", "user"]


def test_items_are_inserted_and_deleted() -> None:
    conversation = Conversation()
    talk(conversation, 1, "Hello.", "Hi there friend.", "Hi there friend.")
    first = conversation.insert(Item("", "system", "First."), after=ROOT)
    second = conversation.insert(Item("mine", "user", "Second."), after=first.item.id)
    last = conversation.insert(Item("", "user", "Last."))
    assert (first.after, second.after) == (None, first.item.id)
    assert last.after == conversation.items[-2].id
    assert [item.text for item in conversation.items] == [
        "First.", "Second.", "Hello.", "Hi there friend.", "Last.",
    ]  # fmt: skip
    with pytest.raises(ItemExists):
        conversation.insert(Item("mine", "user", "Again."))
    conversation.delete("mine")
    assert [item.text for item in conversation.items][:2] == ["First.", "Hello."]
    for act in (
        conversation.delete,
        lambda name: conversation.insert(Item("", "user", "x"), after=name),
    ):
        with pytest.raises(NoSuchItem):
            act("nobody")


SPOKEN = (Voiced(0, 10, 0, 1_000), Voiced(10, 25, 1_000, 2_500))
"""Of "Hi there. I am a fine one." """


def test_a_reply_is_cut_at_what_was_heard_of_its_audio() -> None:
    conversation = Conversation()
    conversation.note(ReplyStarted(1, 0))
    added = conversation.note(ReplyText(1, "Hi there. I am a fine one."))
    assert added is not None
    done = ReplyDone(1, 0, "completed", "Hi there. I am a fine one.", "Hi there. I am a fine one.")
    conversation.note(replace(done, voiced=SPOKEN))
    conversation.truncate(added.item.id, 1_000)
    assert conversation.item(added.item.id).text == "Hi there."
    assert conversation.messages("")[-1] == Message("assistant", "Hi there.")
    conversation.truncate(added.item.id, 9_999)  # a later word of the same client
    assert conversation.item(added.item.id).text == "Hi there. I am a fine one"


def test_a_reply_cut_while_it_is_given_stays_cut_at_its_end() -> None:
    conversation = Conversation()
    conversation.note(ReplyStarted(1, 0))
    added = conversation.note(ReplyText(1, "Hi there. I am a fine one."))
    assert added is not None
    conversation.truncate(added.item.id, 1_000)
    done = ReplyDone(1, 0, "cancelled", "Hi there. I am a fine one.", "Hi there. I am")
    conversation.note(replace(done, voiced=SPOKEN))
    assert conversation.item(added.item.id).text == "Hi there."


def reply_cut_at_once(conversation: Conversation, number: int, text: str) -> None:
    conversation.note(ReplyStarted(number, number))
    conversation.note(ReplyText(number, text[:1]))
    conversation.note(ReplyText(number, text[1:]))
    voiced = (Voiced(0, len(text), 0, 24_000, tuple(range(len(text.split()) + 1))),)
    conversation.note(ReplyDone(number, number, "interrupted", text, "", voiced=voiced))


@pytest.mark.parametrize("text", ["x" * 90_000, "word " * 2_000, "so it is"])
def test_what_was_not_heard_of_many_replies_does_not_pile_up(text: str) -> None:
    conversation = Conversation()
    for number in range(1, 151):
        reply_cut_at_once(conversation, number, text)
    one, *_, last = conversation.items
    assert (last.whole, len(last.voiced)) == (text, 1)
    assert sum(len(item.whole) for item in conversation.items) <= max(WHOLE_BYTES, len(text))
    told = sum(len(clause.words) for item in conversation.items for clause in item.voiced)
    assert told * 40 <= max(WHOLE_BYTES, 40 * len(last.voiced[0].words))
    assert bool(one.voiced) == (text == "so it is")


def test_what_was_never_voiced_of_a_reply_is_not_kept() -> None:
    conversation = Conversation()
    conversation.note(ReplyStarted(1, 0))
    conversation.note(ReplyText(1, "Hi there. I am a fine one." + "x" * 90_000))
    done = ReplyDone(1, 0, "interrupted", "Hi there. I am a fine one." + "x" * 90_000, "Hi there.")
    conversation.note(replace(done, voiced=SPOKEN))
    assert conversation.items[0].whole == "Hi there. I am a fine one"


def test_of_an_older_reply_what_was_heard_stays_or_goes_as_a_whole() -> None:
    conversation = Conversation()
    conversation.note(ReplyStarted(1, 0))
    conversation.note(ReplyText(1, "Hi there. I am a fine one."))
    done = ReplyDone(1, 0, "completed", "Hi there. I am a fine one.", "Hi there. I am a fine one.")
    conversation.note(replace(done, voiced=SPOKEN))
    reply_cut_at_once(conversation, 2, "x" * WHOLE_BYTES)
    first = conversation.items[0].id
    conversation.truncate(first, 1_000)
    assert conversation.item(first).text == "Hi there. I am a fine one."
    conversation.truncate(first, 0)
    assert conversation.item(first).text == ""


def test_only_what_a_reply_says_can_be_cut() -> None:
    conversation = Conversation()
    item = conversation.insert(Item("", "user", "Hello.")).item
    with pytest.raises(ValueError, match="reply"):
        conversation.truncate(item.id, 0)
    with pytest.raises(NoSuchItem):
        conversation.truncate("nobody", 0)


def call_tool(conversation: Conversation, reply: int, *calls: str) -> None:
    conversation.note(ReplyStarted(reply, reply))
    conversation.note(ReplyText(reply, "Let me see."))
    for call in calls:
        conversation.note(ToolText(reply, call, "clock", '{"zone"'))
        conversation.note(ToolText(reply, call, "clock", ': "UTC"}'))
    for call in calls:
        conversation.note(ToolCalled(reply, call, "clock", '{"zone": "UTC"}'))
    conversation.note(ReplyDone(reply, reply, "completed", "Let me see.", "Let me see."))


def test_a_tool_call_and_its_answer_stand_together_in_the_prompt() -> None:
    conversation = Conversation()
    call_tool(conversation, 1, "call_a", "call_b")
    assert conversation.open_calls(1) == ("call_a", "call_b")
    conversation.note(UserTranscript(2, "And?", final=True))
    conversation.insert(Item("", "tool", "noon", call="call_b"))
    assert conversation.open_calls(1) == ("call_a",)
    conversation.insert(Item("", "tool", "night", call="call_a"))
    wanted = tuple(ToolCall(call, "clock", '{"zone": "UTC"}') for call in ("call_b", "call_a"))
    assert conversation.messages("") == (
        Message("assistant", "Let me see."),
        Message("user", "And?"),
        Message("assistant", "", wanted),
        Message("tool", "noon", call="call_b"),
        Message("tool", "night", call="call_a"),
    )


def test_a_call_that_is_answered_at_once_belongs_to_the_words_beside_it() -> None:
    conversation = Conversation()
    call_tool(conversation, 1, "call_a")
    conversation.insert(Item("", "tool", "noon", call="call_a"))
    assert conversation.messages("") == (
        Message("assistant", "Let me see.", (ToolCall("call_a", "clock", '{"zone": "UTC"}'),)),
        Message("tool", "noon", call="call_a"),
    )


def test_a_tool_call_without_an_answer_is_not_in_the_prompt() -> None:
    conversation = Conversation()
    call_tool(conversation, 1, "call_a")
    assert conversation.messages("") == (Message("assistant", "Let me see."),)


def test_an_answer_to_no_call_is_refused() -> None:
    with pytest.raises(NoSuchItem):
        Conversation().insert(Item("", "tool", "noon", call="call_a"))


def test_a_call_that_broke_off_is_none() -> None:
    conversation = Conversation()
    conversation.note(ReplyStarted(1, 1))
    conversation.note(ToolText(1, "call_a", "clock", '{"zo'))
    conversation.note(ReplyDone(1, 1, "failed", "", ""))
    assert conversation.call("call_a") is None
    assert [item.status for item in conversation.items] == ["failed"]


def test_a_reply_aside_leaves_no_trace() -> None:
    conversation = Conversation()
    conversation.note(ReplyStarted(1, 0, ask=1, aside=True))
    added = conversation.note(ReplyText(1, "Between us."))
    assert added is not None
    assert added.aside
    conversation.note(ReplyDone(1, 0, "completed", "Between us.", "Between us."))
    assert conversation.items == ()


def test_ids_are_never_used_twice() -> None:
    conversation = Conversation()
    before = conversation.insert(Item("", "user", "a")).item.id
    conversation.clear()
    assert conversation.items == ()
    assert conversation.insert(Item("", "user", "b")).item.id != before


def test_the_oldest_go_first_and_in_steps() -> None:
    conversation = Conversation(max_items=8)
    lengths = []
    for number in range(40):
        conversation.insert(Item("", "user", f"message {number}"))
        lengths.append(len(conversation.items))
    assert max(lengths) <= 8
    assert conversation.items[-1].text == "message 39"
    drops = sum(b < a for a, b in pairwise(lengths))
    assert drops <= 40 // 3  # a cut makes room for several


@given(st.lists(st.text(max_size=400), max_size=60))
def test_the_history_stays_within_its_bounds_whatever_is_said(texts: list[str]) -> None:
    conversation = Conversation(max_items=20, max_tokens=300)
    for text in texts:
        conversation.insert(Item("", "user", text))
        assert len(conversation.items) <= 20
        size = sum(tokens(item.text) for item in conversation.items)
        assert size <= 300 or len(conversation.items) == 1
        assert conversation.items[-1].text == text


def prompt_of(conversation: Conversation) -> list[str]:
    return [message.role for message in conversation.messages("")]


def test_a_long_answer_of_a_tool_is_cut_short_and_erases_neither_its_question_nor_itself() -> None:
    conversation = Conversation()
    talk(conversation, 1, "Hello.", "Hi.", "Hi.")
    conversation.note(UserTranscript(2, "What is the weather?", final=True))
    call_tool(conversation, 2, "call_a", "call_b")
    conversation.insert(Item("", "tool", "sunny " * 600, call="call_a"))
    conversation.insert(Item("", "tool", "noon", call="call_b"))
    assert prompt_of(conversation) == ["user", "assistant", "tool", "tool"]
    question, calls, long, short = conversation.messages("")
    assert question.content == "What is the weather?"
    assert [call.id for call in calls.calls] == ["call_a", "call_b"]
    assert long.content.startswith("sunny sunny")
    assert len(long.content) > 2_900
    assert tokens(long.content) <= 1_000
    assert short.content == "noon"
    whole = next(item for item in conversation.items if item.role == "tool")
    assert whole.text == "sunny " * 600  # the client gets it back as it came


def test_a_call_that_goes_takes_its_answer_along() -> None:
    conversation = Conversation(max_items=8)
    for number in range(1, 30):
        call_tool(conversation, number, f"call_{number}")
        conversation.insert(Item("", "tool", "noon", call=f"call_{number}"))
        assert len(conversation.items) <= 8
        calls, answers = (
            {item.call for item in conversation.items if item.call and item.role == role}
            for role in ("assistant", "tool")
        )
        assert answers == calls
        assert f"call_{number}" in calls


def test_answers_to_one_call_over_and_over_do_not_fill_the_history() -> None:
    conversation = Conversation(max_items=8)
    call_tool(conversation, 1, "call_a")
    for number in range(40):
        conversation.insert(Item("", "tool", f"noon {number}", call="call_a"))
        assert len(conversation.items) <= 8
    assert conversation.messages("")[-1] == Message("tool", "noon 39", call="call_a")


@given(st.lists(st.tuples(st.sampled_from("uac"), st.integers(0, 1_200)), max_size=40))
def test_whatever_is_called_and_said_calls_and_answers_stay_together(
    steps: list[tuple[str, int]],
) -> None:
    conversation = Conversation(max_items=20, max_tokens=300)
    last_user = ""
    for number, (what, size) in enumerate(steps):
        call = f"call_{number}"
        if what == "u":
            last_user = conversation.insert(Item("", "user", "x" * size)).item.id
        elif what == "a":
            conversation.insert(Item("", "assistant", "x" * size))
        else:
            conversation.insert(Item("", "assistant", "{}", call=call, name="clock"))
            conversation.insert(Item("", "tool", "x" * size, call=call))
        calls, answers = (
            [item.call for item in conversation.items if item.call and item.role == role]
            for role in ("assistant", "tool")
        )
        assert calls == answers
        assert not last_user or last_user in {item.id for item in conversation.items}
        assert len(conversation.items) <= 20
