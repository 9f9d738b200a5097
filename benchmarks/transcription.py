"""Transcription over HTTP: real-time factor and word error rate of a long file, alone and four at
once."""

from __future__ import annotations

import asyncio
import io
import time
import wave
from dataclasses import asdict, dataclass

import httpx
import numpy as np

from benchmarks.serving import running
from benchmarks.wer import WordErrors, word_errors
from benchmarks.windows import Said, generated, recorded, sentences
from pipeline.audio import float_to_pcm16
from pipeline.engines.ports import SPEECH_HZ, Float32
from server.settings import load

MINUTES = 3
AT_ONCE = 4
ROUNDS = 3
FIRST_SENTENCE = 15
"""Of benchmarks/windows.txt: those before are of a word or two."""
PAUSES_S = (0.0, 0.3, 0.6, 1.5)
"""Between one speaker and the next, in turn; without one, two voices meet within a word's time."""

METHOD = f"""A file of {MINUTES} minutes: the clips of tests/speech and the sentences of
benchmarks/windows.txt, spoken by 12 Kokoro voices in turn, {", ".join(map(str, PAUSES_S))} s apart.
POST /v1/audio/transcriptions, response_format json, a server of its own with the default settings.
RTF: the request's time, upload to answer, by the recording's. Alone: the median of {ROUNDS}, after
one to warm up. First words: until the first event of a stream. WER: sum of errors over sum of
words; by itself: each clip and sentence as a file of its own, one request each."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One request's."""

    text: str
    seconds: float


async def ask(http: httpx.AsyncClient, sound: bytes) -> Answer:
    """Have a file transcribed."""
    began_s = time.perf_counter()
    answer = await http.post("/v1/audio/transcriptions", files={"file": ("speech.wav", sound)})
    answer.raise_for_status()
    return Answer(answer.json()["text"], time.perf_counter() - began_s)


async def first_words_s(http: httpx.AsyncClient, sound: bytes) -> float:
    """Until the first event of a stream."""
    began_s = time.perf_counter()
    async with http.stream(
        "POST",
        "/v1/audio/transcriptions",
        files={"file": ("speech.wav", sound)},
        data={"stream": "true"},
    ) as answer:
        async for line in answer.aiter_lines():
            if line:
                return time.perf_counter() - began_s
    raise RuntimeError("the stream was empty")


def joined() -> tuple[list[Said], Float32]:
    """What is said, and its sound: whole clips and sentences, up to `MINUTES`."""
    models_dir = load().models_dir.expanduser()
    said: list[Said] = []
    pieces: list[Float32] = []
    length = 0
    spoken = asyncio.run(generated(models_dir, sentences()[FIRST_SENTENCE:]))
    for number, one in enumerate([*recorded(), *spoken]):
        pause = np.zeros(round(PAUSES_S[number % len(PAUSES_S)] * SPEECH_HZ), np.float32)
        length += len(one.audio) + len(pause)
        if length > MINUTES * 60 * SPEECH_HZ:
            break
        said.append(one)
        pieces += [one.audio, pause]
    return said, np.concatenate(pieces)


def wav(samples: Float32) -> bytes:
    """16-bit, 16 kHz, mono."""
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setnchannels(1)
        out.setframerate(SPEECH_HZ)
        out.setsampwidth(2)
        out.writeframes(float_to_pcm16(samples))
    return file.getvalue()


@dataclass(frozen=True, slots=True)
class Figures:
    """What is printed."""

    audio_s: float
    rtf_alone: float
    rtf_at_once: tuple[float, ...]
    first_words_s: float
    wer: WordErrors
    wer_at_once: WordErrors
    wer_by_itself: WordErrors


async def measure(url: str, said: list[Said], sound: Float32) -> Figures:
    """Ask the server at `url`."""
    audio_s = len(sound) / SPEECH_HZ
    words = " ".join(one.words for one in said)
    file = wav(sound)
    async with httpx.AsyncClient(base_url=url, timeout=600) as http:
        await ask(http, file)
        alone = [await ask(http, file) for _ in range(ROUNDS)]
        first_s = await first_words_s(http, file)
        at_once = await asyncio.gather(*(ask(http, file) for _ in range(AT_ONCE)))
        by_itself = WordErrors(0, 0)
        for one in said:
            by_itself += word_errors(one.words, (await ask(http, wav(one.audio))).text)
    together = WordErrors(0, 0)
    for answer in at_once:
        together += word_errors(words, answer.text)
    return Figures(
        audio_s,
        sorted(answer.seconds for answer in alone)[ROUNDS // 2] / audio_s,
        tuple(sorted(answer.seconds / audio_s for answer in at_once)),
        first_s,
        word_errors(words, alone[-1].text),
        together,
        by_itself,
    )


def main() -> dict[str, object]:
    """Run the benchmark and print it; returns what `--json` writes."""
    print(f"Transcription over HTTP\n{METHOD}\n")
    said, sound = joined()
    with running() as server:
        found = asyncio.run(measure(server.url, said, sound))
    slowest = found.rtf_at_once[-1]
    print(f"  {found.audio_s:.0f} s, {len(said)} clips and sentences")
    print(f"  alone         RTF {found.rtf_alone:.3f}, {found.wer}")
    print(f"  {AT_ONCE} at once     RTF {slowest:.3f} the last, {slowest / AT_ONCE:.3f} of all")
    print(f"                {found.wer_at_once}")
    print(f"  by itself     {found.wer_by_itself}")
    print(f"  first words   {found.first_words_s:.2f} s")
    return asdict(found)
