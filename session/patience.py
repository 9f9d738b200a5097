"""What follows when nothing has happened for too long: somebody is asked, a reply given up, or the
session ended."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from pipeline.errors import AntiphonError, PoolTimeout
from pipeline.events import Failed
from pipeline.listening import Listening
from pipeline.signals import Cancel, SaidNothing
from pipeline.utterance import SPEECH_HZ

from .items import turn_item
from .lulls import Lulls
from .messages import Closing, TimedOut
from .telling import Telling
from .turns import Turns

log = structlog.get_logger(__name__)


class Patience:
    """One session's, for each of its lulls."""

    def __init__(
        self,
        lulls: Lulls,
        turns: Turns,
        telling: Telling,
        listening: Listening,
        clock: Callable[[], float],
    ) -> None:
        self._lulls = lulls
        self._turns = turns
        self._telling = telling
        self._listening = listening
        self._clock = clock

    def look_up(self) -> Closing | None:
        """Time has passed: end what has lasted too long. The session's end, if that is it."""
        self._turns.step(None)
        now = self._clock()
        since = self._lulls.unanswered_since(now)
        if since is not None and not self._turns.machine.busy:
            self._break_silence(since)
        if self._lulls.idle(now):
            return Closing(None, "idle")
        return self._get_unstuck() if self._lulls.stuck(now) else None

    def _break_silence(self, since: float) -> None:
        """Nobody has answered a reply for as long as the client would wait."""
        now_ms = self._listening.received_to * 1000 // SPEECH_HZ
        item = turn_item(self._telling.conversation.prefix, self._turns.machine.next_turn)
        silent_ms = round((self._clock() - since) * 1000)
        self._telling.tell(TimedOut(item, max(0, now_ms - silent_ms), now_ms))
        self._turns.step(SaidNothing())

    def _get_unstuck(self) -> Closing | None:
        """Give up a reply that does not get on; without one, the session."""
        reply = self._turns.reply
        if reply is None:  # no engine is waited for: a fault of ours
            phase = self._turns.machine.phase.value
            log.error("session_stuck", session=self._telling.session, phase=phase)
            return Closing(AntiphonError("the conversation got stuck"), "stuck")
        log.warning(
            "reply_stuck", session=self._telling.session, turn=reply.turn, reply=reply.number
        )
        error = PoolTimeout(f"nothing has come of the reply for {self._lulls.stuck_s:.0f} s")
        self._telling.tell(Failed(error, turn=reply.turn or None, reply=reply.number))
        self._turns.step(Cancel())
        return None
