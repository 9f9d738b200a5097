"""The two closed unions between a session and its codec: Commands in, Events out."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.endpointing import Pace
from pipeline.errors import AntiphonError
from pipeline.events import TurnEvent
from pipeline.turn import Detection


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client may choose for its session."""

    voice: str
    instructions: str
    speed: float = 1.0
    language: str | None = None
    """None: whatever the recogniser's own is."""
    pace: Pace = "normal"
    detection: Detection = "auto"


# --- Commands: from the client --------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Configure:
    """Change settings, from the next reply on. None leaves a setting as it is."""

    voice: str | None = None
    instructions: str | None = None
    speed: float | None = None
    language: str | None = None
    pace: Pace | None = None
    detection: Detection | None = None


@dataclass(frozen=True, slots=True)
class Say:
    """A typed turn. The same `ref` again is answered by its transcript and otherwise ignored."""

    text: str
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class Mute:
    """No frames is what is meant from now on; ends a turn that is under way."""


@dataclass(frozen=True, slots=True)
class Unmute:
    """Frames will come again."""


@dataclass(frozen=True, slots=True)
class Commit:
    """The user's turn is over now."""


@dataclass(frozen=True, slots=True)
class CancelReply:
    """Stop the reply."""


@dataclass(frozen=True, slots=True)
class Clear:
    """Forget the conversation."""


@dataclass(frozen=True, slots=True)
class PlaybackReport:
    """How much of a reply has left the client's loudspeaker."""

    reply: int
    played_ms: float
    done: bool = False


@dataclass(frozen=True, slots=True)
class Bye:
    """End the session for good."""


Command = Configure | Say | Mute | Unmute | Commit | CancelReply | Clear | PlaybackReport | Bye


# --- Events: to the client ------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Waiting:
    """Every place is taken: so many are to go before, and perhaps so long."""

    position: int
    eta_s: int | None


@dataclass(frozen=True, slots=True)
class Welcome:
    """Admitted."""

    session: str
    settings: Settings
    next_turn: int
    next_reply: int
    microphone_hz: int
    reply_hz: int
    limits: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Cleared:
    """The conversation is forgotten."""


@dataclass(frozen=True, slots=True)
class Configured:
    """The settings as they are now."""

    settings: Settings


@dataclass(frozen=True, slots=True)
class Warned:
    """Something was dropped or slowed."""

    error: AntiphonError
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class GoingAway:
    """The server is draining: reconnect."""

    reconnect_in_ms: int


@dataclass(frozen=True, slots=True)
class Closing:
    """The session is over. `error` is None after a `Bye`; the codec knows the close code."""

    error: AntiphonError | None = None
    reason: str = ""


Event = TurnEvent | Waiting | Welcome | Cleared | Configured | Warned | GoingAway | Closing
