"""The two closed unions between a session and its codec: Commands in, Events out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from pipeline.edges import ON
from pipeline.endpointing import Pace
from pipeline.engines.ports import Tool
from pipeline.errors import AntiphonError
from pipeline.events import TurnEvent
from pipeline.turn import PREROLL, Detection
from pipeline.utterance import SPEECH_HZ

from .conversation import Item
from .conversation import ItemAdded as ItemAdded

Modality = Literal["audio", "text"]
PREROLL_MS = PREROLL * 1000 // SPEECH_HZ


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
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    modality: Modality = "audio"
    """Of replies; "text": nothing is spoken."""
    reply_tokens: int = 0
    """The longest reply; 0: as long as the server lets one be."""
    answers: bool = True
    """A turn begins a reply; else only a `Respond` does."""
    interrupts: bool = True
    """Words over a reply end it."""
    silence_ms: int = 0
    """Silence that ends a turn; 0: words and sound decide."""
    threshold: float = ON
    """The speech probability from which a frame is a voice."""
    preroll_ms: int = PREROLL_MS
    """Audio before the onset that belongs to the turn."""
    idle_timeout_ms: int = 0
    """Silence after a reply upon which another one is made; 0: none is."""


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
    tools: tuple[Tool, ...] | None = None
    tool_choice: str | None = None
    modality: Modality | None = None
    reply_tokens: int | None = None
    answers: bool | None = None
    interrupts: bool | None = None
    silence_ms: int | None = None
    threshold: float | None = None
    preroll_ms: int | None = None
    idle_timeout_ms: int | None = None


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

    must: bool = False
    """It is an error if there is none, and no reply begins by itself."""
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class ClearAudio:
    """What was said and not yet ended was not meant to be heard."""


@dataclass(frozen=True, slots=True)
class CancelReply:
    """Stop the reply."""

    must: bool = False
    """It is an error if there is none."""
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class Respond:
    """Reply now, to what is in the history. None, and "": as the session has it.

    `ask` is the sender's number for it, from 1, and comes back in `ReplyStarted`.
    """

    ask: int
    instructions: str | None = None
    tools: tuple[Tool, ...] | None = None
    tool_choice: str | None = None
    modality: Modality | None = None
    voice: str | None = None
    reply_tokens: int | None = None
    input: tuple[Item | str, ...] | None = None
    """In place of the history: items, or ids of the history's own."""
    aside: bool = False
    """The reply is no part of the history, and waits for the one that is under way."""
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class ToolResult:
    """A tool's answer; when all of a reply's calls are answered, its turn's next reply follows."""

    call: str
    output: str
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class InsertItem:
    """Put an item into the history: at its end, or after another (`conversation.ROOT`: first)."""

    item: Item
    after: str | None = None
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class DeleteItem:
    """Take an item out of the history."""

    item: str
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class TruncateItem:
    """So much of a reply's audio was heard; the rest was not said."""

    item: str
    audio_ms: int
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class RetrieveItem:
    """Show an item of the history."""

    item: str
    ref: str | None = None


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


Edit = InsertItem | DeleteItem | TruncateItem | RetrieveItem
Command = (
    Configure
    | Say
    | Mute
    | Unmute
    | Commit
    | ClearAudio
    | CancelReply
    | Respond
    | ToolResult
    | Edit
    | Clear
    | PlaybackReport
    | Bye
)


def characters_of(command: Command) -> int:
    """What a command brings for the language model to read, in characters."""
    match command:
        case Configure():
            return len(command.instructions or "") + _size(command.tools)
        case Respond():
            items = [item for item in command.input or () if isinstance(item, Item)]
            said = sum(len(item.text) for item in items)
            return len(command.instructions or "") + _size(command.tools) + said
        case Say(text=text) | ToolResult(output=text):
            return len(text)
        case InsertItem(item=item):
            return len(item.text)
        case _:
            return 0


def _size(tools: tuple[Tool, ...] | None) -> int:
    return sum(len(t.name) + len(t.description) + len(t.parameters) for t in tools or ())


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
    items: str = "item_"
    """How the ids of the history's items begin."""


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
