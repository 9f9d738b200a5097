"""What the turn machine takes in, and what follows from it: two closed unions. Pure.

A draft is a reply in the making; it gets a reply's number only when it leaves for the client.
"""

from __future__ import annotations

from dataclasses import dataclass

from .events import TurnEvent

# --- Events: what comes in -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """A frame of the microphone: its speech probability, its end, its arrival, and its level."""

    probability: float
    end: int
    arrived: float
    level_dbfs: float = 0.0


@dataclass(frozen=True, slots=True)
class Looked:
    """The answer to a `Look`: the words, or that it was the reply itself, out of a loudspeaker."""

    key: int
    segment: int
    attempt: int
    text: str
    echo: bool = False
    end: int = 0
    """Of the window."""


@dataclass(frozen=True, slots=True)
class Voted:
    """The end-of-turn model's answer to a `Look`: how likely it is that the turn is over."""

    key: int
    segment: int
    attempt: int
    end_of_turn: float


@dataclass(frozen=True, slots=True)
class LookFailed:
    """A `Look` that brought nothing."""

    key: int
    segment: int
    attempt: int
    error: Exception


@dataclass(frozen=True, slots=True)
class EndTurn:
    """The user says that the turn is over; `at` is the end of the audio received by then.

    Muting ends only a turn that is under way: `if_any`.
    """

    at: int
    if_any: bool = False


@dataclass(frozen=True, slots=True)
class Typed:
    text: str
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class Greet:
    """Speak this before anybody has said a word."""

    text: str


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop the reply."""


@dataclass(frozen=True, slots=True)
class Forget:
    """The conversation is forgotten: what was made from it must not be said."""


@dataclass(frozen=True, slots=True)
class Played:
    """The client's report of its playback, in milliseconds of the reply's audio."""

    reply: int
    played_ms: float
    done: bool = False


@dataclass(frozen=True, slots=True)
class DraftText:
    """More of a reply's text; an `apology` is spoken in place of one, and no model said it."""

    draft: int
    text: str
    apology: bool = False


@dataclass(frozen=True, slots=True)
class DraftClause:
    """A clause has left for the synthesizer: the model's part in the latency ends here."""

    draft: int


@dataclass(frozen=True, slots=True)
class DraftAudio:
    """So many more samples of audio lie ready."""

    draft: int
    samples: int


@dataclass(frozen=True, slots=True)
class DraftVoiced:
    """A clause's audio is whole: its span of the text, and its span of the audio."""

    draft: int
    text_start: int
    text_end: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class DraftMade:
    """All there will be of this draft is made; `error` if it was cut short."""

    draft: int
    error: Exception | None = None


Event = (
    Heard
    | Looked
    | LookFailed
    | Voted
    | EndTurn
    | Typed
    | Greet
    | Cancel
    | Forget
    | Played
    | DraftText
    | DraftClause
    | DraftAudio
    | DraftVoiced
    | DraftMade
)


# --- Effects: what follows -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Look:
    """Transcribe [start, end), and ask the end-of-turn model when `final`.

    Only the latest attempt at a segment counts; `key` names the turn, which may have no number yet.
    Over a reply it may be an echo of it.
    """

    key: int
    segment: int
    attempt: int
    start: int
    end: int
    final: bool
    over_reply: bool = False


@dataclass(frozen=True, slots=True)
class Draft:
    """Begin to make a reply to `text`, or, when `say` is given, of these words.

    A speculative one is for a turn that may go on: it must never hold up another's.
    """

    draft: int
    turn: int
    text: str
    say: str | None = None
    speculative: bool = False


@dataclass(frozen=True, slots=True)
class Confirm:
    """A speculative draft's turn is committed: making it is real work from now on."""

    draft: int


@dataclass(frozen=True, slots=True)
class Drop:
    """Stop making this draft; whatever of it is unsent is gone."""

    draft: int


@dataclass(frozen=True, slots=True)
class Send:
    """Send samples [start, end) of the draft's audio as the reply's."""

    draft: int
    reply: int
    start: int
    end: int


Effect = Look | Draft | Confirm | Drop | Send | TurnEvent
