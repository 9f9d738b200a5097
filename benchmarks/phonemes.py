"""What espeak's own process costs a clause, and what hostile texts do to it."""

from __future__ import annotations

import importlib.util
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import espeakng_loader
import numpy as np
from phonemizer.backend import EspeakBackend
from phonemizer.backend.espeak.wrapper import EspeakWrapper
from structlog.testing import capture_logs

from pipeline.engines import g2p
from pipeline.engines.espeak import Espeak, bundled
from pipeline.engines.threads import NICE
from pipeline.errors import Unspeakable
from pipeline.percentiles import percentile

CLAUSE = "Sure, I can help you with that, if you tell me where it is."
READS = 400
BUSY = 4
"""Threads that compute beside it."""
HOSTILE = 400
"""Texts in each language."""
LANGUAGES = ("en-us", "es", "fr-fr", "hi", "it", "pt-br")
UNITS = [
    *"aAbwyZéñ1509.,:;-_+=*/&%$€#@'’\"()[]{}~|°ªº²½×№§\u00ad\u200d\u0301अक日あ한яΩϖ",
    "A.", "1.", "a-", "b'", "s'", "x2", "U.S.", "A.+",
]  # fmt: skip

METHOD = f"""A clause of 14 words, {READS} times, at nice {NICE} as engines are: espeak in this
process through phonemizer; in its own process; and the whole way from text to Kokoro's phonemes.
Then the same beside {BUSY} threads that compute at the same priority. Hostile: {HOSTILE} texts a
language, of few signs again and again, from a fixed seed; after each "hello" must be read as ever.
Once as they come, once as Kokoro's engine has them, without crowds of signs."""


@contextmanager
def company(threads: int) -> Iterator[None]:
    """Threads that multiply matrices, for as long as this is open."""
    over = threading.Event()

    def compute() -> None:
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
        matrix = np.ones((256, 256), np.float32)
        while not over.is_set():
            matrix @ matrix

    busy = [threading.Thread(target=compute) for _ in range(threads)]
    for thread in busy:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in busy:
            thread.join()


def timed(read: Callable[[], object]) -> dict[str, float]:
    """Milliseconds a call."""
    took = []
    for _ in range(READS):
        began = time.perf_counter()
        read()
        took.append(1000 * (time.perf_counter() - began))
        time.sleep(0.002)
    return {f"p{p}": percentile(sorted(took), p / 100) or 0.0 for p in (50, 99)}


def started(reader: str, where: Callable[[], Sequence[str]]) -> tuple[float, float]:
    """Milliseconds from nothing to the first answer, and the MB that the process takes then."""
    espeak = Espeak(reader, where)
    began = time.perf_counter()
    espeak.read("en-us", ["hello"])
    took = 1000 * (time.perf_counter() - began)
    status = Path(f"/proc/{espeak.pid}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    resident = next((line.split()[1] for line in lines if line.startswith("VmRSS")), "nan")
    espeak.end()
    return took, float(resident) / 1024


def hostile(seed: int) -> list[str]:
    """Texts such as nobody says."""
    draw = random.Random(seed)
    texts = []
    for _ in range(HOSTILE):
        few = "".join(draw.choices(UNITS, k=draw.choice((1, 1, 2, 2, 3, 4))))
        mixed = "".join(draw.choices(UNITS, k=300))
        texts.append(
            draw.choice((few * 30, (few * 400)[:2000], f"Hello {few * 100} there.", mixed))
        )
    return texts


def survived(language: str, texts: list[str]) -> dict[str, dict[str, int]]:
    """How many were read, how many ended the process, and after how many the next text was read
    otherwise than by itself."""
    name = g2p.ESPEAK_VOICES.get(language, language)
    ways: dict[str, Callable[[str], object]] = {
        "as they come": lambda text: g2p.ESPEAK.read(name, [text]),
        "without crowds": lambda text: g2p.phonemes(text, language),
    }
    alone = g2p.phonemes("hello", language)
    found: dict[str, dict[str, int]] = {}
    for way, read in ways.items():
        counts = found[way] = {"read": 0, "ended it": 0, "harmed the next": 0}
        for text in texts:
            try:
                read(text)
                counts["read"] += 1
            except Unspeakable:
                counts["ended it"] += 1
            counts["harmed the next"] += g2p.phonemes("hello", language) != alone
    return found


def main() -> dict[str, object]:
    """Print times, the process's size, and what became of the hostile texts."""
    print(f"Phonemes\n{METHOD}\n")
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICE)
    EspeakWrapper.set_library(espeakng_loader.get_library_path())
    EspeakWrapper.set_data_path(espeakng_loader.get_data_path())
    here = EspeakBackend("en-us", with_stress=True, tie="^", language_switch="remove-flags")
    ways: dict[str, Callable[[], object]] = {
        "phonemizer, in this process": lambda: here.phonemize([CLAUSE], strip=True),
        "espeak, in its own": lambda: g2p.ESPEAK.read("en-us", [CLAUSE]),
        "text to phonemes": lambda: g2p.phonemes(CLAUSE, "en-us"),
    }
    results: dict[str, object] = {}
    for threads in (0, BUSY):
        with company(threads):
            for name, read in ways.items():
                read()
                took = results[f"{name}, {threads} busy"] = timed(read)
                print(
                    f"{name + ',':30} {threads} busy: p50 {took['p50']:.2f} ms,"
                    f" p99 {took['p99']:.2f} ms"
                )
    readers: dict[str, Callable[[], Sequence[str]]] = {"espeak-ng": bundled}
    if importlib.util.find_spec("piper") is not None:
        readers["piper"] = lambda: sys.path
    for name, where in readers.items():
        ready_ms, size_mb = started(name, where)
        results[name] = {"ready_ms": ready_ms, "size_mb": size_mb}
        print(f"{name}: ready after {ready_ms:.0f} ms, {size_mb:.0f} MB")
    with capture_logs():  # a line for each that ended it
        for number, language in enumerate(LANGUAGES):
            results[language] = found = survived(language, hostile(number))
            for way, counts in found.items():
                told = ", ".join(f"{count} {what}" for what, count in counts.items())
                print(f"hostile, {language}, {way}: {told}")
    return results
