"""What runs on a Ray cluster for us: which engines, how many of each, with how much of a GPU. Pure.

And how many there should be: the rule that Serve's autoscaler asks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.config import EngineConfig
from pipeline.engines.ports import Choice, Engine

APP = "antiphon"
"""The name of our application on a cluster; each kind of engine is a deployment of it."""
LATE_S = 0.1
"""As on one machine (`pipeline.sizing`): what a listener would notice."""


@dataclass(frozen=True, slots=True)
class Part:
    """One kind of engine, in replicas."""

    kind: str
    """`stt`, `eot` or `tts`."""
    make: Callable[[EngineConfig], Engine]
    """A function of a module, so that it can be found by name in the replica's process; there it
    finds out what `auto` means."""
    config: EngineConfig
    choice: Callable[[EngineConfig], Choice] | None = None
    """Likewise: what is said of the engine that it makes."""
    seats: int = 1
    """Calls that one replica's engine takes at once, where the engine itself does not say
    (`HasSeats`)."""
    least: int = 1
    most: int = 1
    gpus: float = 0.0
    """Of each replica, in whole or in part: where it is placed, not how much memory it takes."""
    cpus: float = 0.0
    """Of each replica, for placing it."""
    hang_s: float = 30.0
    """A call without a sign of life for so long hangs."""
    wait_s: float = 20.0
    """The longest wait in a replica's queue."""
    check_s: float = 5.0
    """So often its health is asked for."""
    rest_s: float = 300.0
    """A replica that was not needed for so long is given up: making one takes its load again."""


def wanted(ongoing: float, late_s: float, count: int, per_replica: float) -> int:
    """How many replicas there should be, when there are `count`.

    As many as the calls under way need, those that wait included, at `per_replica` each; and one
    more than there are while what is due comes late.
    """
    by_calls = math.ceil(ongoing / per_replica)
    return max(by_calls, count + 1) if late_s >= LATE_S else by_calls
