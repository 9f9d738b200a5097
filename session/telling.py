"""What the client is told, in order, and everything that keeps account of it.

History, figures, budget, log and the wait for an answer are projections of what is told here: none
of them can say anything that the client does not know.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import asdict, replace

import structlog

from pipeline.events import Failed, ReplyDone, ReplyStarted, Timeline, UserTranscript

from .budgets import Budget
from .conversation import Conversation
from .lulls import Lulls
from .messages import Event
from .reading import tokens
from .records import Figures

REFS = 64
"""Typed turns whose ids are remembered, so that one sent again is not answered twice."""


class Telling:
    """One session's way to its client; `tell` never waits."""

    def __init__(
        self,
        session: str,
        conversation: Conversation,
        budget: Budget,
        lulls: Lulls,
        send: Callable[[Event], None],
        clock: Callable[[], float],
        typed: Iterable[tuple[str, int]] = (),
    ) -> None:
        """`typed`: as it was, when the session goes on from elsewhere."""
        self.session = session
        self.conversation = conversation
        self.budget = budget
        self.figures = Figures()
        self.prompt_tokens = 0
        """Of the reply begun last."""
        self.aside_tokens = 0
        """Of the one begun last beside the conversation."""
        self.typed: OrderedDict[str, int] = OrderedDict(typed)
        """Turns by the ids that typed ones came with."""
        self._asides: dict[int, int] = {}
        """The same of those that have not ended, by their numbers."""
        self._lulls = lulls
        self._send = send
        self._clock = clock
        self._log = structlog.get_logger(__name__).bind(session=session)

    def _counted(self, done: ReplyDone) -> ReplyDone:
        """With its size in tokens: the model's own count, or an estimate."""
        if done.prompt_tokens:
            return done
        size = tokens(done.text) if done.text else 0
        prompt = self._asides.get(done.reply, self.prompt_tokens)
        return replace(done, prompt_tokens=prompt, reply_tokens=size)

    def tell(self, event: Event) -> None:
        """Tell it, and account for it."""
        self._lulls.told(event, self._clock())
        if isinstance(event, ReplyStarted) and (event.turn or event.ask):
            self.budget.spend_turn()  # only now: speculation that came to nothing costs nothing
        if isinstance(event, ReplyStarted) and event.aside:
            self._asides[event.reply] = self.aside_tokens
        if isinstance(event, ReplyDone):
            event = self._counted(event)
            self._asides.pop(event.reply, None)
        if isinstance(event, UserTranscript) and event.ref is not None:
            self._remember(event.ref, event.turn)
        if (added := self.conversation.note(event)) is not None:
            self._send(added)
        self.figures.note(event)
        self._log_event(event)
        self._send(event)

    def _remember(self, ref: str, turn: int) -> None:
        while len(self.typed) >= REFS:
            self.typed.popitem(last=False)
        self.typed[ref] = turn

    def repeat(self, event: Event) -> None:
        """Tell again what was accounted for when it was told first."""
        self._send(event)

    def _log_event(self, event: Event) -> None:
        match event:
            case UserTranscript(turn=turn, final=True, timeline=Timeline() as timeline):
                known = {step: ms for step, ms in asdict(timeline).items() if ms is not None}
                self._log.info("turn_committed", turn=turn, discarded=True, timeline_ms=known)
            case UserTranscript(turn=turn, final=True, discarded=discarded):
                self._log.info("turn_committed", turn=turn, discarded=discarded)
            case ReplyStarted(reply, turn):
                self._log.info("reply_started", turn=turn, reply=reply)
            case ReplyDone() as done:
                self._log.info(
                    "reply_done", turn=done.turn, reply=done.reply, status=done.status,
                    spoken=done.spoken, latency_ms=done.latency.total if done.latency else None,
                    timeline_ms=asdict(done.timeline),
                )  # fmt: skip
            case Failed(error, turn, reply):
                self._log.warning("request_failed", turn=turn, reply=reply, error=str(error))
            case _:
                pass
