"""espeak-ng in a process of its own, which is all that a text can end.

espeak writes past its buffers at some texts ("s'" 220 times, five scripts in one word), and what
ends then is the process that it is in. Its state is global, too: concurrent calls would corrupt
each other without an error.
"""

from __future__ import annotations

import atexit
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path

import espeakng_loader
import msgspec
import structlog

from pipeline.errors import TtsFailed, Unspeakable

log = structlog.get_logger(__name__)

_CHILD = Path(__file__).with_name("espeak_child.py")
_INHERITED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Of the environment: what Python itself may need. The rest holds keys, which are none of its
business."""

START_S = 60.0
"""Until it can read; with a cold disk and both cores busy Piper's takes some seconds."""
READ_S = 3.0
"""For one text. Ten thousand signs take it under 0.1 s; past this it hangs."""
ATTEMPTS = 2
"""The harm may have been done by a text before: this one is read again, in a new process."""


def bundled() -> tuple[str, str]:
    """Where the espeak-ng that espeakng-loader brings lies, and its voices."""
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


class Espeak:
    """One process, started when the first text comes, and again after it has ended."""

    def __init__(self, reader: str, where: Callable[[], Sequence[str]]) -> None:
        """`reader`: one of `espeak_child.READERS`; `where`: what that one is told, asked for at
        each start."""
        self._reader = reader
        self._where = where
        self._lock = threading.Lock()
        self._process: _Process | None = None

    @property
    def pid(self) -> int | None:
        """Of the process, when there is one."""
        process = self._process
        return None if process is None else process.pid

    def read(self, language: str, texts: Sequence[str]) -> list[str]:
        """What espeak makes of each text, in IPA. `language`: as espeak calls it.

        Blocks: under 1 ms as a rule, some 30 ms at the first call. Safe from any thread. Raises
        `Unspeakable` for a text that it does not survive, `TtsFailed` when it cannot be started or
        does not know the language.
        """
        asked = msgspec.json.encode((language, texts)) + b"\n"
        with self._lock:
            for _ in range(ATTEMPTS):
                process = self._running()
                try:
                    answer = process.ask(asked, READ_S)
                except OSError as error:  # it has ended, or hangs
                    status = self._end()
                    why = type(error).__name__
                    log.warning("espeak_ended", reader=self._reader, why=why, status=status)
                except BaseException:  # what it may say yet is nobody's answer
                    self._end()
                    raise
                else:
                    return answer
        raise Unspeakable("There is something in this text that cannot be turned into sounds.")

    def end(self) -> None:
        """End the process. The next text starts another."""
        with self._lock:
            self._end()

    def _running(self) -> _Process:
        if self._process is None:
            try:
                self._process = _Process(self._reader, self._where())
                self._process.ask(b"", START_S)
            except OSError as error:
                self._end()
                raise TtsFailed(f"espeak-ng cannot be started: {error}") from error
            except BaseException:
                self._end()
                raise
        return self._process

    def _end(self) -> int | None:
        process, self._process = self._process, None
        return process.end() if process is not None else None


class _Answer(msgspec.Struct):
    said: list[str] = []
    error: str = ""


class _Process:
    def __init__(self, reader: str, where: Sequence[str]) -> None:
        self._line, theirs = socket.socketpair()
        self._answers = self._line.makefile("rb")
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_CHILD), reader, *where],
                stdin=theirs.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,  # it would quote what people said
                env={name: os.environ[name] for name in _INHERITED if name in os.environ},
                start_new_session=True,  # Ctrl-C is the server's, which speaks on while it drains
            )
        except OSError:
            self._hang_up()
            raise
        finally:
            theirs.close()
        self.pid = self._child.pid
        atexit.register(self._kill)

    def ask(self, line: bytes, longest_s: float) -> list[str]:
        """Raises `OSError` when it has ended, or says nothing in so long; `TtsFailed` for what it
        cannot read."""
        self._line.settimeout(longest_s)
        self._line.sendall(line)
        heard = self._answers.readline()
        if not heard.endswith(b"\n"):
            raise ConnectionError("the process has ended")
        answer = msgspec.json.decode(heard, type=_Answer)
        if answer.error:
            raise TtsFailed(f"espeak-ng: {answer.error}")
        return answer.said

    def end(self) -> int:
        """The exit status, as `subprocess` has it: -6 was an abort of its own."""
        atexit.unregister(self._kill)
        status = self._kill()
        self._hang_up()
        return status

    def _kill(self) -> int:
        # No more than this as Python ends: whoever waits for an answer holds the lock.
        self._child.kill()
        return self._child.wait()

    def _hang_up(self) -> None:
        self._answers.close()
        self._line.close()
