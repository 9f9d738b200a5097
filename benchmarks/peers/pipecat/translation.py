"""From our native protocol to Pipecat's RTVI and back, for one caller. Pure.

Pipecat tells when its bot begins and ends to speak, but does not number its replies: one opens with
the first audio that comes, and closes when it has been played out, or with an interruption.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Any

Frame = str | bytes
"""Binary is audio, PCM16; text is JSON."""

RTVI_LABEL = "rtvi-ai"
RTVI_VERSION = "2.2.0"
INTERRUPTION = "interruption"
"""What our bot's serializer makes of Pipecat's InterruptionFrame: flush what is buffered."""
CANCEL = "cancel"
"""The client message on which our bot interrupts itself."""


@dataclass(frozen=True, slots=True)
class Onward:
    """What follows from a caller's frame: frames for the bot, and answers for the caller."""

    to_bot: tuple[Frame, ...] = ()
    to_caller: tuple[Frame, ...] = ()


class Translator:
    """One call's state: the open reply, and what is known of it."""

    def __init__(self, reply_hz: int) -> None:
        self._reply_hz = reply_hz
        self._ids = itertools.count(1)
        self._replies = 0
        self._open = False
        self._cancelled = False
        self._unspoken = ""
        """Text of the language model for which no audio has come yet."""

    def from_caller(self, frame: Frame) -> Onward:
        """A frame of the native protocol; what Pipecat has no word for is dropped."""
        if isinstance(frame, bytes):
            return Onward(to_bot=(frame,))
        message = json.loads(frame)
        match message["type"]:
            case "hello":
                about = {"library": "antiphon-benchmarks"}
                ready = self._rtvi("client-ready", {"version": RTVI_VERSION, "about": about})
                return Onward(to_bot=(ready,))
            case "cancel" if self._open:
                self._cancelled = True
                return Onward(to_bot=(self._rtvi("client-message", {"t": CANCEL}),))
            case "playback" if message.get("done") and self._open and not self._cancelled:
                return Onward(to_caller=self._close("completed"))
        return Onward()

    def from_bot(self, frame: Frame) -> tuple[Frame, ...]:
        """A frame of Pipecat's, as frames of the native protocol."""
        if isinstance(frame, bytes):
            return (*self._opened(), frame)
        message = json.loads(frame)
        data = message.get("data") or {}
        match message["type"]:
            case "bot-ready":
                return (_native("welcome", audio={"rate": self._reply_hz}),)
            case "user-input" if data["final"]:
                turn = self._replies + (not self._open)
                return (_native("transcript", turn=turn, text=data["text"], final=True),)
            case "bot-llm-started":
                self._unspoken = ""
            case "bot-llm-text":
                self._unspoken += data["text"]
                return self._text() if self._open else ()
            case "bot-stopped-speaking" if self._open:
                return (_native("reply_audio_end", reply=self._replies),)
            case "interruption":
                self._unspoken = ""
                return self._close("cancelled" if self._cancelled else "interrupted")
            case "error" | "error-response":
                return (_native("error", code="PEER", message=json.dumps(data)),)
        return ()

    def _rtvi(self, kind: str, data: dict[str, Any]) -> str:
        message_id = str(next(self._ids))
        return json.dumps({"label": RTVI_LABEL, "type": kind, "id": message_id, "data": data})

    def _opened(self) -> tuple[Frame, ...]:
        """What tells that a reply begins; nothing when one is open."""
        if self._open:
            return ()
        self._open = True
        self._replies += 1
        started = _native("reply_started", reply=self._replies, turn=self._replies)
        return (started, *self._text())

    def _text(self) -> tuple[Frame, ...]:
        text, self._unspoken = self._unspoken, ""
        return (_native("reply_text", reply=self._replies, text=text),) if text else ()

    def _close(self, status: str) -> tuple[Frame, ...]:
        """The reply's end; nothing when none is open."""
        if not self._open:
            return ()
        self._open = self._cancelled = False
        done = _native("reply_done", reply=self._replies, turn=self._replies, status=status)
        if status == "interrupted":
            return (_native("interrupted", reply=self._replies), done)
        return (done,)


def _native(kind: str, **fields: object) -> str:
    return json.dumps({"type": kind, **fields})
