"""Barge-in in virtual time: what is decided over a reply, against how long its words take.

The live run (`barge_in`) meets one machine on one day; this one asks what the turn machine makes of
the same sounds when the recogniser is quick, busy, or late.
"""

from __future__ import annotations

import asyncio
import heapq
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np

from benchmarks.barge_in import NOISY, Attempt, cutting_in
from benchmarks.clips import clips
from benchmarks.latency import Quantiles
from benchmarks.noises import Sound, coughs, doors, signs_of_listening
from benchmarks.room import onsets
from pipeline.audio import level_dbfs
from pipeline.engines.faster_whisper import FasterWhisperTranscriber
from pipeline.engines.ports import SPEECH_HZ, Float32, SpeechWindow, Stop
from pipeline.engines.silero import SileroVoiceActivity
from pipeline.events import Interrupted, ReplyPaused, ReplyResumed
from pipeline.models import default_models_dir
from pipeline.signals import (
    Draft,
    DraftAudio,
    DraftMade,
    DraftText,
    DraftVoiced,
    Effect,
    Event,
    Heard,
    Look,
    Looked,
    Typed,
)
from pipeline.turn import TurnConfig, TurnMachine
from pipeline.utterance import FRAME
from pipeline.vad import VadBatcher

WORDS_S = (0.08, 0.14, 0.2, 0.3, 0.45)
"""From the recogniser's beginning to its answer, give or take a fifth."""
PHASES = 4
"""Each sound begins at so many places within a frame of the voice detector."""
BEFORE_S, AFTER_S = 1.0, 2.5
NOISE_DBFS = -60.0
STORY = "Once upon a time there was a lighthouse on a rock far out at sea. " * 20
STORY_S = 60.0
STEPS = {ReplyPaused: "reply_paused", ReplyResumed: "reply_resumed", Interrupted: "interrupted"}

METHOD = f"""The sounds of barge_in, {PHASES} times each at different places within a frame, over
noise at {NOISE_DBFS:g} dBFS, while a reply is spoken. Silero hears every frame when its last sample
has come; tiny.en transcribes the windows that the turn machine asks for, one after the other, each
in the stated time give or take a fifth. Nothing else takes time. Onset, last old sample and
decided: as in barge_in."""


@dataclass(slots=True)
class Ear:
    """What Silero and Whisper say of one stretch of audio; the same window is heard once."""

    audio: Float32
    probabilities: list[float]
    stt: FasterWhisperTranscriber
    _known: dict[tuple[int, int, bool], str] = field(default_factory=dict)

    async def words(self, look: Look) -> str:
        quick = look.over_reply and not look.final
        place = (look.start, look.end, quick)
        if place not in self._known:
            window = SpeechWindow(self.audio[look.start : look.end], "en", quick=quick)
            self._known[place] = (await self.stt.transcribe(window, Stop())).text
        return self._known[place]

    def frames(self) -> Iterator[tuple[float, Heard]]:
        """Each when it has come."""
        for number, probability in enumerate(self.probabilities, start=1):
            end, at = number * FRAME, number * FRAME / SPEECH_HZ
            level = round(level_dbfs(self.audio[end - FRAME : end]), 1)
            yield at, Heard(probability, end, at, level)


class Recogniser:
    """One seat: a window at a time, and of those that wait the latest."""

    def __init__(self) -> None:
        self.at_work: Look | None = None
        self._wanted = True
        self._waiting: Look | None = None

    def ask(self, look: Look) -> Look | None:
        """The window to begin with now, if it can be."""
        if self.at_work is None:
            self.at_work, self._wanted = look, True
            return look
        self._waiting = look
        self._wanted = self._wanted and look.over_reply
        return None

    def finish(self) -> tuple[Look | None, Look | None]:
        """What was transcribed, if anybody still wants it, and the window to begin with now."""
        done = self.at_work if self._wanted else None
        self.at_work, self._waiting, self._wanted = self._waiting, None, True
        return done, self.at_work


