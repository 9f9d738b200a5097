"""`python -m benchmarks.peers.pipecat`: the calls of benchmarks/latency.py, answered by Pipecat."""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import latency
from benchmarks.__main__ import machine
from benchmarks.client import calling
from benchmarks.crowd import ARRIVAL_S, Calls, crowd
from benchmarks.peers import command
from benchmarks.peers.pipecat import processes
from benchmarks.peers.pipecat.line import pipecat_line
from benchmarks.peers.pipecat.options import MODELS, TTS, BotOptions, Models, Tts
from benchmarks.serving import ServerFailed
from pipeline.engines import kokoro_onnx, kokoro_sound, llama_cpp
from pipeline.models import locate
from server.configs import engine_config
from server.settings import load

CALLERS = (1, 2, 4, 8)
TURNS = 8
"""Of each of several callers; a lone one has those of benchmarks/latency.py."""
WHISPER = "whisper-tiny.en"
VOICE = "af_heart"

METHOD = f"""Each caller in a session of its own; clips without inner pauses in 20 ms frames in real
time, then noise at -60 dBFS. From the last sample above -40 dB of the clip's peak to the first
reply sample above -50 dBFS at a real-time playback without a jitter buffer. Each reply is listened
to for {latency.LISTEN_S:g} s, then interrupted by the client. Several callers arrive at random
within {ARRIVAL_S:g} s. The first turn is counted too; a turn that begins to be answered before its
end is a cut-off and has no latency; one without an answer after 30 s has none.
Pipecat as its documentation and templates build a bot: FastAPI WebSocket transport (raw PCM16 and
RTVI messages, uvicorn on uvloop, no compression), SileroVADAnalyzer, the default turn strategies
(VAD stop after 0.2 s, Smart Turn v3, at most 3 s of silence), WhisperSTTService, OpenAILLMService,
sentences as the unit of speech, PiperTTSService or KokoroTTSService, 24 kHz out, interruptions on,
metrics off, log level WARNING. All defaults but for these: Whisper tiny.en as int8 on the CPU,
OMP_NUM_THREADS at the number of cores, voices en_US-joe-medium and {VOICE} (int8 model).
The language model is Antiphon's own SmolLM2 in llama.cpp, its settings, sampling and length the
same, in a process of its own at usual priority, with its prompt cache, without pinned slots.
Models "per-session": each call's services load theirs, while it waits; "shared": one Whisper, one
Piper or Kokoro, loaded and run once before the first call, handed to every service; Silero and
Smart Turn stay per session in both. RSS is the bot's, without the language model's."""


@dataclass(frozen=True, slots=True)
class Run:
    """One run's choices."""

    tts: Tts
    models: Models
    callers: int
    turns: int
    seed: int


@contextmanager
def peer(python: Path, tts: Tts, models: Models) -> Iterator[tuple[processes.Process, str]]:
    """A Pipecat bot with its language model; gives its process and address.

    Raises `ServerFailed` when one does not come up, `ModelMissing` when a model is not there.
    """
    ours = load(env_file=None)
    models_dir = engine_config(ours).models_dir
    with (
        tempfile.TemporaryDirectory(prefix="antiphon-pipecat-") as folder,
        processes.language_model(
            models_dir, slots=ours.llm_slots, threads=ours.llm_threads
        ) as language_model,
    ):
        voices = Path(folder) / "voices.npz"
        _write_voice(locate(models_dir, kokoro_sound.VOICES) / f"{VOICE}.bin", voices)
        options = BotOptions(
            tts=tts,
            models=models,
            whisper=str(locate(models_dir, WHISPER)),
            kokoro=str(next(locate(models_dir, kokoro_onnx.MODEL).glob("*.onnx"))),
            kokoro_voices=str(voices),
            kokoro_voice=VOICE,
            llm_url=language_model.url,
            llm_model=llama_cpp.MODEL,
            llm_request={"max_tokens": ours.reply_tokens, **llama_cpp.SAMPLING},
            instructions=latency.INSTRUCTIONS,
        )
        with processes.bot(python, options) as bot:
            yield bot, bot.url


def _write_voice(style: Path, archive: Path) -> None:
    """Our file of one voice, as kokoro-onnx wants voices: an .npz archive of arrays by name."""
    voices: dict[str, Any] = {style.stem: kokoro_sound.load_style(style)}
    np.savez(archive, **voices)


def measure(python: Path, run: Run) -> dict[str, object]:
    """Start the peer, call it, and print what came of it; returns what `--json` writes."""
    print(f"Pipecat, {run.tts}, models {run.models}, {run.callers} at once, {run.turns} turns each")
    with peer(python, run.tts, run.models) as (bot, url):
        idle_mb = bot.rss_mb
        calls = asyncio.run(
            crowd(
                lambda: calling(url, line=pipecat_line),
                callers=run.callers,
                turns=run.turns,
                seed=run.seed,
            )
        )
        memory = {"idle": idle_mb, "peak": bot.peak_rss_mb}
        versions = bot.ready["versions"]
    _print(calls, memory)
    choices = {"tts": run.tts, "models": run.models, "callers": run.callers}
    return {**choices, **calls.summary(), "rss_mb": memory, "versions": versions}


def _print(calls: Calls, memory: dict[str, float]) -> None:
    summary = calls.summary()
    print(f"\n  voice-to-voice  {calls.quantiles}")
    print(
        f"  {summary['answered']} of {summary['turns']} turns answered, "
        f"{summary['cut_off']} cut off, {summary['no_answer']} without an answer, "
        f"{summary['stalls']} stalls ({summary['stalled_s']} s, "
        f"longest {summary['longest_stall_s']} s)"
    )
    print(f"  RSS {memory['idle']:.0f} MB before the first call, {memory['peak']:.0f} MB at most\n")


def parser() -> argparse.ArgumentParser:
    """What may be asked for; without a word all of it."""
    made = command.parser("pipecat", __doc__)
    made.add_argument("--turns", type=int, help=f"default: {latency.TURNS} of one, {TURNS} each")
    made.add_argument("--tts", nargs="+", choices=TTS, default=TTS, help="default: all")
    made.add_argument("--models", nargs="+", choices=MODELS, default=MODELS, help="default: both")
    made.add_argument("--callers", nargs="+", type=int, default=CALLERS, help="default: 1 2 4 8")
    made.add_argument("--seed", type=int, default=0, help="of the arrivals")
    return made


def runs(args: argparse.Namespace) -> list[Run]:
    """Every voice, with its models loaded in both ways, at every number of callers."""
    return [
        Run(tts, models, callers, args.turns or _turns(callers), args.seed)
        for tts in args.tts
        for models in args.models
        for callers in args.callers
    ]


def _turns(callers: int) -> int:
    return TURNS if callers > 1 else latency.TURNS


def main() -> int:
    """Run what is asked for; returns the exit status."""
    args = command.parse(parser())
    here = machine()
    print(f"{here['cpu']}, {here['cores']} cores\n{METHOD}\n")
    try:
        results = [measure(args.python, run) for run in runs(args)]
    except ServerFailed as failure:
        print(failure, file=sys.stderr)
        return 1
    print(f"versions: {results[-1]['versions']}")
    command.write(args.json, {"machine": here, "method": METHOD, "runs": results})
    return 0
