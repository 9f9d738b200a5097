"""`python -m benchmarks.peers.fastkokoro`: what benchmarks/speech.py asks, of Antiphon and of
fastkokoro in turn, on the same model file."""

from __future__ import annotations

import asyncio
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np

from benchmarks.__main__ import machine
from benchmarks.peers import command
from benchmarks.serving import ServerFailed, free_port, process, running
from benchmarks.speech import LONG, ROW, SENTENCE, VOICE, VOICE_ALONE, Answer, ask, together
from pipeline.engines import kokoro_onnx, kokoro_sound
from pipeline.models import default_models_dir, locate

TIMES = 5
CROWDS = (2, 4, 8)

METHOD = f"""Both servers run; each question is put to the one, then to the other, next time the
other way round: never to both at once. PCM, streamed, on loopback, one process asking; one request
warms each up. TTFA: from the request to the first byte of audio. Alone: a sentence of 15 words,
{TIMES} times. At once: the first so many of {len(ROW)} different sentences. Took: until the last
byte of the last. Gaps: a client that plays as it receives, without a buffer, stands still. Antiphon
as it is by default, the voice alone in its process. fastkokoro with its defaults, but for the model
(our int8 file, which it simplifies at its start) and the voice's file. Its audio keeps more of the
model's silence, so compare what it took, not audio-seconds."""


@contextmanager
def fastkokoro(python: Path) -> Iterator[str]:
    """The peer in its own environment, on our model; gives its address.

    Raises `ServerFailed` when it does not come up, `ModelMissing` when a model is not there.
    """
    models_dir, port = default_models_dir(), free_port()
    model = next(locate(models_dir, kokoro_onnx.MODEL).glob("*.onnx"))
    style = kokoro_sound.load_style(locate(models_dir, kokoro_sound.VOICES) / f"{VOICE}.bin")
    with tempfile.TemporaryDirectory(prefix="antiphon-fastkokoro-") as folder:
        voices = Path(folder) / "voices.npz"
        np.savez(voices, allow_pickle=False, **{VOICE: style})
        environ = {
            "FASTKOKORO_MODEL_PATH": str(model),
            "FASTKOKORO_VOICES_PATH": str(voices),
            "FASTKOKORO_CACHE_DIR": folder,
            "HF_HUB_OFFLINE": "1",
        }
        program = [str(python), "-m", "uvicorn", "fastkokoro.server:app", "--loop", "auto"]
        program += ["--host", "127.0.0.1", "--port", str(port), "--log-level", "warning"]
        url = f"http://127.0.0.1:{port}"
        with process(program, f"{url}/health", environ, "fastkokoro"):
            yield url


@dataclass(slots=True)
class Side:
    """One of the two, and what it answered."""

    name: str
    client: httpx.AsyncClient
    alone_s: list[float] = field(default_factory=list)
    result: dict[str, object] = field(default_factory=dict)

    async def alone(self) -> None:
        """One sentence."""
        self.alone_s.append((await ask(self.client, SENTENCE, VOICE)).ttfa_s)

    async def crowd(self, count: int) -> None:
        """So many sentences at once."""
        began = time.perf_counter()
        answers = await together(self.client, ROW[:count], VOICE)
        self._note(f"at_once_{count}", answers, time.perf_counter() - began)

    async def long(self) -> None:
        """A text of some 300 words."""
        answer = await ask(self.client, LONG, VOICE)
        self._note("long", [answer], answer.total_s)

    def _note(self, name: str, answers: list[Answer], took_s: float) -> None:
        ttfas = [answer.ttfa_s for answer in answers]
        audio_s = sum(answer.audio_s for answer in answers)
        gap_s = sum(answer.gap_s for answer in answers)
        print(
            f"  {name:12} {self.name:10} TTFA p50 {statistics.median(ttfas):6.3f} s, the last "
            f"{max(ttfas):6.3f}; took {took_s:6.2f} s for {audio_s:5.1f} s of audio "
            f"({audio_s / took_s:.1f} a second); gaps {gap_s:.2f} s",
            flush=True,
        )
        self.result[name] = {
            "ttfa_s": [round(ttfa, 3) for ttfa in ttfas],
            "took_s": round(took_s, 2),
            "audio_s": round(audio_s, 2),
            "gap_s": round(gap_s, 3),
        }


async def measure(ours: str, theirs: str) -> dict[str, object]:
    """Ask both in turn, print, and return what `--json` writes."""
    async with (
        httpx.AsyncClient(base_url=ours, timeout=300) as here,
        httpx.AsyncClient(base_url=theirs, timeout=300) as there,
    ):
        sides = [Side("Antiphon", here), Side("fastkokoro", there)]
        for side in sides:
            await ask(side.client, "Good morning to all of you.", VOICE)
        for _ in range(TIMES):
            for side in sides:
                await side.alone()
            sides.reverse()
        sides.sort(key=lambda side: side.name)
        for side in sides:
            p50 = statistics.median(side.alone_s)
            side.result["alone_ttfa_s"] = [round(value, 3) for value in side.alone_s]
            print(f"  {'alone':12} {side.name:10} TTFA p50 {p50:6.3f} s", flush=True)
        for count in CROWDS:
            for side in sides:
                await side.crowd(count)
            sides.reverse()
        for side in sides:
            await side.long()
    return {side.name: side.result for side in sides}


def version(python: Path) -> str:
    """The peer's, as its own environment has it."""
    ask_it = "from importlib.metadata import version; print(version('fastkokoro'))"
    told = subprocess.run([python, "-c", ask_it], capture_output=True, text=True, check=False)
    return told.stdout.strip() or "not installed"


def main() -> int:
    """Run what is asked for; returns the exit status."""
    args = command.parse(command.parser("fastkokoro", __doc__))
    here = machine()
    print(f"{here['cpu']}, {here['cores']} cores; fastkokoro {version(args.python)}\n{METHOD}\n")
    try:
        with running(**VOICE_ALONE) as ours, fastkokoro(args.python) as theirs:
            results = asyncio.run(measure(ours.url, theirs))
    except ServerFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    command.write(args.json, {"machine": here, "method": METHOD, "results": results})
    return 0
