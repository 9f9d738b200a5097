"""Speech over HTTP: how soon audio comes, alone, again and again, and beside others; whether all of
it comes, and without a gap.

`python -m benchmarks speech` starts a server of its own; `python -m benchmarks.speech URL [VOICE]`
asks any server that speaks OpenAI's `/v1/audio/speech`, to set the same questions to a peer.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from benchmarks.serving import running
from benchmarks.wer import WordErrors, word_errors
from pipeline.audio import Resampler, pcm16_to_float
from pipeline.engines.faster_whisper import FasterWhisperTranscriber
from pipeline.engines.ports import SPEECH_HZ, SpeechWindow, Stop
from pipeline.models import default_models_dir

RATE_HZ = 24_000
VOICE = "af_heart"
SENTENCE = "The train to the coast leaves at nine in the morning from the old station."
ROW = (
    "The first of the letters arrived on a Monday, and nobody in the house opened it.",
    "There is a small shop at the end of our street that sells bread and flowers.",
    "When the rain stopped we walked down to the river and looked for the boats.",
    "My brother plays the piano every evening, mostly the same three quiet songs.",
    "The museum is closed on Tuesdays, but the garden behind it is always open.",
    "She put the keys on the table, took off her coat, and sat by the window.",
    "A good map of the mountains is worth more than the most expensive boots.",
    "We had planted the apple trees long before the new road was even planned.",
    "He asked the driver to wait, but the bus was already late and left at once.",
    "In winter the lake freezes, and the children skate on it until it is dark.",
)
LONG = " ".join(ROW * 2)
"""Some 300 words."""

METHOD = f"""PCM, streamed, on loopback, one process asking. Time to first audio (TTFA) runs from
the request to its first byte of audio. One request warms the server up and is not counted. A gap is
a time in which a client that plays as it receives, without a buffer, has nothing to play. "At once"
asks for the first so many of {len(ROW)} different sentences. WER: transcribed again by Whisper
tiny.en."""


@dataclass
class Answer:
    """One request: when its audio came, in seconds from asking."""

    text: str
    came: list[tuple[float, int]] = field(default_factory=list)
    pcm: bytearray = field(default_factory=bytearray)

    @property
    def ttfa_s(self) -> float:
        return self.came[0][0]

    @property
    def total_s(self) -> float:
        return self.came[-1][0]

    @property
    def audio_s(self) -> float:
        return len(self.pcm) / 2 / RATE_HZ

    @property
    def gap_s(self) -> float:
        """The time that playback stood still."""
        until, dry = self.ttfa_s, 0.0
        for at, size in self.came:
            dry += max(0.0, at - until)
            until = max(until, at) + size / 2 / RATE_HZ
        return dry


async def ask(client: httpx.AsyncClient, text: str, voice: str) -> Answer:
    """One request. Raises `httpx.HTTPError` when it fails."""
    answer, began = Answer(text), time.perf_counter()
    body = {"model": "tts-1", "input": text, "voice": voice, "response_format": "pcm"}
    async with client.stream("POST", "/v1/audio/speech", json={**body, "stream": True}) as reply:
        reply.raise_for_status()
        async for data in reply.aiter_raw():
            answer.came.append((time.perf_counter() - began, len(data)))
            answer.pcm += data
    return answer


async def together(client: httpx.AsyncClient, texts: tuple[str, ...], voice: str) -> list[Answer]:
    """All of them at once."""
    return list(await asyncio.gather(*(ask(client, text, voice) for text in texts)))


async def errors_in(answers: list[Answer]) -> WordErrors:
    """How many words are not heard in what was made."""
    ear = FasterWhisperTranscriber(default_models_dir(), "tiny.en", 1, 2)
    await ear.start()
    total = WordErrors(0, 0)
    try:
        for answer in answers:
            resampler = Resampler(RATE_HZ, SPEECH_HZ)
            audio = resampler.feed(pcm16_to_float(bytes(answer.pcm)))
            window = SpeechWindow(np.concatenate((audio, resampler.flush())))
            heard = await ear.transcribe(window, Stop())
            total += word_errors(answer.text, heard.text)
    finally:
        await ear.close()
    return total


async def measure(url: str, voice: str = VOICE) -> dict[str, object]:
    """Ask the server at `url`, print, and return what `--json` writes."""
    result: dict[str, object] = {}
    async with httpx.AsyncClient(base_url=url, timeout=300) as client:
        await ask(client, "Good morning to all of you.", voice)

        alone = [(await ask(client, SENTENCE, voice)).ttfa_s for _ in range(10)]
        _say("15 words, ten times", alone)
        result["sentence_ttfa_s"] = [round(value, 3) for value in alone]

        row = [await ask(client, text, voice) for text in ROW]
        ttfas = [answer.ttfa_s for answer in row]
        _say("ten in a row", ttfas)
        print(f"  {'':24} the tenth {ttfas[-1] / ttfas[0]:.2f} x the first")
        result["row_ttfa_s"] = [round(value, 3) for value in ttfas]

        heard = list(row)
        for count in (2, 4, 8):
            began = time.perf_counter()
            answers = await together(client, ROW[:count], voice)
            took_s = time.perf_counter() - began
            made_s = sum(answer.audio_s for answer in answers)
            _say(f"{count} at once", [answer.ttfa_s for answer in answers])
            last = max(answer.ttfa_s for answer in answers)
            off = max(abs(a.audio_s / b.audio_s - 1) for a, b in zip(answers, row, strict=False))
            print(
                f"  {'':24} the last {last / (count * statistics.median(alone)):.2f} x {count} x "
                f"one alone; {made_s / took_s:.1f} audio-seconds a second; lengths within {off:.1%}"
            )
            result[f"at_once_{count}"] = {
                "ttfa_s": [round(answer.ttfa_s, 3) for answer in answers],
                "rtf_inverse": round(made_s / took_s, 2),
                "gap_s": round(sum(answer.gap_s for answer in answers), 3),
            }
            heard += answers

        long = await ask(client, LONG, voice)
        print(
            f"  {f'{len(LONG.split())} words':24} {long.audio_s:.1f} s of audio in "
            f"{long.total_s:.1f} s, playback stood still for {long.gap_s:.2f} s"
        )
        result["long"] = {"audio_s": round(long.audio_s, 2), "gap_s": round(long.gap_s, 3)}
    errors = await errors_in(heard)
    print(f"  transcribed again        {errors}")
    result["wer"] = round(errors.rate, 4)
    return result


def _say(what: str, ttfas_s: list[float]) -> None:
    print(
        f"  {what:24} TTFA p50 {statistics.median(ttfas_s):.3f} s, first {ttfas_s[0]:.3f}, "
        f"longest {max(ttfas_s):.3f}",
        flush=True,
    )


def main() -> dict[str, object]:
    """Run the benchmark on a server of its own; returns what `--json` writes."""
    print(f"Speech over HTTP\n{METHOD}\n")
    # The voice alone: no other model is loaded beside it.
    with running(llm_engine="scripted", stt_engine="scripted", vad_engine="scripted") as server:
        return asyncio.run(measure(server.url))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(f"python -m benchmarks.{Path(__file__).stem} URL [VOICE]")
    asyncio.run(measure(sys.argv[1], *sys.argv[2:3]))
