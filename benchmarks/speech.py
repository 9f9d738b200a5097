"""Speech over HTTP: how soon audio comes, alone, again and again, and beside others; whether all of
it comes, and without a gap.

`python -m benchmarks speech` starts a server of its own; `python -m benchmarks.speech URL [VOICE]`
asks any server that speaks OpenAI's `/v1/audio/speech`, to set the same questions to a peer.
"""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.bare import Bare, bare, clauses
from benchmarks.serving import running
from benchmarks.wer import WordErrors, word_errors
from pipeline.audio import pcm16_to_float
from pipeline.engines.faster_whisper import FasterWhisperTranscriber
from pipeline.engines.ports import SPEECH_HZ, SpeechWindow, Stop
from pipeline.models import default_models_dir
from pipeline.resampling import Resampler

RATE_HZ = 24_000
VOICE = "af_heart"
SENTENCE = "The train to the coast leaves at nine in the morning from the old station."
ROW = (
    "The first letter arrived early on a Monday, and nobody in the house opened it.",
    "There is a small shop at the end of our street that sells bread and flowers.",
    "When the storm stopped we walked down to the river and looked for the boats.",
    "My brother plays the piano every evening, mostly the same three quiet songs.",
    "The old museum is closed on Tuesdays, but the garden behind it is always open.",
    "She put the keys on the table, took off her coat, and sat by the window.",
    "Some good maps of the mountains are worth more than the most expensive boots.",
    "We had planted the apple trees long before the new road was even planned.",
    "Nobody had asked the driver to wait, and the bus was late and left at once.",
    "When winter comes the lake freezes, and the children skate on it until dark.",
)
LONG = " ".join(ROW * 2)
"""Some 300 words."""

VOICE_ALONE = {
    "llm_engine": "scripted",
    "stt_engine": "scripted",
    "vad_engine": "scripted",
}
"""A server's settings: no other model is loaded beside the voice."""

METHOD = f"""PCM, streamed, on loopback, one process asking. Time to first audio (TTFA) runs from
the request to its first byte of audio. One request warms the server up and is not counted. A gap is
a time in which a client that plays as it receives, without a buffer, has nothing to play: what of
the answer has come by then, played from its first byte on, is over. "In a row": right before each
request its first clause is made by an engine of the same settings in the asking process, so that
what the machine does to both can be told from what the server does; each finds the processor's
caches full of the other's copy of the model; the first clauses of the ten are about as long. "At
once" asks for the first so many of {len(ROW)} different sentences; right before it an engine with
one thread makes the first clauses of the same ones, one after the other. Lengths: seconds of audio
against those of the same text, asked for once more, alone, at the end. WER: transcribed again by
Whisper tiny.en, each answer by itself. Tracked: the server's own register (GET /admin/requests) has
each answer under its id, completed, with its times and the seconds of audio that came."""

MOST_QUEUED = 1.5
"""Times requests x (one first clause on one thread) / instances: the TTFA of the last at once."""
MOST_OFF = 0.05
"""By which an answer may be longer or shorter than the same text alone."""
MOST_WER = 0.15
"""Of each answer; more, and something is missing."""


@dataclass
class Answer:
    """One request: when its audio came, in seconds from asking."""

    text: str
    id: str = ""
    """Its `x-request-id`."""
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
    def gaps_s(self) -> list[tuple[float, float]]:
        """When playback stood still, in seconds of the audio, and for how long each time."""
        until, played, gaps = self.ttfa_s, 0.0, []
        for at, size in self.came:
            if at > until:
                gaps.append((round(played, 2), round(at - until, 3)))
            until = max(until, at) + size / 2 / RATE_HZ
            played += size / 2 / RATE_HZ
        return gaps

    @property
    def gap_s(self) -> float:
        """The time that playback stood still, in all."""
        return sum(length for _, length in self.gaps_s)


async def ask(client: httpx.AsyncClient, text: str, voice: str) -> Answer:
    """One request. Raises `httpx.HTTPError` when it fails."""
    answer, began = Answer(text), time.perf_counter()
    body = {"model": "tts-1", "input": text, "voice": voice, "response_format": "pcm"}
    async with client.stream("POST", "/v1/audio/speech", json={**body, "stream": True}) as reply:
        reply.raise_for_status()
        answer.id = reply.headers.get("x-request-id", "")
        async for data in reply.aiter_raw():
            answer.came.append((time.perf_counter() - began, len(data)))
            answer.pcm += data
    return answer


async def together(client: httpx.AsyncClient, texts: tuple[str, ...], voice: str) -> list[Answer]:
    """All of them at once."""
    return list(await asyncio.gather(*(ask(client, text, voice) for text in texts)))


async def errors_in(answers: list[Answer]) -> list[WordErrors]:
    """How many words are not heard in what was made, of each answer."""
    ear = FasterWhisperTranscriber(default_models_dir(), "tiny.en", 1, 2)
    await ear.start()
    try:
        return [await _errors_in(answer, ear) for answer in answers]
    finally:
        await ear.close()


