"""What an engine takes of a GPU's memory, measured as it is loaded, and how many of its calls fit
into its share."""

from __future__ import annotations

import fcntl
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import Any

from pipeline.engine_faults import forget_values
from pipeline.engines.nvml import driver
from pipeline.engines.ports import MemoryUse
from pipeline.errors import GpuOutOfMemory, StartError

GIB = 2**30

_one_at_a_time = threading.Lock()


def measured(
    used: Callable[[], int | None],
    load: Callable[[], None],
    call: Callable[[int], None],
    calls: int,
    share_gib: float = 0,
) -> MemoryUse | None:
    """Load, then make so many of the engine's largest calls at once, fewer where they do not fit,
    and see what each takes; and one alone, so that the first real one is fast.

    `used`: bytes of the device's memory that are taken, what is kept for later included; None
    where the engine runs in the computer's own, and nothing is measured. Blocks.
    """
    if used() is None:
        load()
        call(1)
        return None
    with _alone():
        before = used()
        load()
        loaded = used()
        calls = _at_once(call, calls)
        working = used()
        call(1)
    if before is None or loaded is None or working is None:
        return None
    return MemoryUse(
        max(0, loaded - before), max(0, working - loaded) // calls, round(share_gib * GIB)
    )


def _at_once(call: Callable[[int], None], calls: int) -> int:
    """So many, or half as many until they fit: how many they were. Raises `GpuOutOfMemory` where
    not one does."""
    while True:
        try:
            call(calls)
            return calls
        except GpuOutOfMemory as error:
            if calls == 1:
                raise
            forget_values(error)
        calls //= 2


@contextmanager
def _alone() -> Iterator[None]:
    """Engines on a device are loaded one after the other, so that none is counted as another's:
    those of other processes too, such as replicas that share a GPU."""
    with _one_at_a_time, ExitStack() as stack:
        with suppress(OSError):  # where no file can be written no other process is waited for
            file = stack.enter_context(lock_file().open("w"))
            fcntl.flock(file, fcntl.LOCK_EX)  # until it is closed, or the process ends
        yield


def lock_file() -> Path:
    """Held by whoever of this user's loads an engine on a GPU of this machine."""
    return Path(tempfile.gettempdir()) / f"antiphon-gpu-{os.getuid()}.lock"


def fitting(use: MemoryUse | None, most: int, setting: str) -> int:
    """How many calls at once fit into the share. Raises `StartError`, which names the setting,
    when not one does."""
    if use is None or not use.share_bytes:
        return most
    room = use.share_bytes - use.weights_bytes
    if room < use.call_bytes or room <= 0:
        raise StartError(
            f"{setting}: {use.share_bytes / GIB:g} GiB for each model is too little: this one takes"
            f" {use.weights_bytes / GIB:.2f} GiB, and one call {use.call_bytes / GIB:.2f} more"
        )
    return min(most, room // use.call_bytes) if use.call_bytes else most


def must_be_measured(share_gib: float, setting: str) -> None:
    """Raises `StartError` where a share of a device's memory is set, which nobody can look at."""
    if share_gib and used_bytes() is None:
        raise StartError(
            f"{setting} is set, and what is taken of the GPU's memory cannot be measured: it takes"
            " NVML (`make setup EXTRAS=gpu`) and NVIDIA's driver"
        )


def used_bytes() -> int | None:
    """Of the memory of the GPU that this process uses first, all processes together, by NVML (the
    extra `gpu`); None where it cannot be asked."""
    nvml = driver()
    if nvml is None:
        return None
    try:
        return int(nvml.nvmlDeviceGetMemoryInfo(_device(nvml)).used)
    except nvml.NVMLError:
        return None


def _device(nvml: ModuleType) -> Any:
    """CUDA counts the devices that it is shown, as Ray shows each replica its own; NVML all."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0].strip()
    if first and not first.isdigit():  # "GPU-8932f937-..."
        return nvml.nvmlDeviceGetHandleByUUID(first)
    return nvml.nvmlDeviceGetHandleByIndex(int(first or 0))
