"""What was said, by whom, and how much of it was heard: the history of one session. Pure.

A projection of the events a session sends (`note`), so that it never says anything the client was
not told, and of what the client puts in or takes out itself. An assistant's item holds what was
heard, never what was generated; an apology for an answer that never came is nobody's words, and
leaves no text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from pipeline.engines.ports import Message
from pipeline.errors import ItemExists, NoSuchItem
from pipeline.events import (
    ReplyDone,
    ReplyStarted,
    ReplyText,
    ToolCalled,
    ToolText,
    TurnEnded,
    UserTranscript,
)

from .items import Item, ItemAdded, cut, turn_item, whole_bytes
from .reading import messages_of, tokens

ROOT = "root"
"""As `after` of `insert`: before everything else."""
WHOLE_BYTES = 65_536
"""What is kept beside the words that were heard, so that replies can be cut anew: all that was
voiced of the latest ones, and where. The last one has it whatever its size."""


class Conversation:
    """Items in order, bounded by count and by tokens.

    When a bound is passed the oldest items go, down to three quarters of it: cutting in steps keeps
    the prompt's beginning the same for many turns, which a language model's prompt cache rewards.
    A call and its answer go together, and what is being answered stays, whatever its size.
    """

    def __init__(
        self,
        *,
        max_items: int = 200,
        max_tokens: int = 1_000,
        prefix: str = "item_",
        items: Iterable[Item] = (),
        given: int = 0,
    ) -> None:
        """`prefix` begins every id that is given here; `items`: what was said before, when so many
        ids had been `given`."""
        self._items = list(items)
        self._max_items = max_items
        self._max_tokens = max_tokens
        self.prefix = prefix
        self.given = given
        self._replies: dict[int, ReplyStarted] = {}
        """Those that have not ended."""
        self._ended = 0
        """The turn that is here, and whose words are not known yet; 0: none."""
        self._opened: set[tuple[int, str]] = set()
        """What of them is known: "" for a reply's words, and its calls."""

    @property
    def items(self) -> tuple[Item, ...]:
        return tuple(self._items)

    def item(self, item_id: str) -> Item:
        """Raises `NoSuchItem`."""
        return self._items[self._index(item_id)]

    # --- what happens in it ----------------------------------------------------------------------

    def note(self, event: object) -> ItemAdded | None:
        """Follow an event that the session sends; events that say nothing new are ignored.

        Returns the item that begins with it.
        """
        match event:
            case TurnEnded(turn):
                self._ended = turn
                return self._append(self._turn(turn, ""))
            case UserTranscript(turn, text, final=True) if turn == self._ended:
                self._ended = 0
                self._hear(turn, text)
            case UserTranscript(turn, text, final=True, discarded=discarded, ended=ended):
                if not discarded or ended:  # a turn that the client ended is there, words or not
                    return self._append(self._turn(turn, text))
            case ReplyStarted():
                self._replies[event.reply] = event
            case ReplyText(reply, text):
                self._change_reply(reply, lambda item: replace(item, text=item.text + text))
                item = Item(f"{self.prefix}r{reply}", "assistant", text, spoken=True)
                return self._open(reply, item)
            case ToolText(reply, call, name, arguments):
                self._change_call(call, lambda item: replace(item, text=item.text + arguments))
                opened = Item(self._call_id(call), "assistant", arguments, call=call, name=name)
                return self._open(reply, opened)
            case ToolCalled(reply, call, name, arguments):
                done = Item(self._call_id(call), "assistant", arguments, call=call, name=name)
                self._change_call(
                    call, lambda item: replace(item, text=arguments, status="completed")
                )
                return self._open(reply, done)
            case ReplyDone():
                self._finish(event)
                self._trim()  # now that its size is known, and before the next prompt is prepared
            case _:
                pass
        return None

    def _turn(self, turn: int, text: str) -> Item:
        return Item(turn_item(self.prefix, turn), "user", text, turn, spoken=True)

    def _hear(self, turn: int, text: str) -> None:
        """Its words are known now, if the client has not deleted it."""
        for at, item in enumerate(self._items):
            if item.turn == turn and item.role == "user":
                self._items[at] = replace(item, text=text)

    def _open(self, number: int, item: Item) -> ItemAdded | None:
        """The first of a reply's words, or of a call's, makes its item."""
        if (number, item.call) in self._opened:
            return None
        self._opened.add((number, item.call))
        reply = self._replies.get(number, ReplyStarted(number, 0))
        spoken = item.spoken and not reply.silent
        item = replace(item, turn=reply.turn, reply=number, spoken=spoken, status="in_progress")
        if reply.aside:
            return ItemAdded(item, None, aside=True)
        return self._append(item)

    def _finish(self, done: ReplyDone) -> None:
        self._replies.pop(done.reply, None)
        self._opened = {(reply, call) for reply, call in self._opened if reply != done.reply}
        said = "" if done.apology else done.heard  # a model that reads apologies learns them

        whole = done.text[: done.voiced[-1].text_end] if done.voiced else ""

        def end(item: Item) -> Item:
            item = replace(item, text=said, status=done.status, whole=whole, voiced=done.voiced)
            return item if item.cut_at is None else cut(item, item.cut_at)

        self._change_reply(done.reply, end)
        self._bound_whole()
        for at, item in enumerate(self._items):
            if item.reply == done.reply and item.status == "in_progress":
                self._items[at] = replace(item, status="failed")  # a call that broke off

    # --- what the client does with it ------------------------------------------------------------

    def insert(self, item: Item, *, after: str | None = None) -> ItemAdded:
        """Put an item in, at the end or after another (`ROOT`: first); without an id it gets one.

        Raises `NoSuchItem` if there is no such other or, for a tool's answer, no such call, and
        `ItemExists` if the id is taken.
        """
        at = len(self._items)
        if after == ROOT:
            at = 0
        elif after is not None:
            at = self._index(after) + 1
        if any(item.id == one.id for one in self._items):
            raise ItemExists(f"there is an item {item.id!r} already")
        if item.role == "tool" and self.call(item.call) is None:
            raise NoSuchItem(f"no tool was called by the id {item.call!r}")
        item = replace(item, id=item.id or self._new_id())
        before = self._items[at - 1].id if at else None
        self._items.insert(at, item)
        self._trim()
        return ItemAdded(item, before)

    def call(self, call: str) -> Item | None:
        """The item of a tool call; None when no such tool is wanted."""
        for item in self._items:
            if item.call == call and item.role == "assistant" and item.status == "completed":
                return item
        return None

    def open_calls(self, reply: int) -> tuple[str, ...]:
        """The calls of a reply that are not answered yet."""
        answered = {item.call for item in self._items if item.role == "tool"}
        return tuple(
            item.call for item in self._items
            if item.reply == reply and item.call and item.call not in answered
            and item.status == "completed"
        )  # fmt: skip

    def delete(self, item_id: str) -> None:
        """Take an item out. Raises `NoSuchItem`."""
        del self._items[self._index(item_id)]

    def truncate(self, item_id: str, played: int) -> None:
        """Cut what was said of a reply to what lies before this sample of its audio.

        Where its words lie is known of the latest replies; an older one stays, or goes as a whole.
        Raises `NoSuchItem`, or `ValueError` if the item is no reply's words.
        """
        at = self._index(item_id)
        item = self._items[at]
        if item.role != "assistant" or item.call:
            raise ValueError("only what a reply says can be cut")
        if item.status == "in_progress":
            self._items[at] = replace(item, cut_at=played)
        else:
            self._items[at] = cut(item, played)

    def clear(self) -> None:
        """Forget everything that was said. Ids are not used again."""
        self._items.clear()

    # --- what the language model sees ------------------------------------------------------------

    def messages(
        self,
        instructions: str,
        *,
        turn: int = 0,
        text: str = "",
        items: Iterable[Item] | None = None,
    ) -> tuple[Message, ...]:
        """The prompt of a reply to `turn`, whose words may not be in the history yet; of `items` in
        place of the history, where they are given."""
        messages = [Message("system", instructions)] if instructions else []
        messages += messages_of(self._items if items is None else list(items), self._max_tokens)
        known = (item for item in self._items if item.role == "user" and item.text)
        if text and not any(item.turn == turn for item in known):
            messages.append(Message("user", text))
        return tuple(messages)

    # --- inside ----------------------------------------------------------------------------------

    def _new_id(self) -> str:
        self.given += 1
        return f"{self.prefix}{self.given}"

    def _call_id(self, call: str) -> str:
        return f"{self.prefix}{call.removeprefix('call_')}"

    def _index(self, item_id: str) -> int:
        for at, item in enumerate(self._items):
            if item.id == item_id:
                return at
        raise NoSuchItem(f"there is no item {item_id!r}")

    def _append(self, item: Item) -> ItemAdded:
        after = self._items[-1].id if self._items else None
        self._items.append(item)
        self._trim()
        return ItemAdded(item, after)

    def _change_reply(self, reply: int, change: Callable[[Item], Item]) -> None:
        self._change(lambda item: item.reply == reply and not item.call, change)

    def _change_call(self, call: str, change: Callable[[Item], Item]) -> None:
        self._change(lambda item: item.call == call, change)

    def _change(self, which: Callable[[Item], bool], change: Callable[[Item], Item]) -> None:
        for at in range(len(self._items) - 1, -1, -1):
            if self._items[at].role == "assistant" and which(self._items[at]):
                self._items[at] = change(self._items[at])
                return

    def _trim(self) -> None:
        # An answer counts as what the model gets to see of it.
        sizes = [
            min(tokens(item.text), self._max_tokens) if item.role == "tool" else tokens(item.text)
            for item in self._items
        ]
        count, total = len(sizes), sum(sizes)
        if count <= self._max_items and total <= self._max_tokens:
            return
        room_items, room_tokens = self._max_items * 3 // 4, self._max_tokens * 3 // 4
        stay = self._answered_now()
        gone: set[int] = set()
        for at, item in enumerate(self._items):
            if count <= room_items and total <= room_tokens:
                break
            if at in stay or at in gone:
                continue
            for other in {at} | (self._places({item.call}) if item.call else set()):
                if other not in stay and other not in gone:
                    gone.add(other)
                    count, total = count - 1, total - sizes[other]
        self._items = [item for at, item in enumerate(self._items) if at not in gone]

    def _bound_whole(self) -> None:
        """Older replies keep no more than what was heard."""
        kept = 0
        for at, item in reversed(list(enumerate(self._items))):
            size = whole_bytes(item) if item.voiced else 0
            if kept and kept + size > WHOLE_BYTES:
                self._items[at] = replace(item, whole="", voiced=())
            else:
                kept += size

    def _places(self, calls: set[str]) -> set[int]:
        """Where these calls and their answers stand."""
        return {at for at, item in enumerate(self._items) if item.call in calls}

    def _answered_now(self) -> set[int]:
        """Where what is being answered stands: the newest item, the newest of the user's, and the
        calls of the newest reply since, with their answers."""
        items = self._items
        user = next((at for at in range(len(items) - 1, -1, -1) if items[at].role == "user"), None)
        stay = {len(items) - 1} if user is None else {len(items) - 1, user}
        since = items if user is None else items[user + 1 :]
        newest = next((item.call for item in reversed(since) if item.call), "")
        if newest:
            reply = next((one.reply for one in items if one.call == newest and one.reply), None)
            calls = {newest} | {one.call for one in items if one.call and one.reply == reply}
            # The last of each: a client may give a call, or its answer, over and over.
            last = {(items[at].call, items[at].role): at for at in sorted(self._places(calls))}
            stay.update(last.values())
        return stay
