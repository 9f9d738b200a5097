"""A recogniser of one language, and another for all the rest, loaded when it is first needed."""

from __future__ import annotations

from collections.abc import Callable

from pipeline.engines.on_demand import OnDemand
from pipeline.engines.ports import (
    EngineInfo,
    HasSeats,
    MeasuresMemory,
    MemoryUse,
    SpeechWindow,
    Stop,
    Transcriber,
    Transcript,
)
from pipeline.errors import AntiphonError, SttFailed


class PolyglotTranscriber:
    """The first one takes every window of its languages, and those that name none."""

    def __init__(
        self,
        first: Transcriber,
        make_other: Callable[[], Transcriber],
        others: frozenset[str],
        idle_s: float = 0,
    ) -> None:
        """`others`: languages of the other one, known before it is loaded; `idle_s`: it is freed
        when nobody has needed it for so long, 0: never."""
        self._first = first
        self._other = OnDemand(make_other, idle_s)
        self._others = others

    @property
    def info(self) -> EngineInfo:
        return self._first.info

    @property
    def memory(self) -> MemoryUse | None:
        return self._first.memory if isinstance(self._first, MeasuresMemory) else None

    @property
    def seats(self) -> int:
        """Windows that may be here at once."""
        return self._first.seats if isinstance(self._first, HasSeats) else 1

    @property
    def languages(self) -> frozenset[str]:
        return self._first.languages | self._others

    async def start(self) -> None:
        """Load the first one. Raises as it does."""
        await self._first.start()

    async def close(self) -> None:
        """Free both."""
        await self._other.close()
        await self._first.close()

    async def transcribe(self, window: SpeechWindow, stop: Stop) -> Transcript:
        """Raises `SttFailed`, also when the other one cannot be loaded, or `GpuOutOfMemory`."""
        language = window.language
        if language is None or language in self._first.languages or language not in self._others:
            return await self._first.transcribe(window, stop)
        try:
            async with self._other.use() as other:
                return await other.transcribe(window, stop)
        except AntiphonError as error:
            if isinstance(error, SttFailed):
                raise
            raise SttFailed(f"no model for {language!r} can be loaded: {error}") from error
