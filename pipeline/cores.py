"""The processor cores that this process may use."""

import os


def usable() -> int:
    """As many as it was given, which in a container may be fewer than there are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 2
