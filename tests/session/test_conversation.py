"""The history of a session: what was said, and what of it was heard."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.ports import Message
from pipeline.events import ReplyDone, ReplyStarted, ReplyText, SpeechStarted, UserTranscript
from session.conversation import ROOT, Conversation, tokens


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


def test_items_are_inserted_deleted_and_cut() -> None:
    conversation = Conversation()
    talk(conversation, 1, "Hello.", "Hi there friend.", "Hi there friend.")
    first = conversation.insert("system", "First.", after=ROOT)
    second = conversation.insert("user", "Second.", after=first.id)
    last = conversation.insert("user", "Last.")
    assert [item.text for item in conversation.items] == [
        "First.", "Second.", "Hello.", "Hi there friend.", "Last.",
    ]  # fmt: skip
    conversation.delete(second.id)
    reply = conversation.items[2]
    conversation.truncate(reply.id, "Hi there")
    assert [item.text for item in conversation.items] == ["First.", "Hello.", "Hi there", "Last."]
    with pytest.raises(ValueError, match="beginning"):
        conversation.truncate(reply.id, "Bye")
    with pytest.raises(ValueError, match="beginning"):
        conversation.truncate(last.id, "L")
    for act in (conversation.delete, lambda name: conversation.insert("user", "x", after=name)):
        with pytest.raises(KeyError):
            act("nobody")


def test_ids_are_never_used_twice() -> None:
    conversation = Conversation()
    before = conversation.insert("user", "a").id
    conversation.clear()
    assert conversation.items == ()
    assert conversation.insert("user", "b").id != before


def test_the_oldest_go_first_and_in_steps() -> None:
    conversation = Conversation(max_items=8)
    lengths = []
    for number in range(40):
        conversation.insert("user", f"message {number}")
        lengths.append(len(conversation.items))
    assert max(lengths) <= 8
    assert conversation.items[-1].text == "message 39"
    drops = sum(b < a for a, b in pairwise(lengths))
    assert drops <= 40 // 3  # a cut makes room for several


@given(st.lists(st.text(max_size=400), max_size=60))
def test_the_history_stays_within_its_bounds_whatever_is_said(texts: list[str]) -> None:
    conversation = Conversation(max_items=20, max_tokens=300)
    for text in texts:
        conversation.insert("user", text)
        assert len(conversation.items) <= 20
        size = sum(tokens(item.text) for item in conversation.items)
        assert size <= 300 or len(conversation.items) == 1
        assert conversation.items[-1].text == text