async def _errors_in(answer: Answer, ear: FasterWhisperTranscriber) -> WordErrors:
    resampler = Resampler(RATE_HZ, SPEECH_HZ)
    audio = resampler.feed(pcm16_to_float(bytes(answer.pcm)))
    window = SpeechWindow(np.concatenate((audio, resampler.flush())))
    heard = await ear.transcribe(window, Stop())
    return word_errors(answer.text, heard.text)


def untracked(answers: list[Answer], register: list[dict[str, Any]]) -> list[str]:
    """What `/admin/requests` lacks, or has otherwise than it came, of these answers; in words."""
    shown = {entry["id"]: entry for entry in register}
    complaints = []
    for answer in answers:
        entry = shown.get(answer.id)
        if entry is None:
            complaints.append(f"{answer.id}: not there")
            continue
        queue, ttfa, total = (entry["times_ms"][name] for name in ("queue", "ttfa", "total"))
        if entry["outcome"] != "completed":
            complaints.append(f"{answer.id}: {entry['outcome']}")
        elif None in (queue, ttfa, total) or not 0 <= queue <= ttfa <= total:
            complaints.append(f"{answer.id}: {entry['times_ms']}")
        elif ttfa > 1000 * answer.ttfa_s:
            complaints.append(f"{answer.id}: {ttfa} ms to the first audio, came sooner")
        elif abs(entry["audio_s"] - answer.audio_s) > 0.001:
            complaints.append(f"{answer.id}: {entry['audio_s']} s, {answer.audio_s:.3f} came")
    return complaints


async def register_of(client: httpx.AsyncClient) -> httpx.Response:
    """The server's register of requests. Who has just read an answer's end may be sooner there than
    the server has noted that it was sent: such a one is waited for, a few seconds."""
    until = time.monotonic() + 5
    while True:
        answer = await client.get("/admin/requests")
        active = answer.is_success and any(one["outcome"] == "active" for one in answer.json())
        if not active or time.monotonic() > until:
            return answer
        await asyncio.sleep(0.05)


async def _tracked(client: httpx.AsyncClient, answers: list[Answer]) -> dict[str, object]:
    """Hold the server's register against what came, and print. A peer may have none."""
    register = await register_of(client)
    if register.status_code != 200:
        return {}
    complaints = untracked(answers, register.json())
    count = len(answers) - len(complaints)
    print(f"  {'tracked':24} {count} of {len(answers)}", *complaints, sep="\n    ")
    return {"tracked": count, "of": len(answers), "complaints": complaints}


def _wer(answers: dict[str, list[Answer]], errors: list[WordErrors]) -> dict[str, object]:
    """Print the errors of all, and the worst answer of each question."""
    total = sum(errors, WordErrors(0, 0))
    print(f"  {'transcribed again':24} {total}")
    result: dict[str, object] = {"wer": round(total.rate, 4)}
    left = iter(errors)
    for name, asked in answers.items():
        each = [next(left).rate for _ in asked]
        missing = sum(rate > MOST_WER for rate in each)
        print(
            f"  {'':24} {name}: the worst answer {max(each):.1%}, {missing} of {len(each)} over "
            f"{MOST_WER:.0%}"
        )
        result[name] = [round(rate, 4) for rate in each]
    return result


def queued(answers: list[Answer], first_s: float, instances: int) -> float:
    """The last TTFA of answers that were asked for at once, in times of what the engines need for
    all their first clauses, of `first_s` each on one thread."""
    return max(answer.ttfa_s for answer in answers) * instances / (len(answers) * first_s)


def off(answers: list[Answer], alone: list[Answer]) -> float:
    """How much longer or shorter than the same text alone the worst of them is."""
    seconds = {answer.text: answer.audio_s for answer in alone}
    return max(abs(answer.audio_s / seconds[answer.text] - 1) for answer in answers)


async def _instances(client: httpx.AsyncClient) -> int:
    """Of the voice, by the server's own word; 0: a peer that does not say."""
    status = await client.get("/status")
    return int(status.json()["pool"]["tts"]["instances"]) if status.status_code == 200 else 0


def _queued(answers: list[Answer], firsts_s: list[float], instances: int) -> dict[str, object]:
    """Print how the last of them stands to its limit."""
    first_s = statistics.median(firsts_s)
    ratio = queued(answers, first_s, instances)
    print(
        f"  {'':24} the last {ratio:.2f} x {len(answers)} x {first_s:.3f} s (a first clause on one "
        f"thread) / {instances} instances; at most {MOST_QUEUED}"
    )
    return {"first_s": round(first_s, 3), "instances": instances, "ratio": round(ratio, 3)}


def _lengths(answers: dict[str, list[Answer]], alone: list[Answer]) -> dict[str, float]:
    """Print the worst difference of each question."""
    worst = {name: round(off(asked, alone), 4) for name, asked in answers.items()}
    each = ", ".join(f"{name} {value:.1%}" for name, value in worst.items())
    print(f"  {'lengths':24} off by at most: {each}; at most {MOST_OFF:.0%}")
    return worst


