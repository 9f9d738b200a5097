"""The memory of the GPUs, by NVML, where its package (the extra `gpu`) and a driver are."""

from __future__ import annotations

from dataclasses import dataclass

from pipeline.engines.nvml import driver


@dataclass(frozen=True, slots=True)
class GpuMemory:
    """One device's, all processes together, in bytes."""

    device: int
    used_bytes: int
    total_bytes: int


def gpu_memory() -> list[GpuMemory]:
    """Every device's, as it is now; nothing where there is none, or it cannot be asked."""
    nvml = driver()
    if nvml is None:
        return []
    try:
        found = []
        for device in range(nvml.nvmlDeviceGetCount()):
            memory = nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByIndex(device))
            found.append(GpuMemory(device, memory.used, memory.total))
        return found
    except nvml.NVMLError:  # lost meanwhile: what needs it will say so
        return []
