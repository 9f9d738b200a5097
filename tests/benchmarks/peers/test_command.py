"""The peers' command lines: where a peer's environment is, and where its numbers go."""

from __future__ import annotations

import json
import sys
from itertools import product
from pathlib import Path

import pytest

from benchmarks.latency import TURNS
from benchmarks.peers import command
from benchmarks.peers.pipecat import run


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


def test_pipecat_is_called_by_one_and_by_several_with_its_models_loaded_in_both_ways() -> None:
    everything = run.runs(run.parser().parse_args([]))
    ways = product(["kokoro", "piper"], ["per-session", "shared"], [1, 2, 4, 8])
    assert {(one.tts, one.models, one.callers) for one in everything} == set(ways)
    assert {one.turns for one in everything if one.callers == 1} == {TURNS}
    assert {one.turns for one in everything if one.callers > 1} == {run.TURNS}
    asked = run.runs(run.parser().parse_args(["--callers", "8", "--turns", "3"]))
    assert {(one.callers, one.turns) for one in asked} == {(8, 3)}
