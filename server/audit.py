"""The audit: who came, from where, who was turned away and why, what an operator did. A stream of
its own, one JSON object a line, in files that are rotated; never what anybody says."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import structlog

from pipeline.errors import SettingsError

log = structlog.get_logger(__name__)

KEPT = 10
"""Older files that are kept, beside the one that is written."""
MOST_WAITING = 10_000
"""Events that wait to be written. What comes past them is lost, and counted."""
COMPLAIN_EVERY_S = 60.0


class Audit:
    """The stream. Writing never holds up the event loop: a thread of its own does it."""

    def __init__(self, path: Path, most_bytes: int, lost: Callable[[], None]) -> None:
        """`path`: one that no other process writes. `most_bytes`: of one file; 0 keeps none.
        `lost` is told of each event that was not written.
        """
        self._path = path
        self._most_bytes = most_bytes
        self._waiting = _Waiting(lost)
        self._lost = lost

    def note(self, event: str, **known: Any) -> None:
        """Write an event down, with the ids of its request and session. None is left out."""
        if not self._most_bytes:
            return
        fields = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": event,
            **structlog.contextvars.get_contextvars(),
            **{name: value for name, value in known.items() if value is not None},
        }
        # ASCII alone: no character of a stranger's begins a line, or moves a reader's cursor.
        line = json.dumps(fields, ensure_ascii=True)
        self._waiting.handle(logging.makeLogRecord({"msg": line, "levelno": logging.INFO}))

    @contextmanager
    def open(self) -> Iterator[None]:
        """Write within the scope; what came before it too. Raises `SettingsError`."""
        if not self._most_bytes:
            yield
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            file = _File(self._path, self._most_bytes, self._lost)
        except OSError as error:
            raise SettingsError(
                f"ANTIPHON_DATA_DIR={str(self._path.parent)!r}: the audit cannot be written there "
                f"({error.strerror}); ANTIPHON_AUDIT_MB=0 does without"
            ) from None
        listener = QueueListener(self._waiting.queue, file)
        listener.start()
        try:
            yield
        finally:
            listener.stop()
            file.close()


class _Waiting(QueueHandler):
    """What is to be written, bounded."""

    def __init__(self, lost: Callable[[], None]) -> None:
        self._records: SimpleQueue[logging.LogRecord] = SimpleQueue()
        super().__init__(self._records)
        self._lost = lost

    def enqueue(self, record: logging.LogRecord) -> None:
        if self._records.qsize() < MOST_WAITING:
            self._records.put(record)
        else:
            self._lost()


class _File(RotatingFileHandler):
    """For this process's user alone. A disk that is full costs events, and nothing else."""

    def __init__(self, path: Path, most_bytes: int, lost: Callable[[], None]) -> None:
        self._lost = lost
        self._complained_at = float("-inf")
        super().__init__(path, maxBytes=most_bytes, backupCount=KEPT, encoding="utf-8")

    def _open(self) -> TextIOWrapper:
        file = super()._open()
        os.fchmod(file.fileno(), 0o600)
        return file

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        self._lost()
        if (now := time.monotonic()) - self._complained_at >= COMPLAIN_EVERY_S:
            self._complained_at = now
            log.exception("audit_not_written")
