"""The spoken clips of tests/speech, with their words."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

SPEECH = Path(__file__).parent.parent / "tests" / "speech"


@dataclass(frozen=True, slots=True)
class Clip:
    """A spoken clip, 16 kHz mono. `pauses`: it has one of 300 ms or more inside."""

    path: Path
    words: str
    pauses: bool


def clips() -> tuple[Clip, ...]:
    """All of them, in a fixed order; tests/speech/README.md says how the pauses were measured."""
    entries = json.loads((SPEECH / "clips.json").read_text())
    return tuple(Clip(SPEECH / entry["file"], entry["words"], entry["pauses"]) for entry in entries)


def clips_without_pauses() -> tuple[Clip, ...]:
    """Those that an endpointer cannot cut in two."""
    return tuple(clip for clip in clips() if not clip.pauses)
