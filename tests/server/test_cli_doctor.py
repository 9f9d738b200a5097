"""`antiphon doctor`: what it finds, and the mend it names."""

from __future__ import annotations

import argparse
import asyncio
from pathlib import Path

import pytest

from pipeline.models import DEFAULT_MODELS
from server.cli import doctor
from tests.contract.chat_backend import chat_backend


def findings(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, **environ: str
) -> dict[str, doctor.Finding]:
    monkeypatch.chdir(tmp_path)  # no .env of somebody's
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    return {finding.what: finding for finding in doctor.examine()}


def test_it_names_the_command_that_fetches_each_missing_model(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    found = findings(monkeypatch, tmp_path, ANTIPHON_MODELS_DIR=str(tmp_path))
    for model in DEFAULT_MODELS:
        finding = found[f"model {model.name}"]
        assert finding.state == "missing"
        assert finding.mend == f"antiphon models pull {model.name}"


def test_it_asks_the_language_model_as_serve_would(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = "http://127.0.0.1:9"
    found = findings(monkeypatch, tmp_path, ANTIPHON_LLM_BASE_URL=url)
    assert "ANTIPHON_LLM_BASE_URL" in found["language model"].mend


async def test_one_of_several_language_models_is_enough(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    async with chat_backend() as backend:
        monkeypatch.setenv("ANTIPHON_LLM_BASE_URL", f"http://127.0.0.1:9, {backend.url}")
        found = await asyncio.to_thread(lambda: list(doctor.examine()))
    models = [finding for finding in found if finding.what == "language model"]
    assert [bool(finding.mend) for finding in models] == [True, False]
    assert not any(finding.fatal for finding in models)
    assert "127.0.0.1:9" in models[0].mend
    assert models[1].state == f"first at {backend.url}"


def test_a_wrong_setting_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = findings(monkeypatch, tmp_path, ANTIPHON_PORT="eighty")
    assert "ANTIPHON_PORT" in found["settings"].mend


def test_it_fails_when_something_is_missing_and_prints_the_mend(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_MODELS_DIR", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    assert doctor.run(argparse.Namespace()) == 1
    assert "antiphon models pull whisper-tiny.en" in capsys.readouterr().out


@pytest.mark.models
def test_it_is_content_when_everything_is_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, models_dir: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("ANTIPHON_MODELS_DIR", str(models_dir))
    assert doctor.run(argparse.Namespace()) == 0
