"""One reply, from its draft to its end: what of it is made, and what it came to. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from .engines.ports import Usage
from .events import ReplyDone, ReplyStatus, ToolCalled
from .latency import Marks
from .playback import Playback


@dataclass(slots=True)
class Numbers:
    """What drafts and replies are counted by, those beside the conversation too."""

    next_reply: int
    next_draft: int = 1

    def take_reply(self) -> int:
        """The number of a reply that starts."""
        self.next_reply += 1
        return self.next_reply - 1

    def take_draft(self) -> int:
        """The number of a draft that is begun."""
        self.next_draft += 1
        return self.next_draft - 1


@dataclass(slots=True)
class Reply:
    """One reply. `number` is None until the client knows of it."""

    draft: int
    turn: int
    playback: Playback
    marks: Marks
    number: int | None = None
    ask: int = 0
    aside: bool = False
    silent: bool = False
    """Text only."""
    text: str = ""
    calls: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Tools that are wanted, as far as is known: id -> name, arguments."""
    cut_short: bool = False
    usage: Usage | None = None
    apology: bool = False
    """The text is no model's: there was no answer."""
    error: Exception | None = None
    error_told: bool = False
    end_told: bool = False

    def wanted(self) -> Iterator[ToolCalled]:
        """The tools are wanted now; one whose arguments broke off is not."""
        if self.number is None or self.error is not None or self.cut_short:
            return
        for call, (name, arguments) in self.calls.items():
            yield ToolCalled(self.number, call, name, arguments)

    def done(self, status: ReplyStatus, now: float) -> ReplyDone:
        """It ends so."""
        assert self.number is not None
        playback, marks, usage = self.playback, self.marks, self.usage or Usage(0, 0)
        read = self.silent or (status == "completed" and not playback.flushed(now))
        return ReplyDone(
            self.number, self.turn, status, self.text,
            self.text if read else playback.heard(self.text, now),
            marks.latency(), marks.timeline(),
            apology=self.apology, spoken=marks.spoken, voiced=playback.voiced,
            cut_short=self.cut_short, unheard_ms=playback.unheard_ms(now), voiced_at=marks.voiced,
            prompt_tokens=usage.prompt_tokens, reply_tokens=usage.reply_tokens,
            aside=self.aside,
        )  # fmt: skip
