"""What is known of one conversation's turns: both halves, and what others may ask of them. Pure."""

from __future__ import annotations

from .asides import Asides
from .assistant import Assistant
from .cutting_in import BargeIns, CutIn
from .replies import Replies
from .reply import Numbers
from .speculation import Speculation
from .turn_config import TurnConfig
from .user import Phase, User


class TurnState:
    """The user, the assistant, who of them goes on when both speak, and what goes on beside."""

    def __init__(self, config: TurnConfig, *, next_turn: int = 1, next_reply: int = 1) -> None:
        self.config = config
        self.user = User(config, next_turn)
        numbers = Numbers(next_reply)
        self.assistant = Assistant(config, numbers)
        self.asides = Asides(numbers)
        self.cut_in = CutIn(self.assistant.replies)

    @property
    def phase(self) -> Phase:
        """Where the user's turn stands."""
        return self.user.phase

    @property
    def next_turn(self) -> int:
        """The number that the next turn will have."""
        return self.user.next_turn

    @property
    def replies(self) -> Replies:
        """The reply that is made, and the one that is heard."""
        return self.assistant.replies

    @property
    def speculation(self) -> Speculation:
        """The reply that is begun too early, and how that went."""
        return self.assistant.speculation

    @property
    def barge_ins(self) -> BargeIns:
        """How often somebody spoke over a reply."""
        return self.cut_in.count

    @property
    def inside_speech(self) -> bool:
        """Somebody is speaking, or has just paused: missing frames would mean silence."""
        turn = self.user.open
        return turn is not None and not turn.manual

    @property
    def busy(self) -> bool:
        """A turn or its reply is under way. A manual turn that is not ended may be mere silence."""
        turn = self.user.turn
        return (
            self.replies.current is not None
            or bool(self.assistant.asks)
            or (turn is not None and (turn.forced or not turn.manual))
        )

    @property
    def answering(self) -> bool:
        """A reply is under way, or asked for and about to begin: no second one can."""
        return self.assistant.replying or self.assistant.promised is not None

    @property
    def cancellable(self) -> bool:
        """There is a reply to cancel, or one that will be in a moment."""
        turn = self.user.turn
        owed = turn is not None and turn.forced and not turn.unanswered
        return self.answering or self.user.committed or (owed and self.assistant.answers)

    def can_cancel(self, reply: int = 0) -> bool:
        """The same of this one, which may be beside the conversation; 0: of the conversation's."""
        if not reply:
            return self.cancellable
        started = self.replies.started
        return self.asides.has(reply) or (started is not None and started.number == reply)

    @property
    def asked(self) -> int:
        """How many replies wait that were asked for."""
        return len(self.assistant.asks) + self.asides.waiting

    @property
    def progress(self) -> tuple[int, ...] | None:
        """Another one whenever a reply, or the words it waits for, get on; None: nobody waits."""
        reply, turn, committed = self.replies.current, self.user.turn, self.user.committed
        if reply is not None and (reply.number is not None or committed):
            playback = reply.playback
            return (reply.draft, len(reply.text), playback.made, playback.sent, playback.complete)
        if turn is not None and (committed or (self.phase is Phase.PAUSED and not turn.answered)):
            return (turn.key, sum(segment.answered_to for segment in turn.segments))
        return None

    def next_wake(self, now: float) -> float | None:
        """When `step(None, ...)` is due if no event comes before; None: only an event matters."""
        wakes = (self.cut_in.next_wake, self.replies.next_wake(now), self.asides.next_wake(now))
        return min([wake for wake in wakes if wake is not None], default=None)
