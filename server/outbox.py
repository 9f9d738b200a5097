"""Outbox: what waits to be sent to one client: bounded, in order, with a lane for what cannot wait.

Audio comes in already paced (`pipeline.playback`), so this holds about a second of it while the
client reads. A client that does not read loses audio that is over 5 s late, with a warning, and is
closed when anything is 15 s late or the text alone fills the box, its largest message not counted.
Who asks for more than it reads is not read either (`room`): only what nobody asked for can fill it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from itertools import chain
from typing import Literal, NamedTuple

from pipeline.bell import Bell
from pipeline.errors import SlowClient
from pipeline.events import (
    Failed,
    Interrupted,
    ReplyAudio,
    ReplyDone,
    ReplyPaused,
    ReplyResumed,
    ReplyStarted,
    ReplyText,
    SpeechStarted,
    SpeechStopped,
    ToolCalled,
    ToolText,
    UserTranscript,
)
from session.messages import (
    Configured,
    Event,
    GoingAway,
    ItemAdded,
    ItemRetrieved,
    Settings,
    Warned,
    Welcome,
)

LATE_S, STUCK_S = 5.0, 15.0
MAX_TEXT_BYTES = 100_000
"""Of all that waits but audio, beside one message of whatever size."""
READ_ON_BYTES = MAX_TEXT_BYTES // 2
"""Of that: while more waits, the client's messages are not read."""
EVENT_BYTES = 200
"""What an event takes besides its text."""
MAX_AUDIO_BYTES = 10 * 24_000 * 2

_OVERTAKES = (
    SpeechStarted,
    SpeechStopped,
    UserTranscript,
    ReplyPaused,
    ReplyResumed,
    Interrupted,
    Warned,
    Failed,
    GoingAway,
)
_STEPS = (Welcome, ReplyStarted, ReplyPaused, ReplyResumed, Interrupted, Failed)
"""What a client follows step by step: the beginning of a session, or of a reply, and what overtakes
its audio."""


class _Held(NamedTuple):
    event: Event
    text_bytes: int
    since: float


