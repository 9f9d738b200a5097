"""A transcription as its client wants to read it: JSON, text, captions. Pure."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass, field
from typing import Any

from pipeline.segments import Segment, segments
from pipeline.transcribing import Passage
from server.captions import srt, vtt
from server.transcription_ask import Format, TranscriptionAsk

CONTENT_TYPES: dict[Format, str] = {
    "json": "application/json",
    "verbose_json": "application/json",
    "text": "text/plain; charset=utf-8",
    "srt": "application/x-subrip; charset=utf-8",
    "vtt": "text/vtt; charset=utf-8",
}
AUDIO_TOKENS_PER_S = 50
"""Whisper's positions in a second of audio: its way to count, as tokens are for text."""
SEEKS_PER_S = 100
"""`seek` counts Whisper's frames of 10 ms."""


@dataclass(slots=True)
class Heard:
    """What has been heard of a recording so far."""

    passages: list[Passage] = field(default_factory=list)
    language: str = ""
    duration_s: float = 0.0

    def add(self, passage: Passage) -> str:
        """The next passage; returns what it adds to the text. The pieces add up to the whole."""
        spaced = bool(self.passages) and _is_spaced(passage)
        self.passages.append(passage)
        return f" {passage.text}" if spaced else passage.text

    @property
    def text(self) -> str:
        """All of it."""
        return "".join(
            f" {passage.text}" if number and _is_spaced(passage) else passage.text
            for number, passage in enumerate(self.passages)
        )

    def tokens(self) -> dict[str, Any]:
        """The usage in tokens, as the events have it."""
        audio = math.ceil(AUDIO_TOKENS_PER_S * self.duration_s)
        written = sum(passage.transcript.tokens for passage in self.passages)
        return {
            "type": "tokens",
            "input_tokens": audio,
            "input_token_details": {"audio_tokens": audio, "text_tokens": 0},
            "output_tokens": written,
            "total_tokens": audio + written,
        }


UNSPACED = frozenset({"zh", "ja", "th", "lo", "my", "km", "yue", "bo"})
"""Languages that write no spaces between words."""


def _is_spaced(passage: Passage) -> bool:
    return passage.transcript.language not in UNSPACED


def body(ask: TranscriptionAsk, heard: Heard) -> bytes:
    """The whole answer."""
    match ask.format:
        case "text":
            return f"{heard.text}\n".encode()
        case "srt":
            return srt(segments(heard.passages)).encode()
        case "vtt":
            return vtt(segments(heard.passages)).encode()
        case "json":
            told = {"text": heard.text, "usage": _seconds(heard)}
        case "verbose_json":
            told = _verbose(ask, heard)
    return json.dumps(told, ensure_ascii=False).encode()


def _verbose(ask: TranscriptionAsk, heard: Heard) -> dict[str, Any]:
    told: dict[str, Any] = {
        "task": "transcribe",
        "language": heard.language,
        "duration": round(heard.duration_s, 3),
        "text": heard.text,
    }
    if "segment" in ask.granularities:
        told["segments"] = [
            _segment(number, segment) for number, segment in enumerate(segments(heard.passages))
        ]
    if "word" in ask.granularities:
        told["words"] = [
            {
                "word": word.text.strip(),
                "start": round(word.start_s, 2),
                "end": round(word.end_s, 2),
            }
            for passage in heard.passages
            for word in passage.words
        ]
    return {**told, "usage": _seconds(heard)}


def _segment(number: int, segment: Segment) -> dict[str, Any]:
    window = segment.transcript
    return {
        "id": number,
        "seek": round(SEEKS_PER_S * segment.seek_s),
        "start": round(segment.start_s, 2),
        "end": round(segment.end_s, 2),
        "text": segment.text,
        "tokens": list(segment.tokens),
        "temperature": window.temperature,
        "avg_logprob": window.logprob,
        "compression_ratio": round(_compression_ratio(segment.text), 3),
        "no_speech_prob": window.no_speech,
    }


def _seconds(heard: Heard) -> dict[str, Any]:
    return {"type": "duration", "seconds": round(heard.duration_s, 3)}


def _compression_ratio(text: str) -> float:
    """How much shorter zlib makes it; past 2.4 it is the same again and again."""
    written = text.encode()
    return len(written) / len(zlib.compress(written))
