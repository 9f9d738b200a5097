"""How turns are taken: what a client may choose, and what the server has set. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .edges import ON
from .endpointing import Pace
from .utterance import SPEECH_HZ

PREROLL = SPEECH_HZ * 3 // 10
"""Audio before the onset that belongs to the turn: a soft first consonant stays below ON."""
PARTIAL_EVERY = SPEECH_HZ * 3 // 2
"""Speech after which a transcript so far is asked for."""

Detection = Literal["auto", "manual"]


@dataclass(frozen=True, slots=True)
class TurnConfig:
    """One conversation's. It may change from one moment to the next."""

    rate_hz: int = 24_000
    """Of the reply's audio."""
    send_ahead_s: float = 1.0
    pace: Pace = "normal"
    detection: Detection = "auto"
    speculate: bool = True
    """Begin a reply before its turn is surely over."""
    partial_every: int = PARTIAL_EVERY
    """Samples of speech after which a transcript so far is asked for."""
    answers: bool = True
    """A turn is answered; else a reply is made only when it is asked for."""
    interrupts: bool = True
    """Words over a reply end it; else they are taken down, and not answered."""
    holds: bool = True
    """A reply stands still while it is found out whether somebody cuts in."""
    follows_playback: bool = True
    """A reply ends when it was heard; else as soon as all of it was sent."""
    silent: bool = False
    """Replies are text only."""
    silence_s: float | None = None
    """A silence that ends a turn, whatever was said; None: it is decided by words and sound."""
    threshold: float = ON
    """The speech probability from which a frame is a voice."""
    preroll: int = PREROLL
    """Samples before the onset that belong to the turn."""
