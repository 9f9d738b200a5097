"""The two closed unions between a session and its codec: Commands in (their room is `commands.py`),
Events out."""

from __future__ import annotations

from dataclasses import dataclass, field

from pipeline.errors import AntiphonError
from pipeline.events import TurnEvent

from .commands import PREROLL_MS as PREROLL_MS
from .commands import Bye as Bye
from .commands import CancelReply as CancelReply
from .commands import Clear as Clear
from .commands import ClearAudio as ClearAudio
from .commands import Command as Command
from .commands import Commit as Commit
from .commands import Configure as Configure
from .commands import DeleteItem as DeleteItem
from .commands import Edit as Edit
from .commands import InsertItem as InsertItem
from .commands import Modality as Modality
from .commands import Mute as Mute
from .commands import PlaybackReport as PlaybackReport
from .commands import Respond as Respond
from .commands import RetrieveItem as RetrieveItem
from .commands import Say as Say
from .commands import Settings as Settings
from .commands import ToolResult as ToolResult
from .commands import TruncateItem as TruncateItem
from .commands import Unmute as Unmute
from .commands import characters_of as characters_of
from .commands import chosen as chosen
from .items import Item
from .items import ItemAdded as ItemAdded


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
    items: str = "item_"
    """How the ids of the history's items begin."""
    resume: str | None = None
    """The token that brings the session back after a lost connection; None: nothing does."""
    resumed: bool = False
    history: tuple[Item, ...] = ()
    """What was said before, when resumed."""


@dataclass(frozen=True, slots=True)
class Cleared:
    """The conversation is forgotten."""


@dataclass(frozen=True, slots=True)
class AudioCleared:
    """What was said and not yet ended is forgotten."""


@dataclass(frozen=True, slots=True)
class TimedOut:
    """Nothing was said for too long after a reply: an empty turn, and another reply, follow."""

    item: str
    start_ms: int
    """Of the session's audio."""
    end_ms: int


@dataclass(frozen=True, slots=True)
class ItemDeleted:
    """An item is out of the history."""

    item: str


@dataclass(frozen=True, slots=True)
class ItemTruncated:
    """An item says only what was heard of it."""

    item: str
    audio_ms: int


@dataclass(frozen=True, slots=True)
class ItemRetrieved:
    """An item, as it is now."""

    item: Item


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


ItemEvent = ItemAdded | ItemDeleted | ItemTruncated | ItemRetrieved
Event = (
    TurnEvent
    | ItemEvent
    | Waiting
    | Welcome
    | Cleared
    | AudioCleared
    | TimedOut
    | Configured
    | Warned
    | GoingAway
    | Closing
)
