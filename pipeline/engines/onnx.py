"""How every ONNX model here is opened: quietly, with a stated number of threads, on the CPU; one
that asks for it on a CUDA device, where onnxruntime-gpu and the device are."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnxruntime

from pipeline.errors import StartError

_ERRORS_ONLY = 3


CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"

Provider = str | tuple[str, dict[str, Any]]


def load_session(
    model: Path | bytes, *, threads: int, providers: Sequence[Provider] = (CPU,)
) -> onnxruntime.InferenceSession:
    """Open a model, a file's or in memory, for sequential use on `threads` threads; blocks.

    `providers`: what may run it, the preferred one first. Raises `StartError`.
    """
    name = model if isinstance(model, Path) else "in memory"
    options = onnxruntime.SessionOptions()
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.inter_op_num_threads = 1
    options.intra_op_num_threads = threads
    options.log_severity_level = _ERRORS_ONLY
    # Idle workers would otherwise spin for a while, on cores that another engine needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(
            model if isinstance(model, bytes) else str(model),
            options,
            providers=list(providers),
        )
    except Exception as error:  # onnxruntime's own exceptions share no public base
        raise StartError(f"the model {name} cannot be loaded: {error}") from error


def choose_providers(available: Sequence[str], memory_gib: float = 0) -> tuple[Provider, ...]:
    """What may run a model, by what onnxruntime was built with. Pure; `memory_gib`: what may be
    taken of a device's memory, 0: all."""
    if CUDA not in available:
        return (CPU,)
    limit = {"gpu_mem_limit": round(memory_gib * 2**30)} if memory_gib else {}
    # Without this the memory that is kept grows to the next power of two.
    return (CUDA, {"arena_extend_strategy": "kSameAsRequested", **limit}), CPU


def device_of(available: Sequence[str], running: Sequence[str]) -> tuple[str, str]:
    """Where a session runs, and why in words: by what may run it, and what does."""
    if CUDA in running:
        return "cuda", "onnxruntime-gpu is installed, and there is a CUDA device"
    if CUDA in available:
        return "cpu (no CUDA)", "onnxruntime-gpu is installed, but its CUDA provider does not load"
    return "cpu", "onnxruntime is installed without CUDA"