async def over_a_reply(ear: Ear, words_s: float, chance: random.Random) -> list[tuple[float, str]]:
    """What the client is told of its reply, and when, in seconds of the audio."""
    machine, recogniser, order = TurnMachine(TurnConfig()), Recogniser(), count()
    agenda: list[tuple[float, int, Event | None]] = []
    steps: list[tuple[float, str]] = []

    def plan(at: float, event: Event | None) -> None:
        heapq.heappush(agenda, (at, next(order), event))

    def begin(look: Look | None) -> None:
        if look is not None:
            plan(now + words_s * chance.uniform(0.8, 1.2), None)

    def follow(effects: Sequence[Effect]) -> None:
        for effect in effects:
            if type(effect) in STEPS:
                steps.append((now, STEPS[type(effect)]))
            match effect:
                case Look():
                    begin(recogniser.ask(effect))
                case Draft(draft=1):
                    for news in _story():
                        plan(now, news)

    for at, heard in ear.frames():
        plan(at, heard)
    now = 0.0
    follow(machine.step(Typed("Tell me a story."), now))
    while agenda:
        wake = machine.next_wake(now)
        if wake is not None and now < wake < agenda[0][0]:
            now = wake
            follow(machine.step(None, now))
            continue
        now, _, event = heapq.heappop(agenda)
        if event is None:
            look, following = recogniser.finish()
            if look is not None:
                text = await ear.words(look)
                event = Looked(look.key, look.segment, look.attempt, text, end=look.end)
            begin(following)
        if event is not None:
            follow(machine.step(event, now))
    return steps


def _story() -> list[Event]:
    samples = round(STORY_S * TurnConfig().rate_hz)
    return [
        DraftText(1, STORY),
        DraftAudio(1, samples),
        DraftVoiced(1, 0, len(STORY), 0, samples),
        DraftMade(1),
    ]


def placed(sound: Sound, phase: int) -> tuple[Float32, tuple[float, ...]]:
    """The sound in a quiet room, and its onsets in seconds."""
    said = sound.recording.samples.astype(np.float32) / 32_768
    begins = round(BEFORE_S * SPEECH_HZ) + phase * FRAME // PHASES
    length = begins + len(said) + round(AFTER_S * SPEECH_HZ)
    noise = np.random.default_rng(phase).standard_normal(length) * 10 ** (NOISE_DBFS / 20)
    audio = noise.astype(np.float32)
    audio[begins : begins + len(said)] += said
    at = tuple((begins + onset) / SPEECH_HZ for onset in onsets(sound.recording.samples))
    return audio, at


async def _attempts(
    sounds: Sequence[Sound], vad: VadBatcher, stt: FasterWhisperTranscriber
) -> dict[float, list[Attempt]]:
    """What came of each sound, by the time that words take."""
    attempts: dict[float, list[Attempt]] = {words_s: [] for words_s in WORDS_S}
    for sound in sounds:
        for phase in range(PHASES):
            audio, onsets_at = placed(sound, phase)
            stream = vad.stream()
            frames = audio[: len(audio) // FRAME * FRAME].reshape(-1, FRAME)
            ear = Ear(audio, [await stream.probability(frame) for frame in frames], stt)
            for words_s in WORDS_S:
                steps = await over_a_reply(ear, words_s, random.Random(phase))
                told = Attempt(sound.name, onsets_at, tuple(steps), drained_at=STORY_S)
                attempts[words_s].append(told)
    return attempts


async def _run() -> dict[str, object]:
    beginnings = cutting_in(sum(clip.path.stem != NOISY for clip in clips()))
    asides = [*coughs(), *await signs_of_listening()]
    stt = FasterWhisperTranscriber(default_models_dir(), "tiny.en", slots=1, threads=2)
    silero = SileroVoiceActivity(default_models_dir())
    await stt.start()
    await silero.start()
    try:
        async with VadBatcher(silero) as vad:
            cut = await _attempts(beginnings, vad, stt)
            aside = await _attempts(asides, vad, stt)
            shut = await _attempts(doors(), vad, stt)
    finally:
        await silero.close()
        await stt.close()
    print("  words after   last old sample, ms   decided, ms      cut in  asides that end a reply")
    return {
        f"{words_s * 1_000:.0f}_ms": _row(words_s, cut[words_s], aside[words_s] + shut[words_s])
        for words_s in WORDS_S
    }


def _row(words_s: float, cut: list[Attempt], aside: list[Attempt]) -> dict[str, object]:
    last = Quantiles.of([ms for one in cut if (ms := one.last_played_ms) is not None])
    decided = Quantiles.of([ms for one in cut if (ms := one.ended_ms) is not None])
    heard = sum(one.ended_ms is not None for one in cut)
    ended = sum(one.ended_ms is not None for one in aside)
    print(
        f"  {words_s * 1_000:8.0f} ms   p50 {last.p50:4.0f}  p95 {last.p95:5.0f}   "
        f"p50 {decided.p50:4.0f}  p95 {decided.p95:5.0f}   {heard} of {len(cut)}"
        f"  {ended} of {len(aside)}"
    )
    return {
        "last_old_sample_p95_ms": last.p95,
        "decided_p95_ms": decided.p95,
        "cut_in": heard,
        "tries": len(cut),
        "ended_by_asides": ended,
        "asides": len(aside),
    }


def main() -> dict[str, object]:
    """Run the benchmark and print it; returns what `--json` writes."""
    print(f"Interjections\n{METHOD}\n")
    return asyncio.run(_run())
