"""The log: one event a line, whatever somebody sent."""

from __future__ import annotations

import io
import json
import logging
import os
import sys
from collections.abc import Iterator

import pytest
import structlog

from server import logs

NASTY = "a\nsession_started\r\x1b[2J\x9b2J\u2028b"


@pytest.fixture(autouse=True)
def _own_logging() -> Iterator[None]:
    root = logging.getLogger()
    before, level = root.handlers, root.level
    yield
    root.handlers = before
    root.setLevel(level)
    structlog.reset_defaults()


@pytest.mark.parametrize("style", ["console", "json"])
@pytest.mark.parametrize("library", [False, True])
def test_nothing_that_was_sent_begins_a_line_or_moves_a_cursor(
    style: str, library: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    logs.configure("info", style)  # type: ignore[arg-type]
    if library:
        logging.getLogger("somebody").warning("%s", NASTY)
    else:
        structlog.get_logger("test").warning("refused", origin=NASTY)
    (line,) = written.getvalue().splitlines()
    assert line.isprintable()
    if style == "json":
        assert json.loads(line)


def test_a_reader_that_stops_costs_lines_and_is_told_how_many(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb", buffering=0) as pipe, os.fdopen(writing, "w") as stderr:
        monkeypatch.setattr(sys, "stderr", stderr)
        logs.configure("info", "json")
        log = structlog.get_logger("test")
        written = 0
        while not logging.getLogger().handlers[0]._lost:  # type: ignore[attr-defined]
            log.info("said", number=written, filler="." * 10_000)
            written += 1
        log.info("lost too")
        assert not pipe.read(1_000_000).endswith(b"\n")
        log.info("read again")
        rest, again, lost = pipe.read(1_000_000).splitlines()
        assert rest == b""
        assert json.loads(again)["event"] == "read again"
        assert (json.loads(lost)["event"], json.loads(lost)["lines"]) == ("log_lines_lost", 2)
