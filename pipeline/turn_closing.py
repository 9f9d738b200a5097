"""How a turn is done with: answered, taken down, superseded, or dropped. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .ends import Fate
from .events import UserTranscript
from .signals import Effect
from .turn_state import TurnState
from .user import Phase
from .utterance import Utterance


class TurnClosing(TurnState):
    """What ends a turn, whatever led to it."""

    def _discard(self, turn: Utterance, now: float) -> Iterator[Effect]:
        yield from self.assistant.take_back()
        if turn.number:  # else nobody has been told of it
            timeline = replace(turn.marks, voiced=turn.voiced_at, commit=now).timeline()
            yield UserTranscript(
                turn.number, "", final=True, discarded=True, ended=turn.meant, timeline=timeline
            )
        self._close()
        yield from self.cut_in.let_go_on(now)

    def _commit(self, turn: Utterance, now: float) -> Iterator[Effect]:
        # What was typed since is answered, and soon: this was said, and is part of its prompt.
        if turn.unanswered or self.user.ends.typed or not self.assistant.answers:
            yield from self.assistant.take_back()
            yield from self._finalise(turn)
            yield from self.cut_in.let_go_on(now)
            return
        self.user.phase = Phase.COMMITTED
        marks = replace(turn.marks, voiced=turn.voiced_at)
        yield from self.assistant.answer(turn.number, turn.text, marks, now)
        if turn.forced or self.replies.ready:
            yield from self._start_reply()
        yield from self._obey(turn.fate, now)

    def _obey(self, fate: Fate, now: float) -> Iterator[Effect]:
        """The reply has left; it ends at once if it was cancelled before it could begin."""
        if fate is Fate.CANCELLED:
            yield from self.replies.cancel(now)

    def _start_reply(self) -> Iterator[Effect]:
        """The reply leaves: from now on its turn cannot be taken back."""
        if self.replies.drafted is not None and self.user.turn is not None:
            yield from self._finalise(self.user.turn)
            yield from self.replies.start()

    def _finalise(self, turn: Utterance) -> Iterator[Effect]:
        """The committed turn is not taken back any more."""
        yield UserTranscript(turn.number, turn.text, final=True)
        self._close()

    def _close(self) -> None:
        """The turn is done with."""
        self.user.close()
        self.cut_in.settle()
        self.speculation.settle()

    def _supersede(self, now: float) -> Iterator[Effect]:
        """A newer turn ends what an older one is still being answered with."""
        self.speculation.waste()
        if self.user.committed and self.user.turn is not None:
            yield from self._finalise(self.user.turn)  # it was said, though its answer never leaves
        yield from self.assistant.stop(now)
