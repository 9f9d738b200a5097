"""`benchmarks.gpu` runs where PyTorch is, and nothing else that this house needs."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.support import ROOT


def with_its_needs(package: str) -> dict[str, importlib.metadata.Distribution]:
    """The package and all that comes with it, by name."""
    found: dict[str, importlib.metadata.Distribution] = {}
    names = [package]
    while names:
        one = importlib.metadata.distribution(names.pop())
        if one.name not in found:
            found[one.name] = one
            needs = map(Requirement, one.requires or ())
            names += [
                need.name
                for need in needs
                if need.marker is None or need.marker.evaluate({"extra": ""})
            ]
    return found


def lay_out(folder: Path, package: str) -> None:
    """A folder of packages in which this one is, with what it needs, and no other."""
    for one in with_its_needs(package).values():
        for top in {file.parts[0] for file in one.files or ()} - {"..", "__pycache__"}:
            link = folder / top
            if not link.exists():
                link.symlink_to(Path(str(one.locate_file(top))))


@pytest.mark.timeout(240)
def test_runs_on_a_machine_with_pytorch_alone(tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="PyTorch is not installed: make setup EXTRAS=gpu")
    lay_out(tmp_path, "torch")
    done = subprocess.run(
        # -S: the packages installed here are not seen.
        [sys.executable, "-S", "-m", "benchmarks.gpu", "--tiny", "--users", "2"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    assert "a network of Kokoro's shape, random weights" in done.stdout
