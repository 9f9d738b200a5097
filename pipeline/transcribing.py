"""A long recording in words: window after window through the pool, and nothing said left out."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Protocol

from .engines.ports import SPEECH_HZ, SpeechWindow, Transcript, Word
from .file_audio import Stretch
from .pool import STT, Purpose, ResourcePool
from .windows import Window, WindowCutter, halves
from .words import placed, same, unheard

WANTED_S = 10.0
"""Windows end at the first pause after so long: long enough to know what is spoken of, short enough
to let a session's turn pass soon (docs/decisions/0012-transcription.md)."""
SHORTEST_S = 1.0
"""No part of a window that is heard on its own is shorter."""
MOST_LOOKS = 4
"""So often a window is taken apart: noise that passes for speech has no words, however often one
listens."""


@dataclass(frozen=True, slots=True)
class Wish:
    """How a recording is to be heard."""

    language: str | None = None
    """ISO 639-1; None: as the first words are found to be."""
    prompt: str = ""
    temperature: float = 0.0


@dataclass(frozen=True, slots=True)
class Passage:
    """What was said in one window, in seconds of the recording."""

    start_s: float
    end_s: float
    transcript: Transcript
    words: tuple[Word, ...] = ()
    """With times in the recording; none if the engine cannot tell them."""

    @property
    def text(self) -> str:
        return self.transcript.text


class TranscribingWatcher(Protocol):
    """Whoever wants to know how it goes."""

    def queued(self, seconds: float, position: int) -> None:
        """An engine was given, after so long; `position` was its place in the queue, or 0."""


class Transcribing:
    """Hears one recording for one owner, a window at a time: each waits its turn at the pool."""

    def __init__(
        self,
        wish: Wish,
        owner: str,
        pool: ResourcePool,
        watcher: TranscribingWatcher,
        *,
        later_wait_s: float | None = None,
        frame_samples: int = 512,
    ) -> None:
        """`later_wait_s` is the longest wait for an engine after the first; None: the pool's."""
        self._wish = wish
        self._owner = owner
        self._pool = pool
        self._watcher = watcher
        self._later_wait_s = later_wait_s
        self._cutter = WindowCutter(WANTED_S, frame_samples)
        self._asked = 0
        self.language = wish.language
        """What is spoken; None until somebody has spoken."""

    async def passages(self, stretches: AsyncGenerator[Stretch]) -> AsyncGenerator[Passage]:
        """What was said, in order; nothing for what holds no words.

        Raises what the pool and the engine raise, and whatever the stretches do.
        """
        async with aclosing(stretches):
            async for stretch in stretches:
                for window in self._cutter.feed(stretch.frames, stretch.probabilities):
                    async for passage in self._heard(window):
                        yield passage
        for window in self._cutter.flush():
            async for passage in self._heard(window):
                yield passage

    async def _heard(self, window: Window) -> AsyncGenerator[Passage]:
        """The words of a window; parts of it are heard once more if some seem to be missing."""
        waiting: list[Window | Passage] = [window]
        looks = 0
        before: Word | None = None
        while waiting:
            part = waiting.pop()
            if isinstance(part, Window):
                transcript = await self._transcribe(part)
                parts = taken_apart(part, transcript) if looks < MOST_LOOKS else []
                looks += bool(parts)
                waiting.extend(reversed(parts or [_passage(part, transcript)]))
                continue
            if before is not None and part.words and same(before, part.words[0]):
                part = _without_first(part)  # cut a little late, the word was heard on both sides
            if part.text:
                before = part.words[-1] if part.words else None
                yield part

    async def _transcribe(self, window: Window) -> Transcript:
        later, self._asked = self._asked > 0, self._asked + 1
        asked = SpeechWindow(
            window.audio,
            self.language,
            prompt=self._wish.prompt,
            temperature=self._wish.temperature,
            word_times=True,
        )
        async with self._pool.lease(
            STT,
            self._owner,
            purpose=Purpose.REQUEST_LATER if later else Purpose.REQUEST,
            max_wait_s=self._later_wait_s if later else None,
        ) as slot:
            self._watcher.queued(slot.waited_s, slot.position)
            transcript = await slot.call(
                lambda engine, stop: engine.transcribe(asked, stop), window.seconds
            )
        if self.language is None and transcript.text:
            self.language = transcript.language
        return transcript


def taken_apart(window: Window, transcript: Transcript) -> list[Window | Passage]:
    """A window in what can be kept of its words and what is to be heard on its own; nothing when
    all can be kept, or there is too little to take apart."""
    gaps = unheard(transcript.words, window)
    if not gaps and not transcript.broken:
        return []
    if transcript.broken or gaps == [(0, len(transcript.words))]:
        return list(halves(window)) if window.seconds >= 4 * SHORTEST_S else []
    places = [window.start + round(w.start_s * SPEECH_HZ) for w in transcript.words]
    places = [window.start, *places[1:], window.end]
    parts: list[Window | Passage] = []
    kept_to = 0
    for first, end in [*gaps, (len(transcript.words),) * 2]:
        if kept_to < first:
            inside = window.after(places[kept_to]).before(places[first])
            parts.append(_passage(inside, transcript, kept_to, first, window.start))
        if first < end:
            parts.append(window.after(places[first]).before(places[end]))
        kept_to = end
    return parts


def _passage(
    window: Window,
    transcript: Transcript,
    first: int = 0,
    end: int | None = None,
    heard_from: int | None = None,
) -> Passage:
    """A window's transcript, or some of its words (whose times count from `heard_from`)."""
    words = transcript.words[first:end]
    if len(words) < len(transcript.words):
        transcript = _of(transcript, words)
    whole = window if heard_from is None else replace(window, start=heard_from)
    return Passage(
        window.start / SPEECH_HZ,
        window.end / SPEECH_HZ,
        transcript,
        placed(words, whole),
    )


def _without_first(passage: Passage) -> Passage:
    words = passage.words[1:]
    return replace(passage, transcript=_of(passage.transcript, words), words=words)


def _of(transcript: Transcript, words: tuple[Word, ...]) -> Transcript:
    """A transcript with only these of its words."""
    return replace(
        transcript,
        text="".join(word.text for word in words).strip(),
        words=words,
        tokens=sum(len(word.tokens) for word in words),
    )
