"""Word error rate of short encoder windows against Whisper's own 30 s, on the engine itself.

Each clip is heard as in a conversation: on the window, and once more on the full one when the guard
against repetition doubts the words. Printed: with the guard, and what the first look alone gave.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import cycle
from pathlib import Path
from unittest.mock import patch

import numpy as np

from benchmarks.clips import clips
from benchmarks.wer import WordErrors, word_errors
from pipeline.audio import pcm16_to_float
from pipeline.engines import whisper_rules as rules
from pipeline.engines.faster_whisper import FasterWhisperTranscriber
from pipeline.engines.kokoro_onnx import KokoroOnnxSynthesizer
from pipeline.engines.ports import SPEECH_HZ, Float32, SpeechRequest, SpeechWindow, Stop
from pipeline.errors import ModelMissing
from pipeline.resampling import Resampler
from server.cli.wav import read_wav
from server.settings import load

MODELS = ("tiny.en", "base")
WINDOWS_S = (8, 10, 12, 15, 20, 30)
MARGIN_S = 1
THREADS = 2
SENTENCES = Path(__file__).with_name("windows.txt")
"""Answers of a word or two, which leave a window most silence, and sentences of up to 20 words."""
VOICES = (
    "af_heart", "am_michael", "bf_emma", "bm_george", "af_bella", "am_fenrir",
    "bf_isabella", "bm_fable", "af_nova", "am_puck", "af_sarah", "am_eric",
)  # fmt: skip

METHOD = f"""The clips of tests/speech, and the sentences of benchmarks/windows.txt, spoken by
{len(VOICES)} Kokoro voices in turn. Int8 on {THREADS} threads; a window holds at least the clip and
{MARGIN_S} s; no language is named. Sum of errors over sum of words; unguarded: by the first look
alone. Repeated: first looks that ran on, or said the same again; looked twice: these, and those
that were a guess. Time: the mean of a clip, second looks included."""


@dataclass(frozen=True, slots=True)
class Said:
    """What was said, at 16 kHz."""

    words: str
    audio: Float32
    generated: bool


NONE = WordErrors(0, 0)


@dataclass(slots=True)
class Row:
    """One window's figures over all clips."""

    window_s: int
    recorded: WordErrors = NONE
    generated: WordErrors = NONE
    first_look: WordErrors = NONE
    """Of all clips, had nothing been looked at twice."""
    repeated: int = 0
    second_looks: int = 0
    mean_ms: float = 0.0

    @property
    def errors(self) -> WordErrors:
        return self.recorded + self.generated

    def __str__(self) -> str:
        return (
            f"  {self.window_s:4} s   {self.errors.rate:7.1%}  {self.recorded.rate:7.1%}  "
            f"{self.generated.rate:10.1%}  {self.first_look.rate:9.1%}  {self.repeated:9}  "
            f"{self.second_looks:5}  {self.mean_ms:6.0f} ms"
        )


HEADER = "  window   all WER    clips   generated  unguarded   repeated  twice  mean time"


def sentences() -> list[str]:
    """What is to be spoken."""
    lines = SENTENCES.read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


async def generated(models_dir: Path, texts: Sequence[str]) -> list[Said]:
    """The texts, spoken by the voices in turn."""
    engine = KokoroOnnxSynthesizer(models_dir, THREADS)
    await engine.start()
    try:
        return [
            Said(text, await _speak(engine, text, voice), generated=True)
            for text, voice in zip(texts, cycle(VOICES), strict=False)
        ]
    finally:
        await engine.close()


async def _speak(engine: KokoroOnnxSynthesizer, text: str, voice: str) -> Float32:
    request = SpeechRequest(text, voice)
    audio = np.concatenate([chunk async for chunk in engine.synthesize(request, Stop())])
    resampler = Resampler(engine.rate_hz, SPEECH_HZ)
    return np.concatenate((resampler.feed(audio), resampler.flush()))


def recorded() -> list[Said]:
    """The clips of tests/speech."""
    return [
        Said(clip.words, pcm16_to_float(read_wav(clip.path).samples.tobytes()), generated=False)
        for clip in clips()
    ]


async def hear(models_dir: Path, model: str, window_s: int, said: list[Said]) -> Row:
    """Transcribe everything with windows of at least `window_s`. Raises `ModelMissing`."""
    row = Row(window_s)
    profile = replace(rules.profile_of(model), shortest_window_s=window_s, margin_s=MARGIN_S)
    with patch.dict(rules.PROFILES, {model: profile}):
        engine = FasterWhisperTranscriber(models_dir, model, 1, THREADS)
        await engine.start()
    began_s = time.perf_counter()
    try:
        for one in said:
            with _listening_in() as looks:
                text = (await engine.transcribe(SpeechWindow(one.audio), Stop())).text
            errors = word_errors(one.words, text)
            if one.generated:
                row.generated += errors
            else:
                row.recorded += errors
            first = looks[0] if looks else None
            row.first_look += word_errors(one.words, first.text) if first else errors
            row.repeated += first is not None and is_repetition(first)
            row.second_looks += first is not None and rules.is_doubtful(first)
    finally:
        row.mean_ms = (time.perf_counter() - began_s) * 1_000 / len(said)
        await engine.close()
    return row


def is_repetition(hearing: rules.Hearing) -> bool:
    """Whether the guard doubts a hearing for saying the same again, and not as a mere guess."""
    return rules.is_doubtful(replace(hearing, logprob=0.0))


@contextmanager
def _listening_in() -> Iterator[list[rules.Hearing]]:
    """The hearings that the guard was asked about, in order."""
    looks: list[rules.Hearing] = []
    judge = rules.is_doubtful

    def note(hearing: rules.Hearing) -> bool:
        looks.append(hearing)
        return judge(hearing)

    with patch.object(rules, "is_doubtful", note):
        yield looks


async def measure(models: tuple[str, ...]) -> dict[str, list[Row]]:
    """Every window for every model that is on disk; printed as they come."""
    models_dir = load().models_dir.expanduser()
    said = [*recorded(), *await generated(models_dir, sentences())]
    seconds = [len(one.audio) / SPEECH_HZ for one in said]
    print(
        f"  {len(said)} clips, {min(seconds):.1f} to {max(seconds):.1f} s, {sum(seconds):.0f} s\n"
    )
    tables: dict[str, list[Row]] = {}
    for model in models:
        print(f"  whisper-{model}\n{HEADER}", flush=True)
        try:
            for window_s in WINDOWS_S:
                row = await hear(models_dir, model, window_s, said)
                tables.setdefault(model, []).append(row)
                print(row, flush=True)
        except ModelMissing as missing:
            print(f"  left out: {missing}")
        print()
    return tables


def main(models: tuple[str, ...] = MODELS) -> dict[str, object]:
    """Run the benchmark and print it; returns what `--json` writes."""
    print(f"Word error rate by encoder window\n{METHOD}\n")
    tables = asyncio.run(measure(models))
    result: dict[str, object] = {}
    for model, rows in tables.items():
        full = rows[-1]
        chosen_s = rules.profile_of(model).shortest_window_s
        chosen = next((row for row in rows if row.window_s == chosen_s), full)
        points = 100 * (chosen.errors.rate - full.errors.rate)
        share = chosen.mean_ms / full.mean_ms
        print(f"  whisper-{model}: at {chosen.window_s} s, as it is set, {chosen.errors};")
        print(f"  at 30 s {full.errors}: {points:+.1f} points in {share:.0%} of the time")
        result[model] = {
            "windows": [asdict(row) | {"wer": row.errors.rate} for row in rows],
            "points": round(points, 2),
        }
    return result
