"""When to ask again, and how long to wait for an answer: the arithmetic of retries. Pure.

Retries are for the time before a reply's first token only; all of them together keep to one time
budget, since a person is waiting.
"""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime

TRIES = 4
"""For one reply, the first one counted."""
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 1.0
PROBE_S = 1.5
"""The wait for a probe's first token while another backend could be asked: whoever's reply it is
should not pay for finding out."""
FAIR_SHARE = 1 / 3
"""Of the time for a reply's first token. A try that is left less of it, by the wait for a place or
by the tries before, shows nothing of its backend when its time is up."""
LONGEST_WAIT_S = 600.0
"""A longer Retry-After is taken as this: one header must not switch a backend off for good."""


def pause_s(failures: int, chance: float) -> float:
    """The pause before the backends are asked once more, after so many failures (from 1).

    It doubles, and the half of it is left to chance, `chance` in [0, 1), so that many who failed
    together do not come back together.
    """
    whole = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2.0 ** (failures - 1))
    return whole * (0.5 + 0.5 * chance)


def first_token_s(left_s: float, *, probe: bool, others: bool) -> float:
    """How long one try may take to its first token, of a budget with `left_s` to go.

    While there are `others` to ask, half of it: then they have the rest.
    """
    if not others:
        return left_s
    return min(left_s / 2, PROBE_S) if probe else left_s / 2


def retry_after_s(headers: Mapping[str, str], wall_s: float) -> float | None:
    """What a response's headers (names in lower case) say of when to come back, in seconds.

    `retry-after` in seconds or as a date (RFC 9110, 10.2.3), read at `wall_s` of the Unix clock, or
    `retry-after-ms`, as OpenAI has it. At most `LONGEST_WAIT_S`; None where they say nothing that
    can be read.
    """
    for name, unit_s in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        value = headers.get(name, "").strip()
        if value.isascii() and value.replace(".", "", 1).isdigit():
            return min(LONGEST_WAIT_S, float(value) * unit_s)
    try:
        back_at = parsedate_to_datetime(headers.get("retry-after", "")).timestamp()
    except (ValueError, OverflowError):
        return None
    return min(LONGEST_WAIT_S, max(0.0, back_at - wall_s))
