"""What of a turn's words may be told while they are still being said: those understood alike twice.

A recogniser changes its mind about the last words of an audio that grows, seldom about those before
(LocalAgreement: Macháček, Dabre, Bojar 2023, "Turning Whisper into Real-Time Transcription
System"). Pure.
"""

from __future__ import annotations


class Words:
    """One turn's transcript, piece by piece; the pieces add up to it, unless the recogniser takes
    back what it has understood twice."""

    def __init__(self) -> None:
        self.told = ""
        self._before = ""

    def hear(self, text: str) -> str:
        """The transcript so far; what is sure of it now, and was not before."""
        both, self._before = _beginning(self._before, text), text
        return self._tell(both[: max(0, both.rfind(" "))])  # whole words that others follow

    def finish(self, text: str) -> str:
        """The whole transcript; what is left to tell of it."""
        return self._tell(text)

    def _tell(self, text: str) -> str:
        if not text.startswith(self.told):
            return ""
        piece, self.told = text[len(self.told) :], text
        return piece


def _beginning(one: str, other: str) -> str:
    """What both begin with."""
    pairs = enumerate(zip(one, other, strict=False))
    return one[: next((at for at, (a, b) in pairs if a != b), min(len(one), len(other)))]
