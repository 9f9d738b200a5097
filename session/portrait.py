"""A session as it is: what its client is welcomed with, and what is kept of it."""

from __future__ import annotations

from pipeline.voicing import REPLY_HZ

from .choices import Choices
from .conversation import Conversation
from .kept import Kept, at_rest
from .messages import Welcome
from .records import Identity
from .telling import Telling
from .turns import Turns


class Portrait:
    """Drawn of one session's rooms whenever it is asked for."""

    def __init__(
        self,
        identity: Identity,
        before: Kept,
        connected_at: float,
        choices: Choices,
        history: Conversation,
        turns: Turns,
        telling: Telling,
    ) -> None:
        """`before`: as it was when it began."""
        self._identity = identity
        self._before = before
        self._connected_at = connected_at
        self._choices = choices
        self._history = history
        self._turns = turns
        self._telling = telling

    def welcome(
        self, microphone_hz: int, limits: dict[str, float], token: str | None, *, resumed: bool
    ) -> Welcome:
        """What its client is to know of it; `token`: what brings it back."""
        machine = self._turns.machine
        return Welcome(
            self._identity.session,
            self._choices.settings,
            machine.next_turn,
            machine.replies.next_reply,
            microphone_hz,
            REPLY_HZ,
            limits,
            self._history.prefix,
            token,
            resumed,
            self._before.items,
        )

    def kept(self, turns: int) -> Kept:
        """All that it needs to go on elsewhere, as it would be if the line were lost now; so many
        `turns` had words."""
        machine, history = self._turns.machine, self._history
        heard = self._turns.heard
        return Kept(
            session=self._identity.session,
            user=self._identity.user,
            remote=self._identity.remote,
            connected_at=self._connected_at,
            settings=self._choices.settings,
            items=tuple(at_rest(item, heard) for item in history.items),
            prefix=history.prefix,
            counter=history.given,
            next_turn=machine.next_turn,
            next_reply=machine.replies.next_reply,
            turns=turns,
            typed=tuple(self._telling.typed.items()),
        )
