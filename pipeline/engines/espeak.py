"""espeak-ng in a process of its own, which is all that a text can end.

espeak writes past its buffers at some texts ("s'" 220 times, five scripts in one word), and what
ends then is the process that it is in. Its state is global, too: concurrent calls would corrupt
each other without an error.
"""

from __future__ import annotations

import atexit
import errno
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

from pipeline.errors import AtCapacity, Unspeakable

log = structlog.get_logger(__name__)

_CHILD = Path(__file__).with_name("espeak_child.py")
_INHERITED = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
"""Of the environment: what Python itself may need. The rest holds keys, which are none of its
business."""

START_S = 60.0
"""Until it can read; with a cold disk and both cores busy Piper's takes some seconds."""
READ_S = 3.0
"""For the texts of one call. Ten thousand signs take it under 0.1 s; past this it hangs."""
ATTEMPTS = 2
"""The harm may have been done by a text before: this one is read again, in a new process."""
MOST_CALLS = 10_000
"""Of one process: each change of the language costs it 1.4 kB (Piper's: each text 3) for good."""

_NO_ROOM = (errno.EAGAIN, errno.EMFILE, errno.ENFILE, errno.ENOMEM)
_PLAIN = "a"


class EspeakFailed(RuntimeError):
    """It cannot be started, reads nothing at all, or does not know the language."""


def bundled() -> tuple[str, str]:
    """Where the espeak-ng that espeakng-loader brings lies, and its voices."""
    return espeakng_loader.get_library_path(), espeakng_loader.get_data_path()


class Espeak:
    """One process, started when the first text comes, and again after it has ended. To be kept
    for good."""

    def __init__(self, reader: str, where: Callable[[], Sequence[str]]) -> None:
        """`reader`: one of `espeak_child.READERS`; `where`: what that one is told, asked for at
        each start."""
        self._reader = reader
        self._where = where
        self._lock = threading.Lock()
        self._process: _Process | None = None
        atexit.register(self._at_exit)

    @property
    def pid(self) -> int | None:
        """Of the process, when there is one."""
        process = self._process
        return None if process is None else process.pid

    def read(self, language: str, texts: Sequence[str]) -> list[str]:
        """What espeak makes of each text, in IPA. `language`: as espeak calls it.

        Blocks: under 1 ms as a rule; when it has to be started 30 ms, Piper's 140. Safe from any
        thread. Raises `Unspeakable` for what it does not survive, `EspeakFailed` for what is no
        fault of the texts, and `AtCapacity` when the machine has no room for a process just now.
        """
        with self._lock:
            for _ in range(ATTEMPTS):
                try:
                    return self._ask(language, texts)
                except TimeoutError:
                    break  # the others have waited long enough
                except OSError:
                    continue
            try:
                self._ask(language, [_PLAIN])
            except OSError as error:
                raise EspeakFailed("espeak-ng ends at every text") from error
        raise Unspeakable("There is something in this text that cannot be turned into sounds.")

    def end(self) -> None:
        """End the process. The next text starts another."""
        with self._lock:
            self._end()

    def _ask(self, language: str, texts: Sequence[str]) -> list[str]:
        """Raises `OSError` when it has ended, or hangs; then it is gone."""
        process = self._running()
        try:
            return process.ask((language, texts), READ_S)
        except OSError as error:
            status = self._end()
            why = type(error).__name__
            log.warning("espeak_ended", reader=self._reader, why=why, status=status)
            raise
        except EspeakFailed:
            raise
        except BaseException:  # what it may say yet is nobody's answer
            self._end()
            raise

    def _running(self) -> _Process:
        if self._process is not None and self._process.calls >= MOST_CALLS:
            self._end()
        if self._process is None:
            try:
                self._process = _Process(self._reader, self._where())
                self._process.hear(START_S)
            except OSError as error:
                self._end()
                log.warning("espeak_not_started", reader=self._reader, error=str(error))
                if error.errno in _NO_ROOM:
                    raise AtCapacity("The server has no room for this just now.") from error
                raise EspeakFailed(f"espeak-ng cannot be started: {error}") from error
            except BaseException:
                self._end()
                raise
        return self._process

    def _end(self) -> int | None:
        process, self._process = self._process, None
        return process.end() if process is not None else None

    def _at_exit(self) -> None:
        if (process := self._process) is not None:
            process.kill()  # whoever waits for its answer, and holds the lock, learns it by that
            if self._lock.acquire(timeout=1):
                process.hang_up()


class _Answer(msgspec.Struct):
    said: list[str] = []
    error: str = ""


class _Process:
    def __init__(self, reader: str, where: Sequence[str]) -> None:
        self.calls = 0
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
        except BaseException:
            self.hang_up()
            raise
        finally:
            theirs.close()
        self.pid = self._child.pid

    def ask(self, what: tuple[str, Sequence[str]], longest_s: float) -> list[str]:
        """Raises as `hear` does."""
        self.calls += 1
        self._line.settimeout(longest_s)
        self._line.sendall(msgspec.json.encode(what) + b"\n")
        return self.hear(longest_s)

    def hear(self, longest_s: float) -> list[str]:
        """Raises `OSError` when it has ended, or says nothing in so long; `EspeakFailed` with the
        reason that it gives."""
        self._line.settimeout(longest_s)
        heard = self._answers.readline()
        if not heard.endswith(b"\n"):
            raise ConnectionError("the process has ended")
        answer = msgspec.json.decode(heard, type=_Answer)
        if answer.error:
            raise EspeakFailed(f"espeak-ng: {answer.error}")
        return answer.said

    def end(self) -> int:
        """The exit status, as `subprocess` has it: -6 was an abort of its own."""
        status = self.kill()
        self.hang_up()
        return status

    def kill(self) -> int:
        self._child.kill()
        return self._child.wait()

    def hang_up(self) -> None:
        self._answers.close()
        self._line.close()
