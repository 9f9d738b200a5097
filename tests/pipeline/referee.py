"""The referee of conversations in tests: watches what the machine gives, and knows the rules."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field

from pipeline.asides import MOST_ASIDES
from pipeline.events import (
    Failed,
    Interrupted,
    ReplyAudioEnd,
    ReplyDone,
    ReplyPaused,
    ReplyResumed,
    ReplyStarted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCalled,
    ToolText,
    TurnEnded,
    UserTranscript,
)
from pipeline.playback import Voiced
from pipeline.signals import (
    Confirm,
    Draft,
    Drop,
    Effect,
    Look,
    Send,
)


@dataclass
class Work:
    """A draft, as its stages know it."""

    aside: bool = False
    silent: bool = False
    reply: int | None = None
    made: int = 0
    text: str = ""
    spoken: int = 0
    whole: bool = False
    """There is nothing more to be made."""
    voiced: list[Voiced] = field(default_factory=list)
    """The clauses, as far as they are made."""
    making: Voiced | None = None
    """The one that is being made, up to where it is."""

    @property
    def written(self) -> int:
        return len(self.text)


@dataclass
class Told:
    """A reply, as the client knows it."""

    work: Work
    silent: bool
    text: str = ""
    calls: dict[str, str] = field(default_factory=dict)
    """Arguments of tool calls, by their ids."""
    wanted: set[str] = field(default_factory=set)
    sent: int = 0
    paused: bool = False
    all_sent: bool = False
    played: int = 0
    """The client's last word on its playback: samples, no more than were sent."""
    flushed: bool = False
    """The client said that it would play no more of the reply."""


@dataclass
class Referee:
    """Watches every effect, and knows the rules."""

    reply: int | None = None
    """The conversation's; there may be others beside it."""
    replies: dict[int, Told] = field(default_factory=dict)
    """Those that have started and not ended."""
    last_reply: int = 0
    works: dict[int, Work] = field(default_factory=dict)
    """Drafts in the making."""
    guess: int | None = None
    """The draft that is speculative still: only its beginning is made."""
    finals: Counter[int] = field(default_factory=Counter)
    ended: Counter[int] = field(default_factory=Counter)
    speech: Counter[int] = field(default_factory=Counter)

    def see(self, effect: Effect) -> None:
        match effect:
            case ReplyStarted():
                self._start(effect)
            case ReplyText(reply, text):
                self.replies[reply].text += text
            case ToolText(reply, call, _, arguments):
                calls = self.replies[reply].calls
                calls[call] = calls.get(call, "") + arguments
            case ToolCalled(reply, call, _, arguments):
                told = self.replies[reply]
                assert call not in told.wanted, "a tool is wanted once"
                assert told.calls.get(call, arguments) == arguments, "the pieces add up"
                told.wanted.add(call)
            case Send(draft, reply, start, end):
                told = self.replies[reply]
                assert self.works[draft] is told.work, "it is this reply's audio"
                assert not told.silent, "text only is text only"
                assert not told.paused, "a held reply says nothing"
                assert not told.all_sent, "no audio follows the last"
                assert start == told.sent < end, "audio is sent in order, once"
                told.sent = end
            case ReplyPaused(reply):
                assert reply == self.reply, "what is beside the conversation is in nobody's way"
                assert not self.replies[reply].paused
                self.replies[reply].paused = True
            case ReplyResumed(reply):
                assert self.replies[reply].paused
                self.replies[reply].paused = False
            case ReplyAudioEnd(reply):
                assert not self.replies[reply].all_sent
                self.replies[reply].all_sent = True
            case Interrupted(reply):
                assert reply == self.reply
            case ReplyDone() as done:
                told = self.replies.pop(done.reply)  # one end for every start
                assert done.text == told.text, "the pieces add up to the whole"
                cut = done.status in ("interrupted", "cancelled")
                assert cut or not told.paused, "who held it may let it go"
                judge_heard(done, told)
                if done.reply == self.reply:
                    self.reply = None
            case UserTranscript(turn=turn, final=final):
                assert turn, "what has no number, nobody is told of"
                assert not self.finals[turn], "nothing follows a final transcript"
                self.finals[turn] += final
            case TurnEnded(turn):
                assert not self.finals[turn]
                self.ended[turn] += 1
                assert self.ended[turn] == 1, "a turn is ended once"
            case SpeechStarted(turn):
                assert turn
                assert self.speech[turn] == 0
                self.speech[turn] += 1
            case SpeechStopped(turn):
                assert self.speech[turn] == 1
                self.speech[turn] -= 1
            case Draft() as begun:
                others = [work for work in self.works.values() if work.aside == begun.aside]
                assert len(others) < (MOST_ASIDES if begun.aside else 1), "the last was dropped"
                self.works[begun.draft] = Work(begun.aside, begun.silent)
                if not begun.aside:
                    self.guess = begun.draft if begun.speculative else None
            case Confirm(draft):
                assert draft == self.guess, "what comes true was a guess, and comes true once"
                self.guess = None
            case Drop(draft):
                del self.works[draft]  # once
            case Look() | Failed():
                pass
            case _:
                raise AssertionError(f"nobody knows the rules for {effect}")

    def _start(self, started: ReplyStarted) -> None:
        assert started.reply == self.last_reply + 1, "replies are counted without gaps"
        self.last_reply = started.reply
        draft, work = next(
            (draft, work)
            for draft, work in self.works.items()
            if work.reply is None and work.aside == started.aside
        )
        if started.aside:
            assert not started.turn
        else:
            assert self.reply is None, "two replies at once"
            assert draft != self.guess, "what is told is no guess any more"
            assert started.turn == 0 or self.finals[started.turn] == 1, "its turn is final first"
            self.reply = started.reply
        work.reply = started.reply
        self.replies[started.reply] = Told(work, started.silent)


def judge_heard(done: ReplyDone, told: Told) -> None:
    """Nothing that cannot have been played, and everything that the client has played."""
    assert done.text.startswith(done.heard)
    if told.silent or (done.status == "completed" and not told.flushed):
        assert done.heard == done.text
        return
    if done.status == "completed" and done.unheard_ms <= 20 and done.heard == done.text:
        return  # flushed so close to its end that it was heard
    most = told.played if told.flushed else told.sent
    last = max((heard_of(one, done.text, most)[1] for one in told.work.voiced), default=0)
    making = told.work.making
    if making is not None and making.start < most:
        last = making.text_end - 1
    assert len(done.heard) <= last
    least = max((heard_of(one, done.text, told.played)[0] for one in told.work.voiced), default=0)
    assert len(done.heard) >= len(done.text[:least].rstrip())


def heard_of(clause: Voiced, text: str, played: int) -> tuple[int, int]:
    """Up to where in the text a clause was heard, at least and at most, when so much was played:
    word by word where it is known when each was said."""
    if played >= clause.end:
        return clause.text_end, clause.text_end
    if played <= clause.start:
        return 0, 0
    if not clause.words:
        return 0, clause.text_end
    words = [*re.finditer(r"\S+", text[clause.text_start : clause.text_end])]
    said = sum(end <= played for end in clause.words[1:])
    at = clause.text_start + (words[said - 1].end() if said else 0)
    return at, at
