"""The settings that a client may choose for its session, and Commands: all that it may ask."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from pipeline.edges import ON
from pipeline.endpointing import Pace
from pipeline.engines.ports import Tool
from pipeline.turn_config import PREROLL, Detection
from pipeline.utterance import SPEECH_HZ

from .items import Item

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


@dataclass(frozen=True, slots=True)
class Configure:
    """Change settings, from the next reply on. None leaves a setting as it is; a language of "" is
    the recogniser's own."""

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


def chosen(settings: Settings, change: Configure) -> Settings:
    """The settings after a change."""
    given = {
        name: value
        for name in change.__dataclass_fields__
        if (value := getattr(change, name)) is not None
    }
    after = replace(settings, **given)
    return after if after.language else replace(after, language=None)


@dataclass(frozen=True, slots=True)
class Say:
    """A typed turn. The same `ref` again is answered by its transcript and otherwise ignored."""

    text: str
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class Mute:
    """Nothing is heard from now on, and no frames is what is meant; ends a turn under way."""


@dataclass(frozen=True, slots=True)
class Unmute:
    """Frames will come again, and are heard."""


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
    reply: int = 0
    """Only this one; 0: the conversation's, whichever it is."""
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
    """0: as long as the server lets one be."""
    input: tuple[Item | str, ...] | None = None
    """In place of the history: items, or ids of the history's own."""
    aside: bool = False
    """The reply is no part of the history, and is made beside what goes on."""
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
            said = sum(map(_read, items))
            return len(command.instructions or "") + _size(command.tools) + said
        case Say(text=text) | ToolResult(output=text):
            return len(text)
        case InsertItem(item=item):
            return _read(item)
        case _:
            return 0


def _read(item: Item) -> int:
    return len(item.text) + len(item.name)


def _size(tools: tuple[Tool, ...] | None) -> int:
    return sum(len(t.name) + len(t.description) + len(t.parameters) for t in tools or ())
