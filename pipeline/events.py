"""What a conversation tells its client, in the turn machine's words. Both protocols
project these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from .playback import Voiced

ReplyStatus = Literal["completed", "interrupted", "cancelled", "failed"]


@dataclass(frozen=True, slots=True)
class SpeechStarted:
    """The user began to speak, or went on, `at_ms` of the session's audio."""

    turn: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class SpeechStopped:
    """The user fell silent, for now."""

    turn: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class TurnEnded:
    """The client has ended a turn, which cannot be taken back; its words are not known yet."""

    turn: int


@dataclass(frozen=True, slots=True)
class UserTranscript:
    """What was understood. Final once per turn; `discarded` when there were no words in it, or
    they were not meant to be heard."""

    turn: int
    text: str
    final: bool
    discarded: bool = False
    ref: str | None = None
    ended: bool = False
    """The client ended the turn, though it had no words."""
    timeline: Timeline | None = field(default=None, compare=False)
    """Of a turn without words: its last step is that it was dropped."""


@dataclass(frozen=True, slots=True)
class ReplyStarted:
    """Text and audio of this reply follow."""

    reply: int
    turn: int
    ask: int = 0
    """The client's request that it answers; 0: none did."""
    aside: bool = False
    """It is no part of the conversation."""
    silent: bool = False
    """Only text follows."""


@dataclass(frozen=True, slots=True)
class ReplyText:
    """The next piece of a reply's text."""

    reply: int
    text: str


@dataclass(frozen=True, slots=True)
class ToolText:
    """The next piece of a tool call's arguments; the first comes with the tool's name."""

    reply: int
    call: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ToolCalled:
    """The client's tool is wanted. Its reply ends; the next one follows the tool's answer."""

    reply: int
    call: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class ReplyAudio:
    """The next piece of a reply's audio: signed 16-bit little-endian PCM, from `offset` on."""

    reply: int
    offset: int
    pcm: bytes


@dataclass(frozen=True, slots=True)
class ReplyPaused:
    """Somebody may be cutting in: hold what is buffered."""

    reply: int


@dataclass(frozen=True, slots=True)
class ReplyResumed:
    """It was nothing: play on."""

    reply: int


@dataclass(frozen=True, slots=True)
class Interrupted:
    """The user cut in; no more audio of this reply will come."""

    reply: int
    heard: str


@dataclass(frozen=True, slots=True)
class ReplyAudioEnd:
    """All audio of the reply has been sent."""

    reply: int
    audio_ms: int


@dataclass(frozen=True, slots=True)
class Latency:
    """From the user's last voiced sample to the first audio sent; the parts add up to `total`."""

    endpoint: int
    stt: int
    llm: int
    tts: int

    @property
    def total(self) -> int:
        return self.endpoint + self.stt + self.llm + self.tts


@dataclass(frozen=True, slots=True)
class Timeline:
    """When the steps of a turn were done, in milliseconds after the user's last voiced sample.

    A step before the commit was speculative; None: it never came to it.
    """

    transcript: int | None = None
    commit: int | None = None
    first_token: int | None = None
    first_clause: int | None = None
    first_audio: int | None = None
    first_sent: int | None = None


@dataclass(frozen=True, slots=True)
class ReplyDone:
    """The one end of a reply. `latency` is None when no audio was sent.

    An `apology` was spoken in place of an answer: the user heard it, and the model never said it.
    """

    reply: int
    turn: int
    status: ReplyStatus
    text: str
    heard: str
    latency: Latency | None = None
    timeline: Timeline = Timeline()
    saved: bool = False
    apology: bool = False
    spoken: bool = True
    """Whether the turn was; else it was typed, or this is a greeting."""
    voiced: tuple[Voiced, ...] = ()
    """Where each clause of the text lies in the audio, as far as it was made."""
    cut_short: bool = False
    """The model would have said more, but for the longest reply."""
    unheard_ms: int = 0
    """Audio that was sent, and will not have been heard yet."""
    prompt_tokens: int = 0
    """The model's own count, as are `reply_tokens`; estimated where it does not say."""
    reply_tokens: int = 0
    voiced_at: float = 0.0
    """Where the clock of the timeline begins, in monotonic seconds."""
    aside: bool = False
    """It was no part of the conversation."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Something failed; the session goes on. `error` is one of `pipeline.errors`."""

    error: Exception
    turn: int | None = None
    reply: int | None = None
    ref: str | None = None
    ask: int = 0
    """The request for a reply that it ends; 0: none."""


TurnEvent = (
    SpeechStarted
    | SpeechStopped
    | TurnEnded
    | UserTranscript
    | ReplyStarted
    | ReplyText
    | ToolText
    | ToolCalled
    | ReplyAudio
    | ReplyPaused
    | ReplyResumed
    | Interrupted
    | ReplyAudioEnd
    | ReplyDone
    | Failed
)
