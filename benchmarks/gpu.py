"""`python -m benchmarks.gpu [--memory 16GiB] [--users 30] [--json FILE] [--tiny]`: what a CUDA
device does of a voice chat's work. PyTorch is all that it needs; with the packages of the extra
`gpu` Kokoro is the engine itself, with its own weights where they lie in the models' folder."""

from __future__ import annotations

import argparse
import json
import platform
import re
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path
from statistics import median
from typing import TypeVar

import torch

from benchmarks.conversing import Kind, Service, Talk, most_users
from benchmarks.gpu_models import MEL_FRAMES_S
from benchmarks.gpu_models import WhisperShape as Ear
from benchmarks.gpu_voice import TimedVoice, voice

VOICE_BATCHES, EAR_BATCHES = (1, 4, 16, 64), (1, 8, 16)
T = TypeVar("T")

TRIES = 5
"""Each figure is the median of so many, after two that are not counted."""
WINDOW_S, WORDS = 10.0, 20
"""What Whisper is given, and how many tokens it writes: 4 s of speech, padded."""
WITHIN_S = 1.0

METHOD = f"""Kokoro (float32) as it says below, batches of equal clauses, one of about 1 s of audio
(a reply's first) and one of 3 s. Whisper: random weights in a network of the shape of
large-v3-turbo (float16 on CUDA), windows of {WINDOW_S:g} s, {WORDS} tokens, greedy, without a cache
of keys. Of random weights what they cost is measured, not what they say. Medians of {TRIES}, the
device waited for. The users are simulated on these times, one device for both models: see
benchmarks/conversing.py. The language model is not on this device; its time is a stated one."""


def gibibytes(text: str) -> float:
    """`16GiB` or `16` -> 16.0. For argparse: raises `ValueError`."""
    found = re.fullmatch(r"([0-9.]+)\s*(?:GiB)?", text)
    if found is None:
        raise ValueError(text)
    return float(found.group(1))


def seconds_of(work: Callable[[], object], tries: int) -> float:
    """The median time of a call, and of all the device does for it."""
    times: list[float] = []
    warm = 2 if tries > 1 else 0
    for number in range(warm + tries):
        _wait()
        began = time.perf_counter()
        work()
        _wait()
        if number >= warm:
            times.append(time.perf_counter() - began)
    return median(times)


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _memory_gib() -> float | None:
    """The most that was taken since the last question; None without CUDA."""
    if not torch.cuda.is_available():
        return None
    most: float = torch.cuda.max_memory_allocated() / 2**30
    torch.cuda.reset_peak_memory_stats()
    return round(most, 3)


def fitting(work: Callable[[], T]) -> T | None:
    """None where the memory does not suffice; what was taken until then is no figure's peak."""
    try:
        return work()
    except torch.OutOfMemoryError:
        pass  # with the error go the values that its frames hold
    torch.cuda.empty_cache()
    _memory_gib()
    return None


def _say(spoken: TimedVoice, batch: int, audio_s: float, tries: int) -> tuple[float, float]:
    made_s = spoken.say(batch, audio_s)
    return seconds_of(lambda: spoken.say(batch, audio_s), tries), made_s


def _ear(model: Ear, batch: int, tries: int) -> tuple[float, float]:
    one = next(model.parameters())
    frames = round(WINDOW_S * MEL_FRAMES_S)
    mel = torch.randn(batch, 128, frames, device=one.device, dtype=one.dtype)
    return seconds_of(lambda: model(mel, WORDS), tries), WINDOW_S


@torch.inference_mode()
def measure(
    talk: Talk,
    spoken: TimedVoice,
    *,
    tiny: bool,
    voices: Sequence[int],
    ears: Sequence[int],
    tries: int,
) -> tuple[Service, list[dict[str, object]]]:
    """The times of both models, and a row for each figure. A batch that does not fit into the
    memory is told, and not asked for."""
    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    torch.manual_seed(0)
    ear = Ear(small=tiny).to(device, torch.float16 if cuda else torch.float32).eval()
    seconds: dict[Kind, dict[int, float]] = {"hear": {}, "first": {}, "later": {}}
    rows: list[dict[str, object]] = []

    def row(kind: Kind, batch: int, work: Callable[[], tuple[float, float]]) -> None:
        found: dict[str, object] = {"work": kind, "batch": batch}
        if (done := fitting(work)) is None:
            found["fits"] = False
        else:
            took, audio_s = done
            seconds[kind][batch] = took
            found |= {
                "seconds": round(took, 4), "audio_s": round(audio_s, 2),
                "audio_s_per_s": round(batch * audio_s / took, 1), "memory_gib": _memory_gib(),
            }  # fmt: skip
        rows.append(found)
        print("  " + "  ".join(f"{name} {value}" for name, value in found.items()), flush=True)

    for batch in voices:
        row("first", batch, partial(_say, spoken, batch, talk.first_s, tries))
        row("later", batch, partial(_say, spoken, batch, talk.later_s, tries))
    for batch in ears:
        row("hear", batch, partial(_ear, ear, batch, tries))
    return Service(seconds), rows


def main() -> None:
    """Measure, simulate, print; `--json` writes it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--memory", type=gibibytes, help="use no more of the device's: 16GiB")
    parser.add_argument("--users", type=int, default=30, help="the most users to try")
    parser.add_argument(
        "--llm-first-s",
        type=float,
        default=Talk().llm_first_s,
        help="the language model's time to a first clause, measured elsewhere",
    )
    parser.add_argument("--models", type=Path, help="their folder, if not the server's own")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--tiny", action="store_true", help="small networks, to try the program")
    given = parser.parse_args()
    cuda = torch.cuda.is_available()
    name = torch.cuda.get_device_name(0) if cuda else f"no GPU: {platform.machine()} processor"
    if cuda and given.memory:
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, given.memory * 2**30 / total))
    talk = Talk(llm_first_s=given.llm_first_s)
    print(f"A GPU's work\n{METHOD}\n\n{name}, PyTorch {torch.__version__}")
    if given.tiny:
        print("TINY networks: these figures say nothing about a device.")
    voices = (1, 2) if given.tiny else VOICE_BATCHES
    spoken = voice(given.models, max(voices), small=given.tiny)
    print(f"Kokoro: {spoken.what}")
    _memory_gib()
    service, rows = measure(
        talk, spoken, tiny=given.tiny, voices=voices,
        ears=(1, 2) if given.tiny else EAR_BATCHES,
        tries=1 if given.tiny else TRIES,
    )  # fmt: skip
    users, outcome = 0, None
    if all(service.seconds.values()):
        users, outcome = most_users(service, talk, given.users, WITHIN_S)
    print(f"\n{users} of {given.users} users, p95 under {WITHIN_S:g} s and no stalls, {talk}")
    if outcome is not None:
        print(f"  p95 {outcome.p95_s:.3f} s, the device busy {outcome.busy:.0%} of the time")
    if given.json:
        result = {
            "device": name, "torch": torch.__version__, "tiny": given.tiny, "kokoro": spoken.what,
            "whisper": "a network of its shape, random weights",
            "memory_gib": given.memory, "rows": rows, "talk": asdict(talk), "users": users,
            "p95_s": outcome and round(outcome.p95_s, 3),
        }  # fmt: skip
        given.json.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
