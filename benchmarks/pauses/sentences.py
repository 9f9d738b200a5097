"""What is said, by whom, and with what pauses: drawn once, by a seed."""

from __future__ import annotations

import random
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

Half = Literal["tune", "report"]
Kind = Literal["in", "after", "between", "next"]
List = Literal["sentences", "afterthoughts"]

SEED = 3
TAKES = 2
"""Voices that say each sentence, each with pauses of its own."""
PAUSE_MS = (300, 900)
SPEED = (0.9, 1.15)

VOICES: dict[Half, tuple[str, ...]] = {
    "tune": (
        "af_heart",
        "af_aoede",
        "af_sarah",
        "am_fenrir",
        "am_puck",
        "bf_isabella",
        "bm_george",
        "bm_lewis",
    ),
    "report": (
        "af_bella",
        "af_kore",
        "af_nova",
        "am_michael",
        "am_eric",
        "bf_emma",
        "bf_alice",
        "bm_fable",
    ),
}
"""Nobody is heard in both halves."""

_MARK = re.compile(r"\s*<(in|after|between|next)>\s*")


@dataclass(frozen=True, slots=True)
class Sentence:
    """A turn as it is written: parts, and the kind of pause between each two."""

    parts: tuple[str, ...]
    kinds: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class Take:
    """A sentence as one voice says it."""

    sentence: Sentence
    voice: str
    speed: float
    pauses_ms: tuple[int, ...]


def parse(text: str) -> list[Sentence]:
    """The sentences of a file's text, one a line; empty lines and comments are none."""
    lines = (line.strip() for line in text.splitlines())
    return [_sentence(line) for line in lines if line and not line.startswith("#")]


def _sentence(line: str) -> Sentence:
    pieces = _MARK.split(line)  # parts and, as the pattern has a group, kinds in turn
    return Sentence(tuple(pieces[::2]), tuple(cast(list[Kind], pieces[1::2])))


def takes(half: Half, source: List = "sentences") -> list[Take]:
    """All that is said in one half of a list; the other half has other sentences and voices."""
    file = Path(__file__).with_name(f"{source}.txt")
    sentences = parse(file.read_text(encoding="utf-8"))
    random.Random(SEED).shuffle(sentences)
    # By their pauses, so that the halves have as many of each kind.
    sentences.sort(key=lambda sentence: sentence.kinds)
    drawn = random.Random(f"{SEED} {source} {half}")
    return [
        _take(sentence, voice, drawn)
        for sentence in sentences[("tune", "report").index(half) :: 2]
        for voice in drawn.sample(VOICES[half], TAKES)
    ]


def _take(sentence: Sentence, voice: str, drawn: random.Random) -> Take:
    pauses_ms = tuple(drawn.randint(*PAUSE_MS) for _ in sentence.kinds)
    return Take(sentence, voice, round(drawn.uniform(*SPEED), 2), pauses_ms)
