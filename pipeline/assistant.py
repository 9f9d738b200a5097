"""The assistant's half of the turn machine: which reply is made, to what, and which wait. Pure.

One reply at a time (`replies`): begun by a turn, on a guess that the turn is over, or asked for.
What a guess has made is gone without a trace when the user goes on. Of the user it knows nothing.
"""

from __future__ import annotations

from collections.abc import Iterator

from .latency import Marks
from .playback import Playback
from .replies import Replies
from .reply import Numbers
from .signals import Ask, Confirm, Effect
from .speculation import Speculation
from .turn_config import TurnConfig

MOST_ASKS = 16
"""Replies asked for that may wait; whoever asks for more is refused before it comes here."""


class Assistant:
    """The one who answers."""

    def __init__(self, config: TurnConfig, numbers: Numbers) -> None:
        self.config = config
        self.replies = Replies(numbers)
        self.speculation = Speculation()
        self.asks: list[Ask] = []
        """Replies that were asked for and cannot begin yet."""

    # --- what is known ---------------------------------------------------------------------------

    @property
    def replying(self) -> bool:
        """A reply that the client knows of is under way."""
        return self.replies.started is not None

    @property
    def answers(self) -> bool:
        """A turn that ends now begins a reply."""
        return self.config.answers and (self.config.interrupts or not self.replying)

    @property
    def promised(self) -> Ask | None:
        """The reply that was asked for and begins as soon as it can."""
        return next((ask for ask in self.asks if not ask.waits), None)

    # --- a reply to a turn -----------------------------------------------------------------------

    def guess(self, turn: int, words: str, marks: Marks, now: float) -> Iterator[Effect]:
        """Begin a reply to what was understood so far; it is held until the turn is committed."""
        if self.speculation.words == words:
            return
        yield from self.take_back()
        if self.replies.current is None:
            self.speculation.begin(words, now)
            yield from self._draft(turn, words, marks, speculative=True)

    def take_back(self) -> Iterator[Effect]:
        """The turn goes on: what was being made for it is gone without a trace."""
        self.speculation.waste()
        yield from self.replies.drop()

    def answer(self, turn: int, words: str, marks: Marks, now: float) -> Iterator[Effect]:
        """The turn is committed: it is answered with what was begun for it, or anew."""
        begun = self.replies.drafted if self.speculation.words == words else None
        if begun is not None and begun.error is None:  # what goes last may have failed for that
            self.speculation.keep(now)
            begun.marks.commit_to(marks)
            yield Confirm(begun.draft)
        else:
            yield from self.stop(now)
            yield from self._draft(turn, words, marks)

    def stop(self, now: float) -> Iterator[Effect]:
        """Something newer is answered: what is being made is dropped, what is being said ends."""
        yield from self.take_back()
        yield from self.replies.interrupt(now)

    # --- replies that no turn waits for ----------------------------------------------------------

    def say(self, turn: int, words: str, now: float, *, verbatim: bool = False) -> Iterator[Effect]:
        """Reply to a typed turn, or speak these words themselves (`verbatim`), at once."""
        text, say = ("", words) if verbatim else (words, None)
        yield from self._draft(turn, text, Marks.unspoken(now), say=say)
        yield from self.replies.start()

    def ask(self, ask: Ask) -> None:
        """A reply is wanted; it waits for its moment."""
        if len(self.asks) < MOST_ASKS:
            self.asks.append(ask)

    def next_ask(self, *, quiet: bool) -> Ask | None:
        """Take the first that waits, if it may begin now. `quiet`: nobody speaks."""
        if not self.asks:
            return None
        ask = self.asks[0]
        may = self.replies.current is None and quiet if ask.waits else not self.replying
        return self.asks.pop(0) if may else None

    def begin(self, ask: Ask, now: float) -> Iterator[Effect]:
        """The moment is here."""
        yield from self.replies.draft(
            ask.turn, "", Marks.unspoken(now), self._playback(), silent=ask.silent, ask=ask.ask
        )
        yield from self.replies.start()

    # --- inside ----------------------------------------------------------------------------------

    def _draft(
        self, turn: int, text: str, marks: Marks,
        *, say: str | None = None, speculative: bool = False,
    ) -> Iterator[Effect]:  # fmt: skip
        yield from self.replies.draft(
            turn, text, marks, self._playback(), say,
            speculative=speculative, silent=self.config.silent,
        )  # fmt: skip

    def _playback(self) -> Playback:
        config = self.config
        return Playback(config.rate_hz, config.send_ahead_s, followed=config.follows_playback)
