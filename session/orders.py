"""What follows from a client's commands."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.assistant import MOST_ASKS
from pipeline.ends import MOST_TYPED
from pipeline.errors import BadMessage, NoReplyUnderWay, NoSuchItem, RateLimited, ReplyUnderWay
from pipeline.events import Failed, UserTranscript
from pipeline.signals import Ask, Cancel, Forget, Played, Typed

from .choices import Choices
from .editing import edit
from .items import Item
from .messages import (
    CancelReply,
    Clear,
    Cleared,
    Configure,
    Configured,
    Edit,
    PlaybackReport,
    Respond,
    Say,
    ToolResult,
)
from .prompts import Prompts
from .telling import Telling
from .turns import Turns

TYPED_AGAIN_S = 1.0
"""The words that typed turns wait for are there by then as a rule."""

Order = Configure | Say | CancelReply | Respond | ToolResult | Edit | Clear | PlaybackReport


class Orders:
    """One session's client, obeyed; what cannot be done, it is told."""

    def __init__(
        self,
        choices: Choices,
        prompts: Prompts,
        turns: Turns,
        telling: Telling,
        clock: Callable[[], float],
    ) -> None:
        self._choices = choices
        self._prompts = prompts
        self._turns = turns
        self._telling = telling
        self._history = telling.conversation
        self._clock = clock

    def obey(self, order: Order) -> None:
        """Do as the client says."""
        match order:
            case PlaybackReport(reply, played_ms, done):
                self._turns.step(Played(reply, played_ms, done))
            case Say():
                self._say(order)
            case Configure():
                self._choices.change(order)
                self._turns.reconfigure()
                self._telling.tell(Configured(self._choices.settings))
            case CancelReply(must, reply, ref):
                if must and not self._turns.machine.can_cancel(reply):
                    error = NoReplyUnderWay("there is no such reply to cancel")
                    self._telling.tell(Failed(error, ref=ref))
                self._turns.step(Cancel(reply))
            case Respond():
                self._respond(order)
            case ToolResult():
                self._take_result(order)
            case Clear():
                self._turns.step(Forget())
                self._history.clear()
                self._turns.asked.clear()
                self._telling.tell(Cleared())
            case _:
                self._edit(order)

    def _say(self, typed: Say) -> None:
        ref, ends = typed.ref, self._turns.machine.user.ends
        if ref is not None and (turn := self._telling.typed.get(ref)) is not None:
            self._telling.repeat(UserTranscript(turn, typed.text, final=True, ref=ref))
            return
        if ref is not None and any(one.ref == ref for one in ends.typed):
            return  # its transcript comes when it is its turn
        try:
            self._telling.budget.check_turn(self._clock())
            if not ends.has_room_for(typed.text):
                wait = f"{MOST_TYPED} typed turns, or long ones, wait for words already"
                raise RateLimited(wait, retry_after_s=TYPED_AGAIN_S)
        except RateLimited as error:
            self._telling.tell(Failed(error, ref=ref))
            return
        self._turns.step(Typed(typed.text, ref))

    def _respond(self, wanted: Respond) -> None:
        """The client asks for a reply."""
        machine = self._turns.machine
        try:
            if not wanted.aside and machine.answering:
                raise ReplyUnderWay("a reply is under way: cancel it, or wait for its end")
            if machine.asked >= MOST_ASKS:
                raise RateLimited(f"{MOST_ASKS} replies wait already: at most so many may")
            self._telling.budget.check_turn(self._clock())
            self._prompts.items_of(wanted)
        except (ReplyUnderWay, RateLimited, NoSuchItem) as error:
            self._telling.tell(Failed(error, ref=wanted.ref, ask=wanted.ask))
            return
        self._turns.asked[wanted.ask] = wanted
        silent = self._choices.silent(wanted.modality)
        self._turns.step(Ask(wanted.ask, aside=wanted.aside, silent=silent))

    def _take_result(self, result: ToolResult) -> None:
        """A tool has answered: when it is the last that a reply waits for, the turn goes on."""
        call = self._history.call(result.call)
        try:
            if call is None:
                raise NoSuchItem(f"no tool was called by the id {result.call!r}")
            if result.call not in self._history.open_calls(call.reply):
                raise BadMessage(f"the call {result.call!r} was answered already")
        except (NoSuchItem, BadMessage) as error:
            self._telling.tell(Failed(error, ref=result.ref))
            return
        answer = Item("", "tool", result.output, call.turn, call=result.call)
        self._telling.tell(self._history.insert(answer))
        if not self._history.open_calls(call.reply):
            silent = self._choices.silent()
            self._turns.step(Ask(0, call.turn, waits=True, silent=silent))

    def _edit(self, command: Edit) -> None:
        """The client changes the history, or looks at it."""
        try:
            self._telling.tell(edit(self._history, command))
        except (BadMessage, NoSuchItem) as error:
            self._telling.tell(Failed(error, ref=command.ref))
