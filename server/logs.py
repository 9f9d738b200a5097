"""Logging: structlog events in snake_case with fields, bound to request and session ids."""

from __future__ import annotations

import logging
import os
import re
import select
import sys
from typing import Literal, TextIO

import structlog

log = structlog.get_logger(__name__)

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def without_controls(
    logger: object, method: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """What strangers may have sent begins no line of its own, and moves nobody's cursor.

    `stacks` and tracebacks are ours, and have lines.
    """
    return {
        name: _CONTROL.sub(lambda found: repr(found[0])[1:-1], value)
        if isinstance(value, str) and name != "stacks"
        else value
        for name, value in event.items()
    }


def configure(level: str, style: Literal["auto", "console", "json"]) -> None:
    """Set up structlog, and lead the libraries' own logging through it."""
    console = style == "console" or (style == "auto" and sys.stderr.isatty())
    shared: list[structlog.typing.Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        without_controls,
    ]
    renderer: structlog.typing.Processor = (
        # A plain traceback: the others show local variables, and those hold what people say.
        structlog.dev.ConsoleRenderer(
            colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback
        )
        if console
        else structlog.processors.JSONRenderer()
    )
    tail: list[structlog.typing.Processor] = (
        [] if console else [structlog.processors.format_exc_info]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.make_filtering_bound_logger(level),
        cache_logger_on_first_use=True,
    )
    handler = _Lines(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *tail,
                renderer,
            ],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    # Chatty below warning, and httpx would log a line for every reply.
    for name in ("httpx", "httpcore", "uvicorn", "faster_whisper", "phonemizer", "asyncio"):
        logging.getLogger(name).setLevel(logging.WARNING)


class _Lines(logging.StreamHandler[TextIO]):
    """A disk that is full costs lines, and may leave half of one; so does a reader that stops (a
    terminal that is held, a pager), which nobody's conversation waits for. The next one stands
    alone, and behind it how many were lost.
    """

    _torn = False
    _lost = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write what can be written at once."""
        try:
            where = self.stream.fileno()
        except (OSError, ValueError):  # no file is behind it
            super().emit(record)
            return
        try:
            line = f"{self.format(record)}\n".encode(self.stream.encoding, "backslashreplace")
            writable = select.poll()
            writable.register(where, select.POLLOUT)
            while line:
                if not writable.poll(0):
                    raise BlockingIOError
                # So much goes into a pipe that was said to be writable, and no more.
                line = line[os.write(where, line[: select.PIPE_BUF]) :]
        except Exception:
            self.handleError(record)
            return
        lost, self._lost = self._lost, 0
        if lost:
            log.warning("log_lines_lost", lines=lost)

    def format(self, record: logging.LogRecord) -> str:
        begins, self._torn = "\n" if self._torn else "", False
        return begins + super().format(record)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - logging's name
        self._torn = True
        self._lost += 1
        if not isinstance(sys.exc_info()[1], OSError):  # else there is nowhere to tell it
            super().handleError(record)
