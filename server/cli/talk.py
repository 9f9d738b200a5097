"""`antiphon talk`: one spoken or typed turn from the terminal."""

from __future__ import annotations

import argparse
import asyncio
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from pipeline.errors import AntiphonError
from server.cli.one_turn import Answer, Json, TalkError, ask
from server.cli.wav import read_wav, write_wav
from server.settings_source import TALK_TOKEN

if TYPE_CHECKING:
    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

INTERRUPTED = 130
"""The exit status of a program ended by Ctrl-C, as shells have it."""

LATENCY_PARTS = ("endpoint", "stt", "llm", "tts", "total")


def add_parser(subparsers: Subparsers) -> None:
    """Mount `talk` on the command's own parser."""
    parser = subparsers.add_parser("talk", help="one spoken or typed turn from the terminal")
    question = parser.add_mutually_exclusive_group(required=True)
    question.add_argument("file", nargs="?", type=Path, metavar="FILE.wav", help="what to say")
    question.add_argument("--text", help="type it instead")
    parser.add_argument("--url", default=default_url(), help="default: %(default)s")
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("reply.wav"),
        metavar="WAV",
        help="where the reply's audio goes (default: %(default)s)",
    )
    parser.set_defaults(run=run)


def default_url() -> str:
    """This machine, on the port that `antiphon serve` would take with the same environment."""
    port = os.environ.get("ANTIPHON_PORT") or os.environ.get("PORT") or "8000"
    return f"ws://127.0.0.1:{port}/ws"


def run(args: argparse.Namespace) -> int:
    """Have one turn; returns the exit status: 0, 1 after an error, 130 after Ctrl-C."""
    console = Console(highlight=False)
    try:
        question = args.text if args.text is not None else read_wav(args.file)
        # From the environment: a command line can be read by everybody on the machine.
        token = os.environ.get(TALK_TOKEN)
        shown = {"token": token} if token else None
        show = Transcript(console).show
        answer = asyncio.run(ask(args.url, question, settings=shown, on_message=show))
        _summary(console, answer, args.out)
        if answer.status != "completed":
            raise TalkError(f"the reply ended {answer.status}")
    except AntiphonError as error:
        print(f"antiphon: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"antiphon: cannot write {args.out}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("antiphon: interrupted", file=sys.stderr)
        return INTERRUPTED
    return 0


class Transcript:
    """Both sides of the turn on the terminal, the reply word by word as it comes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._mid_line = False

    def show(self, message: Json) -> None:
        """Print what a message of the server adds, if anything."""
        say = self._console.print
        match message["type"]:
            case "waiting":
                say(f"in the waiting room, place {message['position']}", style="dim")
            case "transcript" if message["final"] and message["text"]:
                say("you       ", style="bold cyan", end="")
                say(message["text"].strip(), markup=False, soft_wrap=True)
            case "reply_started":
                self._mid_line = True
                say("antiphon  ", style="bold magenta", end="")
            case "reply_text":
                say(message["text"], end="", markup=False, soft_wrap=True)
            case "reply_done" | "error" if self._mid_line:
                self._mid_line = False
                say()
            case "warning":
                say(f"warning   {message['code']}: {message['message']}", style="yellow")
            case _:
                pass


def _summary(console: Console, answer: Answer, out: Path) -> None:
    parts = [
        f"{part} {answer.latency_ms[part]:.0f} ms"
        for part in LATENCY_PARTS
        if part in answer.latency_ms
    ]
    if parts:
        console.print("latency   ", style="dim", end="")
        console.print(" · ".join(parts))
    if answer.audio:
        write_wav(out, answer.audio, answer.rate_hz)
        seconds = len(answer.audio) / (2 * answer.rate_hz)
        console.print("audio     ", style="dim", end="")
        console.print(f"{seconds:.1f} s in {out}", markup=False, soft_wrap=True)
