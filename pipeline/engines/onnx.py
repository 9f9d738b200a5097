"""How every ONNX model here is opened: on the CPU, quietly, with a stated number of threads."""

from __future__ import annotations

from pathlib import Path

import onnxruntime

from pipeline.errors import StartError

_ERRORS_ONLY = 3


def load_session(model: Path | bytes, *, threads: int) -> onnxruntime.InferenceSession:
    """Open a model, a file's or in memory, for sequential use on `threads` threads; blocks.

    Raises `StartError`.
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
            providers=["CPUExecutionProvider"],
        )
    except Exception as error:  # onnxruntime's own exceptions share no public base
        raise StartError(f"the model {name} cannot be loaded: {error}") from error
