"""Where a session's record goes: a file of its own, bounded, and never a reason to fail."""

from __future__ import annotations

from pathlib import Path
from typing import TextIO

import structlog

log = structlog.get_logger(__name__)

MOST_BYTES = 64 * 1024 * 1024
"""Some four hours; what comes after is not recorded."""
MOST_PARTS = 100
"""Records of one session, that is resumed over and over; what comes after is not recorded."""


class Recorder:
    """Writes lines to `FOLDER/SESSION.jsonl`, and `SESSION-2.jsonl` and so on as the session is
    resumed. A disk that fails ends the record, not the session.

    Lines are small (130 bytes, 31 a second while somebody is heard) and buffered, so that writing
    them does not hold up the loop.
    """

    def __init__(self, folder: Path, session: str) -> None:
        self._path = folder / f"{session}.jsonl"
        self._left = MOST_BYTES
        self._file: TextIO | None = None
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for part in range(2, MOST_PARTS + 1):
                if not self._path.exists():
                    break
                self._path = folder / f"{session}-{part}.jsonl"
            self._file = self._path.open("x", encoding="utf-8")
            self._path.chmod(0o600)  # what people said is in it
        except OSError as error:
            self._give_up(error)

    def write(self, line: str) -> None:
        """Add a line."""
        if self._file is None:
            return
        try:
            self._file.write(line + "\n")
        except OSError as error:
            self._give_up(error)
            return
        self._left -= len(line) + 1
        if self._left <= 0:
            log.warning("recording_full", file=str(self._path))
            self.close()

    def close(self) -> None:
        """Write out what is buffered."""
        file, self._file = self._file, None
        if file is not None:
            try:
                file.close()
            except OSError as error:
                self._give_up(error)

    def _give_up(self, error: OSError) -> None:
        self._file = None
        log.warning("recording_failed", file=str(self._path), error=str(error))