class Outbox:
    """A queue of two lanes. `put` never waits; `next` does, and `room` for whoever may."""

    def __init__(
        self,
        clock: Callable[[], float] = time.monotonic,
        dropped: Callable[[Literal["outbox_audio", "outbox_text"]], None] = lambda _: None,
        cut: Callable[[int], None] = lambda waiting: None,
        *,
        overtakes: bool = True,
    ) -> None:
        """`dropped` is told of every event that is not kept, in which half of the box; `cut` is
        called once, when the box is `stuck`. Without `overtakes` all events keep their order.
        """
        self._overtaking = _OVERTAKES if overtakes else ()
        self._clock = clock
        self._dropped = dropped
        self._cut = cut
        # Some hundreds at most, and mostly none: an empty deque takes 760 bytes.
        self._urgent: list[_Held] = []
        self._ordered: list[_Held] = []
        self._more, self._less = Bell(), Bell()
        self._closed = False
        self._dropping = False
        self._steps: Counter[int] = Counter()
        """By reply, what it began, paused and the like with that is still in the ordered lane: what
        is told of it keeps that order, or a pause could come after its end. 0: the session."""
        self._text_bytes = 0
        self.audio_bytes = 0
        self.stuck = False
        """The client has fallen too far behind; what comes now is dropped."""

    def __len__(self) -> int:
        return len(self._urgent) + len(self._ordered)

    def put(self, event: Event) -> None:
        """Queue an event. Audio that would be too late is dropped, with one warning a time."""
        if self.stuck or self._overflows(_text_size(event)):
            self._dropped("outbox_text")
            if not self.stuck:
                self.stuck = True
                self._cut(len(self))
            return
        match event:
            case ReplyAudio() if self._too_late():
                self._dropped("outbox_audio")
                if self._dropping:
                    return
                self._dropping = True
                event = Warned(SlowClient("audio was dropped: you do not read fast enough"))
            case ReplyAudio(pcm=pcm):
                self._dropping = False
                self.audio_bytes += len(pcm)
            case Interrupted(reply=reply):
                self.purge(reply)
            case ReplyDone(reply=reply, status="cancelled" | "interrupted"):
                self.purge(reply)
            case _:
                pass
        held = _Held(event, _text_size(event), self._clock())
        self._text_bytes += held.text_bytes
        if isinstance(event, self._overtaking) and not self._steps[_reply(event)]:
            self._urgent.append(held)
        else:
            self._ordered.append(held)
            if isinstance(event, _STEPS):
                self._steps[_reply(event)] += 1
        self._more.ring()

    @property
    def held_bytes(self) -> int:
        """Of audio and of all else: what waits."""
        return self.audio_bytes + self._text_bytes

    def purge(self, reply: int) -> None:
        """Drop a reply's audio that has not left; its text stays."""
        kept = [
            held
            for held in self._ordered
            if not (isinstance(held.event, ReplyAudio) and held.event.reply == reply)
        ]
        self._ordered = kept
        audio = (held.event for held in kept)
        self.audio_bytes = sum(len(event.pcm) for event in audio if isinstance(event, ReplyAudio))

    async def room(self, beside: Callable[[], int] = lambda: 0) -> None:
        """Wait until the box is half empty: for the one who reads what the client asks. `beside`:
        bytes that are kept elsewhere until what waits here is sent."""
        while self._text_bytes + beside() > READ_ON_BYTES and len(self):
            await self._less.wait()

    def close(self) -> None:
        """Nothing more will come; what is in the box is still sent."""
        self._closed = True
        self._more.ring()

    async def next(self) -> Event | None:
        """The next event to send; None when the box is closed and empty.

        Raises `SlowClient` when the client has fallen too far behind.
        """
        while not self._urgent and not self._ordered:
            if self._closed:
                return None
            await self._more.wait()
        if self._lateness() > STUCK_S:
            raise SlowClient("you do not read what is sent to you")
        # A final transcript and the start of its reply leave together; the transcript overtakes.
        ordered = not self._urgent
        held = (self._urgent or self._ordered).pop(0)
        event = held.event
        self._text_bytes -= held.text_bytes
        self._less.ring()
        if isinstance(event, ReplyAudio):
            self.audio_bytes -= len(event.pcm)
        elif ordered and isinstance(event, _STEPS):
            self._steps -= Counter([_reply(event)])  # and nothing is kept of one that has none left
        return event

    def _lateness(self) -> float:
        return self._clock() - self._ordered[0].since if self._ordered else 0.0

    def _too_late(self) -> bool:
        return self._lateness() > LATE_S or self.audio_bytes >= MAX_AUDIO_BYTES

    def _overflows(self, size: int) -> bool:
        """Whether an event of this size is too much beside what waits, the largest not counted."""
        total = self._text_bytes + size
        if total <= MAX_TEXT_BYTES:
            return False
        held = (held.text_bytes for held in chain(self._urgent, self._ordered))
        return total - max((size, *held)) > MAX_TEXT_BYTES


def _reply(event: Event) -> int:
    """Whose event it is; 0: no reply's."""
    return getattr(event, "reply", None) or 0


def _text_size(event: Event) -> int:
    """What an event takes, without its audio: text is as long as client or model choose."""
    match event:
        case ReplyAudio():
            return 0
        case UserTranscript(text=text) | ReplyText(text=text) | Interrupted(heard=text):
            return EVENT_BYTES + _bytes(text)
        case ToolText(arguments=text) | ToolCalled(arguments=text):
            return EVENT_BYTES + _bytes(text)
        case ItemAdded(item=item) | ItemRetrieved(item=item):
            return EVENT_BYTES + _bytes(item.text)
        case ReplyDone(text=text, heard=heard):
            return EVENT_BYTES + _bytes(text) + _bytes(heard)
        case Configured(settings=settings):
            return EVENT_BYTES + _settings_bytes(settings)
        case Welcome(settings=settings, history=history):
            said = sum(_bytes(item.text) for item in history)
            return EVENT_BYTES + _settings_bytes(settings) + said
        case _:
            return EVENT_BYTES


def _settings_bytes(settings: Settings) -> int:
    tools = (_bytes(t.name) + _bytes(t.description) + _bytes(t.parameters) for t in settings.tools)
    return _bytes(settings.instructions) + sum(tools)


def _bytes(text: str) -> int:
    return len(text.encode("utf-8", "surrogatepass"))
