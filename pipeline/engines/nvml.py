"""NVML, where its package (the extra `gpu`) and a driver are."""

from __future__ import annotations

from functools import cache
from types import ModuleType


@cache
def driver() -> ModuleType | None:
    """The library, open; it stays so until the process ends."""
    try:
        import pynvml
    except ImportError:
        return None
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:  # no driver
        return None
    module: ModuleType = pynvml
    return module
