"""What status pages say of a handful of measured values. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

N = TypeVar("N", int, float)


def percentile(ordered: Sequence[N], p: float) -> N | None:
    """The value under which a share `p`, 0 to 1, of the sorted values lies; None without any."""
    return ordered[min(len(ordered) - 1, int(p * len(ordered)))] if ordered else None
