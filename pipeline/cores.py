"""The processor cores that this process may use."""

import math
import os
from contextlib import suppress
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup")
"""Of a container: what `docker --cpus` or a Kubernetes limit leaves it (cgroups 2, then 1)."""


def usable() -> int:
    """As many as it was given, which in a container may be fewer than there are. A part of one
    counts as one."""
    affine = hasattr(os, "sched_getaffinity")
    cores = len(os.sched_getaffinity(0)) if affine else os.cpu_count() or 2
    return max(1, math.ceil(min(cores, _quota())))


def _quota() -> float:
    """Cores' worth of time; without a limit infinitely many."""
    for read in (_of_version_2, _of_version_1):
        with suppress(OSError, ValueError, ZeroDivisionError):
            share = read()
            return share if share > 0 else math.inf
    return math.inf


def _of_version_2() -> float:
    share, period = (CGROUP / "cpu.max").read_text().split()
    return float(share.replace("max", "inf")) / float(period)


def _of_version_1() -> float:
    share, period = ((CGROUP / f"cpu/cpu.cfs_{of}_us").read_text() for of in ("quota", "period"))
    return float(share) / float(period)
