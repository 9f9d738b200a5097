"""What is kept of a session comes back as it was, and nothing but what was heard."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.engines.ports import Tool
from pipeline.errors import StoreFailed
from pipeline.events import ReplyDone, ReplyStarted, ReplyText, ToolText, UserTranscript
from pipeline.playback import Voiced
from session.conversation import Conversation
from session.items import Item
from session.kept import Kept, at_rest, decoded, nothing, shown
from session.messages import Settings
from session.records import Identity

SETTINGS = Settings("tone", "Be kind.", 1.5, "de-AT", tools=(Tool("dial", "Calls.", "{}"),))
WORDS = st.text(st.characters(exclude_categories=["Cs"]), max_size=50)


def kept(*items: Item) -> Kept:
    empty = nothing(Identity("s_1", "native", "there"), SETTINGS)
    return msgspec.structs.replace(empty, items=items) if False else _with(empty, items)


def _with(empty: Kept, items: tuple[Item, ...]) -> Kept:
    fields = {name: getattr(empty, name) for name in empty.__slots__}
    return Kept(**fields | {"items": items})


@given(st.lists(st.builds(Item, WORDS, st.sampled_from(["user", "assistant", "tool"]), WORDS)))
def test_what_is_written_is_read_again(items: list[Item]) -> None:
    one = kept(*items)
    assert decoded(one.encoded()) == one


@given(
    st.builds(
        Item, WORDS, st.sampled_from(["user", "assistant", "tool"]), WORDS,
        turn=st.integers(0), reply=st.integers(0), status=st.sampled_from(["completed", "failed"]),
        call=WORDS, name=WORDS, spoken=st.booleans(), whole=WORDS,
        voiced=st.sampled_from([(), (Voiced(0, 4, 0, 100),)]), cut_at=st.none() | st.integers(0),
    )
)  # fmt: skip
def test_all_else_of_an_item_at_rest_is_as_it_was(item: Item) -> None:
    assert at_rest(item, "") == replace(item, whole="", voiced=(), cut_at=None)


def test_a_reply_in_its_middle_ends_at_what_was_heard() -> None:
    history = Conversation()
    history.note(UserTranscript(1, "What is the time?", final=True))
    history.note(ReplyStarted(1, 1))
    history.note(ReplyText(1, "It is noon. And it will be one."))
    _, said = (at_rest(item, "It is noon.") for item in history.items)
    assert (said.text, said.status) == ("It is noon.", "interrupted")


def test_a_call_whose_arguments_were_not_whole_is_none() -> None:
    history = Conversation()
    history.note(ReplyStarted(1, 1))
    history.note(ToolText(1, "call_1", "dial", '{"number": "0'))
    (call,) = (at_rest(item, "") for item in history.items)
    assert call.status == "failed"


def test_where_words_lay_in_the_audio_is_not_kept() -> None:
    history = Conversation()
    history.note(ReplyStarted(1, 1))
    history.note(ReplyText(1, "Yes."))
    voiced = (Voiced(0, 4, 0, 100),)
    history.note(ReplyDone(1, 1, "completed", "Yes.", "Yes.", voiced=voiced))
    (item,) = (at_rest(item, "") for item in history.items)
    assert (item.text, item.voiced, item.whole) == ("Yes.", (), "")


@pytest.mark.parametrize("body", [b"", b"{}", b"\xff", b'{"format": 99}'])
def test_what_is_none_is_not_read(body: bytes) -> None:
    with pytest.raises(StoreFailed):
        decoded(body)


def test_a_later_format_is_not_guessed_at() -> None:
    later = kept().encoded().replace(b'"format":1', b'"format":2')
    with pytest.raises(StoreFailed, match="format 2"):
        decoded(later)


def test_half_a_surrogate_pair_cannot_be_written() -> None:
    with pytest.raises(StoreFailed):
        kept(Item("i", "user", "\ud800")).encoded()


def test_an_item_shows_what_it_has() -> None:
    assert shown(Item("i", "user", "Hello.", turn=1)) == {
        "id": "i", "role": "user", "text": "Hello.", "turn": 1, "status": "completed",
    }  # fmt: skip
