"""The Realtime protocol's input audio buffer: what is in it, who speaks, and what was said. Pure.

Clients flush their audio when they are told that speech has started: over a response it is told
only once it is known to be meant.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pipeline.errors import NothingToCommit
from pipeline.events import Interrupted, SpeechStarted, SpeechStopped, UserTranscript
from server.wire.realtime_audio import FormatName, check_whole, second_bytes
from server.wire.realtime_out import error_object
from server.wire.realtime_words import Words
from session.items import Item, turn_item

Json = dict[str, Any]
LEAST_COMMIT_S = 0.1
MOST_COMMITS = 64
"""Commits whose turn is not known yet, and whose length is remembered."""


@dataclass(slots=True)
class _Speech:
    """Somebody began to speak over a response; nobody was told."""

    turn: int
    start_ms: int
    stop_ms: int | None = None


class InputBuffer:
    """The user's half of a connection."""

    def __init__(self) -> None:
        self.items = ""
        """How the ids of the history's items begin."""
        self._buffered_s = 0.0
        """Audio that came since the last turn."""
        self._committed_s: deque[float] = deque(maxlen=MOST_COMMITS)
        self._spoken_from_ms = 0
        self._spoken_s = 0.0
        """How long the last turn was."""
        self._speech: _Speech | None = None
        self._heard = 0
        """The turn in which somebody spoke last."""
        self._words = Words()
        """Of that turn."""
        self._earliest_ms = 0
        """Up to here the audio belongs to the turns before."""
        self._failed: tuple[int, Exception] | None = None
        """The turn that was not understood, and why."""

    # --- what the client does with it ------------------------------------------------------------

    def append(self, data: bytes, name: FormatName) -> None:
        """Audio came, in the client's format. Raises `BadAudio` for half a sample."""
        check_whole(data, name)
        self._buffered_s += len(data) / second_bytes(name)

    def commit(self) -> None:
        """It becomes a turn. Raises `NothingToCommit` when there is next to nothing in it."""
        if self._buffered_s < LEAST_COMMIT_S:
            raise NothingToCommit(
                "Error committing input audio buffer: the buffer is too small. Expected at "
                f"least {LEAST_COMMIT_S * 1000:.0f}ms of audio, "
                f"but it has {self._buffered_s * 1000:.0f}ms."
            )
        self._committed_s.append(self._buffered_s)
        self._buffered_s = 0.0

    def clear(self) -> None:
        """It is thrown away."""
        self._buffered_s = 0.0

    def commit_failed(self) -> None:
        """There was no turn in it after all."""
        if self._committed_s:
            self._committed_s.popleft()

    def not_understood(self, turn: int, error: Exception) -> None:
        """A turn's words, or some of them, failed; its end tells it."""
        self._failed = (turn, error)

    # --- what becomes of it ----------------------------------------------------------------------

    def hear(
        self,
        event: SpeechStarted | SpeechStopped | Interrupted | UserTranscript,
        *,
        over_response: bool,
        transcribes: bool,
        padding_ms: int,
    ) -> Iterator[Json]:
        """`over_response`: one is given that words would end; `padding_ms`: audio before a voice
        that belongs to its turn."""
        match event:
            case SpeechStarted(turn, at_ms):
                if turn != self._heard:
                    self._heard, self._words = turn, Words()
                    at_ms = max(self._earliest_ms, at_ms - padding_ms)
                self._spoken_from_ms = at_ms
                if self._speech is not None and self._speech.turn == turn:
                    self._speech.stop_ms = None
                elif over_response:
                    self._speech = _Speech(turn, at_ms)
                else:
                    self._speech = None
                    yield self._speech_event("started", turn, "audio_start_ms", at_ms)
            case SpeechStopped(turn, at_ms):
                self._earliest_ms = at_ms
                self._spoken_s = max(0, at_ms - self._spoken_from_ms) / 1000
                if self._speech is not None:
                    self._speech.stop_ms = at_ms
                else:
                    yield self._speech_event("stopped", turn, "audio_end_ms", at_ms)
            case Interrupted():
                yield from self._let_out()
            case UserTranscript(turn, text, final=False):
                if not over_response:  # words, and no response any more that they could end
                    yield from self._let_out()
                if transcribes and self._speech is None and turn == self._heard:
                    yield from self._understood(turn, self._words.hear(text))
            case UserTranscript(turn, text, discarded=discarded, ended=ended):
                self._speech = None
                failed, self._failed = self._failed, None
                if failed is not None and failed[0] == turn and not text:
                    yield self._fail(turn, failed[1], shown=ended and transcribes)
                elif transcribes and (not discarded or ended):
                    yield from self._transcribed(turn, text)

    def committed(self, item: Item, after: str | None) -> Iterator[Json]:
        """A turn is over, and is this item."""
        yield from self._let_out()
        if self._committed_s:
            self._spoken_s = self._committed_s.popleft()
        else:
            self._buffered_s = 0.0
        kind = "input_audio_buffer.committed"
        yield {"type": kind, "previous_item_id": after, "item_id": item.id}

    def _let_out(self) -> Iterator[Json]:
        speech, self._speech = self._speech, None
        if speech is not None:
            yield self._speech_event("started", speech.turn, "audio_start_ms", speech.start_ms)
            if speech.stop_ms is not None:
                yield self._speech_event("stopped", speech.turn, "audio_end_ms", speech.stop_ms)

    def _speech_event(self, what: str, turn: int, name: str, at_ms: int) -> Json:
        kind = f"input_audio_buffer.speech_{what}"
        return {"type": kind, name: at_ms, "item_id": turn_item(self.items, turn)}

    def _fail(self, turn: int, error: Exception, *, shown: bool) -> Json:
        if not shown:  # there is no item that could be named, or nobody asked for its words
            return {"type": "error", "error": error_object(error)}
        cause = error_object(error)
        del cause["event_id"]
        return self._transcription(turn, "failed", error=cause)

    def _understood(self, turn: int, piece: str) -> Iterator[Json]:
        if piece:
            yield self._transcription(turn, "delta", delta=piece)

    def _transcribed(self, turn: int, text: str) -> Iterator[Json]:
        words = self._words if turn == self._heard else Words()
        yield from self._understood(turn, words.finish(text))
        usage = {"type": "duration", "seconds": round(self._spoken_s, 3)}
        yield self._transcription(turn, "completed", transcript=text, usage=usage)

    def _transcription(self, turn: int, what: str, **fields: Any) -> Json:
        kind = f"conversation.item.input_audio_transcription.{what}"
        return {"type": kind, "item_id": turn_item(self.items, turn), "content_index": 0, **fields}
