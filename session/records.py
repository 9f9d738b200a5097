"""What is known of a session beside its conversation: who it is, its bounds, its figures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.cutting_in import BargeIns
from pipeline.events import ReplyDone, ReplyStarted, UserTranscript
from pipeline.speculation import Speculation

from .messages import Event

LATENCIES = 50
"""Replies whose latency is remembered."""

State = Literal["waiting", "listening", "thinking", "speaking", "parked", "closing"]


@dataclass(frozen=True, slots=True)
class Identity:
    """Who is on the other side, and by which door."""

    session: str
    protocol: Literal["native", "realtime"]
    remote: str
    user: str | None = None


@dataclass(frozen=True, slots=True)
class SessionConfig:
    """What the server sets for every session."""

    send_ahead_s: float = 1.0
    greeting: str = ""
    idle_s: float = 600.0
    stuck_s: float = 60.0
    """Without any progress for so long, what is under way is given up. The server makes it longer
    than one may wait for the slowest engine and that may then take to give a sign of life, and than
    a line may be silent whose peer counts as there: 60 s or more."""
    history_items: int = 200
    history_tokens: int = 1_000
    reply_tokens: int = 300
    holds: bool = True
    """A client can be told to hold a reply, and that it goes on."""
    follows_playback: bool = True
    """A client tells how far it has played, and a reply ends when it was heard; else as soon as it
    was sent."""
    comes_back: bool = True
    """A client has a way back to its session after a lost line; else its end is for good."""
    speculates: bool = True
    """Replies may begin before their turn is surely over."""
    apologies: Mapping[str, str] = field(default_factory=dict)
    """What is said if the language model says nothing, by language; "": in any other."""
    record_dir: Path | None = None
    """Where sessions are recorded for `antiphon replay`; None: they are not."""


@dataclass(slots=True)
class Figures:
    """What the admin list shows of a session."""

    turns: int = 0
    discarded: int = 0
    """Turns without words."""
    replies: int = 0
    failed: int = 0
    """Replies that ended so."""
    latencies_ms: list[int] = field(default_factory=list)
    """Of the last `LATENCIES` replies."""
    bytes_in: int = 0
    bytes_out: int = 0

    def note(self, event: Event) -> None:
        """Follow an event that the session sends."""
        match event:
            case UserTranscript(final=True, discarded=discarded):
                self.turns += not discarded
                self.discarded += discarded
            case ReplyStarted():
                self.replies += 1
            case ReplyDone(latency=latency, status=status):
                self.failed += status == "failed"
                if latency is not None:
                    self.latencies_ms = [*self.latencies_ms[1 - LATENCIES :], latency.total]
            case _:
                pass


@dataclass(slots=True)
class Totals:
    """What all sessions came to since the start, those that are over included."""

    turns: int = 0
    discarded: int = 0
    replies: int = 0
    failed: int = 0
    speculations: int = 0
    wasted: int = 0
    """Of the speculations."""
    saved_ms: int = 0
    held: int = 0
    resumed: int = 0
    interrupted: int = 0
    missed_s: float = 0.0
    """Audio that had left the ring before it was heard."""

    def add(
        self, figures: Figures, speculation: Speculation, barge_ins: BargeIns, missed_s: float
    ) -> None:
        """Add what one session came to."""
        self.turns += figures.turns
        self.discarded += figures.discarded
        self.replies += figures.replies
        self.failed += figures.failed
        self.speculations += speculation.begun
        self.wasted += speculation.wasted
        self.saved_ms += speculation.saved_ms
        self.held += barge_ins.held
        self.resumed += barge_ins.resumed
        self.interrupted += barge_ins.interrupted
        self.missed_s += missed_s