async def measure(
    url: str, voice: str = VOICE, beside: Bare | None = None, single: Bare | None = None
) -> dict[str, object]:
    """Ask the server at `url`, print, and return what `--json` writes. `beside`: an engine of the
    same settings; `single`: one with one thread."""
    result: dict[str, object] = {}
    async with httpx.AsyncClient(base_url=url, timeout=300) as client:
        await ask(client, "Good morning to all of you.", voice)

        alone = [(await ask(client, SENTENCE, voice)).ttfa_s for _ in range(10)]
        _say("15 words, ten times", alone)
        result["sentence_ttfa_s"] = [round(value, 3) for value in alone]

        row, engine_s = [], []
        for text in ROW:
            if beside is not None:
                engine_s.append(await beside.first_s(text))
            row.append(await ask(client, text, voice))
        result["row"] = _row([answer.ttfa_s for answer in row], engine_s)

        heard, instances = {"in a row": row}, await _instances(client)
        for count in (2, 4, 8):
            firsts_s = [] if single is None else [await single.first_s(t) for t in ROW[:count]]
            began = time.perf_counter()
            answers = await together(client, ROW[:count], voice)
            took_s = time.perf_counter() - began
            made_s = sum(answer.audio_s for answer in answers)
            _say(f"{count} at once", [answer.ttfa_s for answer in answers])
            last = max(answer.ttfa_s for answer in answers)
            print(
                f"  {'':24} the last {last / (count * statistics.median(alone)):.2f} x {count} x "
                f"one alone; {made_s / took_s:.1f} audio-seconds a second"
            )
            result[f"at_once_{count}"] = {
                "ttfa_s": [round(answer.ttfa_s, 3) for answer in answers],
                "rtf_inverse": round(made_s / took_s, 2),
                "gap_s": round(sum(answer.gap_s for answer in answers), 3),
            }
            if firsts_s and instances:
                result[f"queued_{count}"] = _queued(answers, firsts_s, instances)
            heard[f"{count} at once"] = answers
        result["lengths"] = _lengths(heard, [await ask(client, text, voice) for text in ROW])

        long = await ask(client, LONG, voice)
        print(
            f"  {f'{len(LONG.split())} words':24} {long.audio_s:.1f} s of audio in "
            f"{long.total_s:.1f} s, playback stood still {len(long.gaps_s)} times, "
            f"for {long.gap_s:.2f} s in all"
        )
        for at, length in long.gaps_s:
            print(f"  {'':24} after {at:.1f} s for {length:.3f} s")
        result["long"] = {"audio_s": round(long.audio_s, 2), "gaps_s": long.gaps_s}
        all_of_them = [answer for answers in heard.values() for answer in answers]
        result["register"] = await _tracked(client, [*all_of_them, long])
    result["wer"] = _wer(heard, await errors_in(all_of_them))
    return result


def _say(what: str, ttfas_s: list[float]) -> None:
    print(
        f"  {what:24} TTFA p50 {statistics.median(ttfas_s):.3f} s, first {ttfas_s[0]:.3f}, "
        f"longest {max(ttfas_s):.3f}",
        flush=True,
    )


def _row(ttfas_s: list[float], engine_s: list[float]) -> dict[str, object]:
    """Print ten in a row, each beside its first clause by the engine alone."""
    _say("ten in a row", ttfas_s)
    against = [value / ttfas_s[0] for value in ttfas_s]
    print(f"  {'':24} of the first: tenth {against[-1]:.2f}, longest {max(against):.2f}")
    row: dict[str, object] = {"ttfa_s": [round(value, 3) for value in ttfas_s]}
    if engine_s:
        alone = [value / engine_s[0] for value in engine_s]
        over = [ttfa - engine for ttfa, engine in zip(ttfas_s, engine_s, strict=True)]
        print(f"  {'':24} engine alone: tenth {alone[-1]:.2f}, longest {max(alone):.2f}")
        for text, ttfa, engine in zip(ROW, ttfas_s, engine_s, strict=True):
            print(f"  {clauses(text)[0]:>24} {ttfa:.3f} s, engine {engine:.3f}")
        print(
            f"  {'':24} what the server adds: p50 {statistics.median(over):.3f} s, "
            f"longest {max(over):.3f}"
        )
        row["engine_s"] = [round(value, 3) for value in engine_s]
    return row


async def _measure_beside(url: str) -> dict[str, object]:
    async with (
        bare((min(2, os.cpu_count() or 1),), VOICE) as beside,
        bare((1,), VOICE) as single,
    ):
        return await measure(url, beside=beside, single=single)


def main() -> dict[str, object]:
    """Run the benchmark on a server of its own; returns what `--json` writes."""
    print(f"Speech over HTTP\n{METHOD}\n")
    with running(**VOICE_ALONE) as server:
        return asyncio.run(_measure_beside(server.url))


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(f"python -m benchmarks.{Path(__file__).stem} URL [VOICE]")
    asyncio.run(measure(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else VOICE))
