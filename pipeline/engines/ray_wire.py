"""What crosses the border between a gateway and a replica besides audio and words. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from enum import Enum
from typing import Any, get_args, get_type_hints

import numpy as np

from pipeline.engines.errands import Order
from pipeline.engines.ports import (
    Choice,
    EngineInfo,
    Float32,
    MemoryUse,
    SpeechRequest,
    SpeechWindow,
    TimedSpeech,
    Transcript,
    Voice,
)
from pipeline.errors import (
    AntiphonError,
    AtCapacity,
    EngineError,
    GpuOutOfMemory,
    NotFound,
    PoolTimeout,
    RateLimited,
    SttFailed,
    Superseded,
    TtsFailed,
    Unspeakable,
)

_KINDS: dict[str, type[AntiphonError]] = {
    kind.__name__: kind
    for kind in (
        AtCapacity, EngineError, GpuOutOfMemory, NotFound, PoolTimeout, RateLimited, SttFailed,
        Superseded, TtsFailed, Unspeakable,
    )
}  # fmt: skip

SEAM_S = 0.005
"""Over so long a step between the audio of two renders is smoothed."""


@dataclass(frozen=True, slots=True)
class Description:
    """What a replica says of its engine when it is asked."""

    info: EngineInfo
    rate_hz: int = 0
    voices: tuple[Voice, ...] = ()
    blends_voices: bool = False
    languages: frozenset[str] = frozenset()
    memory: MemoryUse | None = None
    """Of the device that this replica is on."""
    choice: Choice = field(default_factory=Choice)


@dataclass(frozen=True, slots=True)
class Failure:
    """An error of ours as a value, the last of a stream: no traceback, and no class that whoever
    reads it would have to trust."""

    kind: str
    message: str
    retry_after_s: float | None = None
    param: str | None = None

    @classmethod
    def of(cls, error: AntiphonError) -> Failure:
        """The nearest kind that is known on both sides."""
        for kind in type(error).__mro__:
            if kind.__name__ in _KINDS:
                return cls(kind.__name__, str(error), error.retry_after_s, error.param)
        return cls(EngineError.__name__, str(error))

    def error(self) -> AntiphonError:
        """The error again."""
        kind = _KINDS.get(self.kind, EngineError)
        return kind(self.message, retry_after_s=self.retry_after_s, param=self.param)


@dataclass(frozen=True, slots=True)
class Begun:
    """Comes before the results of speculation, when the engine begins with it: until then the
    gateway may ask again, as for something more urgent, and no work is lost."""


@dataclass(frozen=True, slots=True)
class Alive:
    """Comes while there is nothing to give, from when a replica has the call: it waits its turn
    there, or is being carried out, and is not lost."""


def form_of(*kinds: type) -> str:
    """What values of these classes look like when they cross, and of all that is in them.

    They travel as their fields in order, without the names: one who has a field more would read
    others for them, and notice nothing.
    """
    seen = {each for kind in kinds for each in _forms(kind)}
    return hashlib.sha256(repr(sorted(seen)).encode()).hexdigest()[:12]


def _forms(kind: Any) -> Iterator[tuple[str, str]]:
    """Each class by name, with its fields or members, and those of what is in it."""
    if isinstance(kind, type) and issubclass(kind, Enum):
        yield kind.__qualname__, repr([(one.name, one.value) for one in kind])
    elif isinstance(kind, type) and is_dataclass(kind):
        hints = get_type_hints(kind)
        yield kind.__qualname__, repr([(one.name, str(one.type)) for one in fields(kind)])
        for one in fields(kind):
            yield from _forms(hints[one.name])
    else:
        for inner in get_args(kind):
            yield from _forms(inner)


FORM = form_of(
    Order, SpeechRequest, SpeechWindow, TimedSpeech, Transcript, Begun, Alive, Failure, Description
)  # fmt: skip
"""Of all that a gateway and a replica say to each other. They compare it before anything else."""


class Continuation:
    """One clause's audio, over as many renders as it takes: nothing is given twice.

    The engines are deterministic, or nearly (Piper is made so): a second render of a text is as
    long as the first, to a few samples, so the rest of the one continues the other. The step that
    may be left at the seam is let out over 5 ms.
    """

    __slots__ = ("_given", "_last", "_mends", "_seam", "_skip", "_twin")

    def __init__(self, rate_hz: int) -> None:
        self._given = 0
        self._skip = 0
        self._last = 0.0
        self._mends = False
        """The next sample that is given comes from another render than the last one."""
        self._twin = 0.0
        """In the render that goes on, the sample that stands where the last given one does."""
        self._seam = round(SEAM_S * rate_hz)

    @property
    def goes_on(self) -> bool:
        """What comes has not all been given before."""
        return not self._skip and not self._mends

    def begin_again(self) -> None:
        """What comes now is the clause from its begin."""
        self._skip = self._given
        self._mends = self._given > 0

    def feed(self, chunk: Float32) -> Float32:
        """Samples as they come, shape (n,) -> those that were not given yet, shape (m,), m <= n."""
        skipped = min(self._skip, len(chunk))
        fresh = chunk[skipped:]
        self._skip -= skipped
        if skipped:
            self._twin = float(chunk[skipped - 1])
        if self._mends and len(fresh):
            self._mends = False
            length = min(self._seam, len(fresh))
            step = (self._last - self._twin) * np.linspace(1.0, 0.0, length, dtype=np.float32)
            fresh = fresh.copy()
            fresh[:length] = np.clip(fresh[:length] + step, -1.0, 1.0)
        if len(fresh):
            self._given += len(fresh)
            self._last = float(fresh[-1])
        return fresh
