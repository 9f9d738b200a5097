"""A history of claims on leases, and whether it could have come about with one owner at a time.

Pure. Times are of one monotonic clock, which all processes of a machine share: for each call when
it began and when its answer was there. What it did happened somewhere in between.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

Kind = Literal["claim", "save", "renew", "park"]
ROUNDING_S = 0.002
"""Redis counts in milliseconds."""


@dataclass(frozen=True, slots=True)
class Call:
    """One call of one gateway for one session."""

    gateway: str
    session: str
    kind: Kind
    fence: int
    """Of a claim: the one it got."""
    began: float
    ended: float | None
    """None: its answer never came, and what it did is unknown."""
    done: bool = True
    """False: it was refused."""
    body: str = ""
    """What a claim found, what a save or a park wrote."""


def faults(calls: Sequence[Call], ttl_s: float) -> list[str]:
    """What of a history cannot be; nothing: all of it can."""
    found = []
    for session in sorted({call.session for call in calls}):
        mine = [call for call in calls if call.session == session]
        found += [f"{session}: {fault}" for fault in _faults(mine, ttl_s)]
    return found


def _faults(calls: Sequence[Call], ttl_s: float) -> Iterator[str]:
    claims = sorted(
        (call for call in calls if call.kind == "claim" and call.done and call.ended is not None),
        key=lambda call: call.fence,
    )
    for one, next_one in pairwise(claims):
        assert one.ended is not None
        assert next_one.ended is not None
        if one.fence == next_one.fence:
            yield f"{one.gateway} and {next_one.gateway} both got fence {one.fence}"
        if next_one.ended < one.began:
            yield f"fence {next_one.fence} was given before {one.fence}"
        until = _owns_until(one, calls, ttl_s)
        # A gateway may claim its own again: it is still one owner.
        if one.gateway != next_one.gateway and next_one.ended < until - ROUNDING_S:
            early_ms = round(1000 * (until - next_one.ended))
            yield f"{next_one.gateway} owned it {early_ms} ms before {one.gateway} did no more"
        for late in calls:
            if (
                late.kind in ("save", "park")
                and late.done
                and late.ended is not None
                and late.fence < next_one.fence
                and late.began > next_one.ended
            ):
                yield f"a write of {late.gateway}, fence {late.fence}, came after {next_one.fence}"
        if next_one.body not in (could := _bodies(one, calls)):
            yield f"fence {next_one.fence} found {next_one.body!r}, and not one of {could}"


def _owns_until(claim: Call, calls: Sequence[Call], ttl_s: float) -> float:
    """Until when its owner may believe that it is one: so long after each call that extended the
    lease began, and no longer once it began to let go."""
    until = claim.began + ttl_s
    for call in calls:
        if call.fence != claim.fence or call.gateway != claim.gateway or call is claim:
            continue
        if call.kind == "park":
            return min(until, call.began)
        if call.done and call.ended is not None:
            until = max(until, call.began + ttl_s)
    return until


def _bodies(claim: Call, calls: Sequence[Call]) -> list[str]:
    """What the next one may find: the last write that was confirmed, or one after it that was on
    its way when its gateway died."""
    could = [claim.body]
    for call in sorted(calls, key=lambda call: call.began):
        if call.kind not in ("save", "park") or call.fence != claim.fence:
            continue
        if call.ended is None:
            could.append(call.body)
        elif call.done:
            could = [call.body]
    return could
