"""Segments as SubRip (SRT) and WebVTT. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from pipeline.segments import Segment


def srt(segments: Iterable[Segment]) -> str:
    """SubRip: numbered from 1, times with a comma."""
    return "".join(
        f"{number}\n{_times(segment, ',')}\n{_line(segment.text)}\n\n"
        for number, segment in enumerate(segments, 1)
    )


def vtt(segments: Iterable[Segment]) -> str:
    """WebVTT (W3C): its text is markup, so `&`, `<` and `>` are escaped."""
    cues = (f"{_times(segment, '.')}\n{_escaped(_line(segment.text))}\n\n" for segment in segments)
    return "WEBVTT\n\n" + "".join(cues)


def _times(segment: Segment, mark: str) -> str:
    # A caption has to last: WebVTT demands an end after the begin.
    start_ms = round(1000 * segment.start_s)
    end_ms = max(start_ms + 1, round(1000 * segment.end_s))
    return f"{_clock(start_ms, mark)} --> {_clock(end_ms, mark)}"


def _clock(ms: int, mark: str) -> str:
    seconds, ms = divmod(ms, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{mark}{ms:03}"


def _line(text: str) -> str:
    """One line: an empty one would end the caption."""
    return " ".join(text.split())


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
