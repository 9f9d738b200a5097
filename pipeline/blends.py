"""Voices mixed from others, by their names: "af_heart:0.7+af_bella:0.3". Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

MOST_VOICES = 8


@dataclass(frozen=True, slots=True)
class Blend:
    """Voices and their shares, which add up to 1. A voice alone is a blend of one."""

    shares: tuple[tuple[str, float], ...]

    @property
    def leader(self) -> str:
        """The voice named first: the blend speaks its language."""
        return self.shares[0][0]

    @property
    def voices(self) -> tuple[str, ...]:
        return tuple(voice for voice, _ in self.shares)

    def __str__(self) -> str:
        """The form that `read_blend` reads."""
        if len(self.shares) == 1:
            return self.leader
        return "+".join(f"{voice}:{share:.4g}" for voice, share in self.shares)


def read_blend(name: str) -> Blend:
    """Read "a", "a+b" (equal shares) or "a:2+b:1" (in this ratio). Raises `ValueError`."""
    weights: dict[str, float] = {}
    parts = name.split("+")
    if len(parts) > MOST_VOICES:
        raise ValueError(f"a blend has at most {MOST_VOICES} voices")
    bare = 0
    for part in parts:
        voice, colon, weight = (piece.strip() for piece in part.partition(":"))
        bare += not colon
        weights[voice] = weights.get(voice, 0.0) + (_weight(weight) if colon else 1.0)
    if bare not in (0, len(parts)):
        raise ValueError("in a blend all voices have a weight, or none has")
    if "" in weights:
        raise ValueError("a voice of the blend has no name")
    total = sum(weights.values())
    return Blend(tuple((voice, weight / total) for voice, weight in weights.items()))


def _weight(text: str) -> float:
    try:
        weight = float(text)
    except ValueError:
        weight = math.nan
    if not 0 < weight <= 1_000:
        raise ValueError(f"{text!r} is no weight of a voice: above 0, at most 1000")
    return weight
