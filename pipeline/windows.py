"""Long audio in windows that a recogniser takes: cut where nobody speaks, silence left out. Pure:
samples and speech probabilities in, windows out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np

from pipeline.engines.ports import SPEECH_HZ, Float32

ONSET, OFFSET = 0.35, 0.2
"""Speech begins and ends at these probabilities: lower than in conversation, where noise taken for
speech costs a turn. Here the recogniser hears for itself that nobody speaks."""
PAD_S = 0.3
"""Kept before the first and after the last voiced frame."""
PAUSE_S = 0.3
"""A silence that a window may end in, once it is as long as is wanted."""
LONG_PAUSE_S = 2.0
"""A silence that ends any window."""
MOST_S = 26.0
"""The longest window. Whisper writes at most 224 tokens; people speak up to about 7 a second, and
numbers take more."""


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of a recording with speech in it."""

    start: int
    """Its first sample's place in the recording."""
    audio: Float32
    voiced: tuple[tuple[int, int], ...] = ()
    """Where somebody speaks: samples of the recording, begin and end."""

    @property
    def end(self) -> int:
        return self.start + len(self.audio)

    @property
    def seconds(self) -> float:
        return len(self.audio) / SPEECH_HZ

    def after(self, place: int) -> Window:
        """What comes from this sample of the recording on."""
        return Window(place, self.audio[place - self.start :], self._voiced(place, self.end))

    def before(self, place: int) -> Window:
        """What comes before it."""
        voiced = self._voiced(self.start, place)
        return Window(self.start, self.audio[: place - self.start], voiced)

    def _voiced(self, start: int, end: int) -> tuple[tuple[int, int], ...]:
        return tuple((max(a, start), min(b, end)) for a, b in self.voiced if a < end and b > start)


@dataclass(slots=True)
class WindowCutter:
    """Takes a recording frame by frame. What it holds never grows past `MOST_S`."""

    wanted_s: float
    """From this length on a window ends at the next pause; shorter ones only at a long one."""
    frame_samples: int = 512
    _start: int = 0
    """The place of the first frame held."""
    _frames: list[Float32] = field(default_factory=list)
    _voiced: list[bool] = field(default_factory=list)
    """Of each frame held, whether somebody speaks in it."""
    _speaking: bool = False

    def feed(self, frames: Float32, probabilities: Float32) -> Iterator[Window]:
        """Frames (n, frame_samples) with their probabilities (n,); the windows that they end.

        What it gives must be taken before more is fed.
        """
        for frame, probability in zip(frames, probabilities, strict=True):
            self._speaking = bool(probability >= (OFFSET if self._speaking else ONSET))
            self._frames.append(frame)
            self._voiced.append(self._speaking)
            if self._speaking:
                if len(self._frames) >= self._count(MOST_S):
                    yield self._cut(self._best_cut())
            elif not any(self._voiced):
                self._forget(len(self._frames) - self._count(PAD_S))
            elif (cut := self._pause()) is not None:
                yield self._cut(cut)

    def flush(self) -> Iterator[Window]:
        """The recording is over: the last window, if there is speech in what is held."""
        if any(self._voiced):
            yield self._cut(len(self._frames))
        self._forget(len(self._frames))

    def _pause(self) -> int | None:
        """Where to end the window in the silence that it ends with, if it is to end."""
        held = len(self._frames)
        speech = held - self._voiced[::-1].index(True)
        silence = held - speech
        if silence >= self._count(LONG_PAUSE_S) or held >= self._count(MOST_S):
            return min(held, speech + self._count(PAD_S))
        if speech >= self._count(self.wanted_s) and silence >= self._count(PAUSE_S):
            return speech + silence // 2
        return None

    def _best_cut(self) -> int:
        """Nobody has paused for long enough: the longest silence of the second half, or, where
        there is none at all, its quietest moment. Between two words there mostly is one."""
        half = len(self._frames) // 2
        silences = list(_runs(self._voiced[half:], False))
        if silences:
            begin, end = max(silences, key=lambda run: run[1] - run[0])
            return half + (begin + end + 1) // 2
        return half + _quietest(np.stack(self._frames[half:]))

    def _cut(self, count: int) -> Window:
        """A window of the first `count` frames held; the others stay."""
        spans = tuple(
            (self._start + begin * self.frame_samples, self._start + end * self.frame_samples)
            for begin, end in _runs(self._voiced[:count], True)
        )
        window = Window(self._start, np.concatenate(self._frames[:count]), spans)
        self._forget(count)
        return window

    def _forget(self, count: int) -> None:
        if count > 0:
            del self._frames[:count], self._voiced[:count]
            self._start += count * self.frame_samples

    def _count(self, seconds: float) -> int:
        return round(seconds * SPEECH_HZ / self.frame_samples)


def halves(window: Window, frame_samples: int = 512) -> tuple[Window, Window]:
    """The same in two, where it is quietest in its middle half: for words that came out broken."""
    count = len(window.audio) // frame_samples
    frames = window.audio[: count * frame_samples].reshape(count, frame_samples)
    quarter = count // 4
    middle = quarter + _quietest(frames[quarter : count - quarter])
    place = window.start + middle * frame_samples
    return window.before(place), window.after(place)


def _quietest(frames: Float32) -> int:
    """The frame (of five or more) in the middle of the quietest 160 ms, its neighbours counting
    less: a single frame may be the closure of a consonant."""
    power = np.mean(np.square(frames), axis=1)
    weights = np.hanning(7)[1:-1]
    return 2 + int(np.argmin(np.convolve(power, weights, "valid")))


def _runs(flags: list[bool], wanted: bool) -> Iterator[tuple[int, int]]:
    """Each run of `wanted`: where it begins, and where it has ended."""
    begin = 0
    for place in range(1, len(flags) + 1):
        if place == len(flags) or flags[place] != flags[place - 1]:
            if flags[begin] is wanted:
                yield begin, place
            begin = place
