"""What is known of a session beside its conversation: who it is, its bounds, its figures."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.events import ReplyDone, ReplyStarted, UserTranscript

from .messages import Event

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
    """Without any progress for so long, what is under way is given up: longer than an engine may
    take, than one waits for it, and than a line may be silent whose peer counts as there."""
    history_items: int = 200
    history_tokens: int = 1_000
    reply_tokens: int = 300
    record_dir: Path | None = None
    """Where sessions are recorded for `antiphon replay`; None: they are not."""


@dataclass(slots=True)
class Figures:
    """What the admin list shows of a session."""

    turns: int = 0
    replies: int = 0
    failed: int = 0
    """Replies that ended so."""
    latencies_ms: deque[int] = field(default_factory=lambda: deque(maxlen=50))
    bytes_in: int = 0
    bytes_out: int = 0

    def note(self, event: Event) -> None:
        """Follow an event that the session sends."""
        match event:
            case UserTranscript(final=True, discarded=False):
                self.turns += 1
            case ReplyStarted():
                self.replies += 1
            case ReplyDone(latency=latency, status=status):
                self.failed += status == "failed"
                if latency is not None:
                    self.latencies_ms.append(latency.total)
            case _:
                pass
