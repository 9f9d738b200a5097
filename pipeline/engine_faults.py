"""What an engine's exception means: memory that is full, a fault of its own, or neither. Pure.

The runtimes' own classes are recognised by name and message: importing torch to be able to name one
would cost seconds and gigabytes, and CTranslate2 and onnxruntime have no class for it at all.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterator

from .errors import AntiphonError, EngineError, GpuOutOfMemory, PromptRefused, Unspeakable

_OUT_OF_MEMORY_TYPES = frozenset({"OutOfMemoryError", "MemoryError"})
"""torch.cuda.OutOfMemoryError is torch.OutOfMemoryError; CuPy and JAX use the name too."""
_OUT_OF_MEMORY_WORDS = (
    "out of memory",  # ctranslate2: "CUDA failed with error out of memory"; torch before 1.13
    "failed to allocate memory",  # onnxruntime: "... for requested buffer of size ..."
    "cuda_error_out_of_memory",
    "cublas_status_alloc_failed",
    "cudnn_status_alloc_failed",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether this, or what it was raised from, says that a device's memory is full."""
    return any(_says_out_of_memory(cause) for cause in _causes(error))


def forget_values(error: BaseException) -> None:
    """Let go of what the failed call held: its frames, kept by the exception, keep its tensors."""
    for cause in _causes(error):
        traceback.clear_frames(cause.__traceback__)


def is_fault(error: BaseException) -> bool:
    """Whether it speaks against the engine: not the request's fault, nor the memory's."""
    if isinstance(error, GpuOutOfMemory | PromptRefused | Unspeakable) or is_out_of_memory(error):
        return False
    return isinstance(error, EngineError) or not isinstance(error, AntiphonError)


def _says_out_of_memory(error: BaseException) -> bool:
    if isinstance(error, GpuOutOfMemory) or type(error).__name__ in _OUT_OF_MEMORY_TYPES:
        return True
    if isinstance(error, AntiphonError):
        return False  # our own words; what they were raised from is looked at as well
    words = str(error).lower()
    return any(known in words for known in _OUT_OF_MEMORY_WORDS)


def _causes(error: BaseException) -> Iterator[BaseException]:
    """The exception, what it was raised from, and so on; a loop in that ends."""
    seen: set[int] = set()
    at: BaseException | None = error
    while at is not None and id(at) not in seen:
        seen.add(id(at))
        yield at
        at = at.__cause__
