"""What the turn machine takes in, and what follows from it: two closed unions. Pure.

A draft is a reply in the making; it gets a reply's number only when it leaves for the client.
"""

from __future__ import annotations

from dataclasses import dataclass

from .engines.ports import Usage
from .events import TurnEvent

# --- Events: what comes in -----------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Heard:
    """A frame of the microphone: its speech probability, its end, its arrival, and its level."""

    probability: float
    end: int
    arrived: float
    level_dbfs: float = 0.0
    deaf: bool = False
    """For some time nobody could judge what came, and it is time to say so."""


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
    """The user says that the turn is over; `at` is the end of the audio received by then."""

    at: int
    if_any: bool = False
    """By muting: it ends a turn that is under way, and does not say that what was said is one."""
    must: bool = False
    """Whoever says so asks for the reply as well, or for none, and wants to be told when there is
    no turn to end."""
    ref: str | None = None
    dropped_to: int = 0
    """What came after it, up to this sample, was not meant to be heard."""


@dataclass(frozen=True, slots=True)
class DropTurn:
    """What was said up to `at`, and not yet ended, was not meant to be heard."""

    at: int


@dataclass(frozen=True, slots=True)
class Typed:
    text: str
    ref: str | None = None


@dataclass(frozen=True, slots=True)
class Greet:
    """Speak this before anybody has said a word."""

    text: str


@dataclass(frozen=True, slots=True)
class Ask:
    """A reply is wanted beside those that turns begin: by the client, or after its tools' answers.

    It begins once the words of every turn that was ended are known.
    """

    ask: int
    """Names the request, for whoever knows more of it."""
    turn: int = 0
    """Whose it goes on with."""
    aside: bool = False
    """It is no part of the conversation, and is made beside it."""
    waits: bool = False
    """Until nobody speaks."""
    silent: bool = False
    """Text only."""


@dataclass(frozen=True, slots=True)
class SaidNothing:
    """Nobody has spoken for so long that it counts as a turn, and is answered."""


@dataclass(frozen=True, slots=True)
class Cancel:
    """Stop the reply."""

    reply: int = 0
    """Only this one, or one beside the conversation; 0: the conversation's, whichever it is."""


@dataclass(frozen=True, slots=True)
class Forget:
    """The conversation is forgotten: what was made from it must not be said."""


@dataclass(frozen=True, slots=True)
class Leave:
    """The session is over, whoever ended it: what is being said ends at what was heard."""


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
class DraftCall:
    """More of a tool call: its name (in one piece), or its arguments."""

    draft: int
    call: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class DraftClause:
    """A clause has left for the synthesizer: the model's part in the latency ends here."""

    draft: int
    text_start: int = 0
    text_end: int = 0
    """Its span of the text: its audio comes after that of the clauses before it."""


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
    words: tuple[int, ...] = ()
    """Where each of its words begins in the audio, and where the last one ends; () when the engine
    does not say."""


@dataclass(frozen=True, slots=True)
class DraftMade:
    """All there will be of this draft is made; `error` if it was cut short."""

    draft: int
    error: Exception | None = None
    cut_short: bool = False
    """The model would have said more, but for the longest reply."""
    usage: Usage | None = None
    """What it came to in the model's tokens, where the model counts."""


Event = (
    Heard
    | Looked
    | LookFailed
    | Voted
    | EndTurn
    | DropTurn
    | Typed
    | Greet
    | Ask
    | SaidNothing
    | Cancel
    | Forget
    | Leave
    | Played
    | DraftText
    | DraftCall
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
    ask: int = 0
    """The request it is made for; 0: a turn began it."""
    silent: bool = False
    """Text only."""
    aside: bool = False
    """It is no part of the conversation: whatever is goes before it."""


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
