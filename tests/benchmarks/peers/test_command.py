"""The peers' command lines: where a peer's environment is, and where its numbers go."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.peers import command


def test_the_environment_is_named_by_the_command_or_by_a_variable(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    of = command.parser("nobody", "A peer.")
    assert command.parse(of, ["--python", sys.executable]).python == Path(sys.executable)
    monkeypatch.setenv("NOBODY_PYTHON", sys.executable)
    of = command.parser("nobody", "A peer.")
    assert command.parse(of, []).python == Path(sys.executable)


def test_an_environment_that_is_not_there_is_told_with_its_mend(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit):
        command.parse(command.parser("nobody", "A peer."), [])
    assert "make bench-peers" in capsys.readouterr().err


def test_numbers_are_written_if_a_file_was_named(tmp_path: Path) -> None:
    command.write(None, {"a": 1})
    command.write(tmp_path / "numbers.json", {"a": 1})
    assert json.loads((tmp_path / "numbers.json").read_text()) == {"a": 1}
