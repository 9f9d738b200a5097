"""What the Dockerfile installs, installed: from nothing but what it copies, away from the checkout;
it writes nowhere but in the two volumes."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from tests.deploy.test_images import TEXT, commands, set_in_image
from tests.support import ROOT, SCRIPTED


def copied(to: Path) -> Path:
    """What the build stage copies."""
    for line in re.findall(r"^COPY (?!--from)(.*) \S+$", TEXT, re.M):
        for name in line.split():
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, to / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(source, to / name)
    return to


@pytest.mark.slow  # pip fetches what builds a wheel
@pytest.mark.timeout(300)
def test_what_is_installed_serves_away_from_its_sources(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    source, opt = copied(tmp_path / "src"), tmp_path / "opt"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    built = subprocess.run(
        [*pip, "--no-deps", "--target", opt, source], capture_output=True, text=True, check=False
    )
    assert built.returncode == 0, built.stderr
    shutil.rmtree(source)
    home, models, data = (tmp_path / name for name in ("home", "models", "data"))
    for folder in (home, models, data):
        folder.mkdir()
    installed = sorted(opt.rglob("*"))
    environ = {
        **os.environ, **set_in_image("cpu"), **SCRIPTED, "PYTHONPATH": str(opt),
        "PATH": f"{opt / 'bin'}:{os.environ['PATH']}", "HOME": str(home), "ANTIPHON_PORT": "0",
        "ANTIPHON_MODELS_DIR": str(models), "ANTIPHON_DATA_DIR": str(data),
        "ANTIPHON_HOST": "127.0.0.1", "ANTIPHON_AUDIT_MB": "1", "PYTHONDONTWRITEBYTECODE": "1",
    }  # fmt: skip
    with subprocess.Popen(
        commands("cpu", "CMD"), cwd=home, env=environ, stdout=subprocess.PIPE, text=True,
    ) as server:  # fmt: skip
        try:
            ready = server.stdout.readline()
            assert "ready" in ready, ready
            url = ready.split()[-1].rstrip("/").replace("localhost", "127.0.0.1")
            page = httpx.get(f"{url}/")
            assert page.is_success
            for name in re.findall(r'(?:src|href)="(web/[^"]+)"', page.text):
                assert httpx.get(f"{url}/{name}").is_success, name
            port = {"ANTIPHON_PORT": url.rpartition(":")[2]}
            health = subprocess.run(
                commands("cpu", "HEALTHCHECK"), cwd=home, env=environ | port,
                capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert (health.returncode, health.stdout.strip()) == (0, "ready"), health.stderr
            server.send_signal(signal.SIGTERM)
            assert server.wait(30) == 0
        finally:
            server.kill()
    assert {"sessions.db", "audit-0.jsonl"} <= {path.name for path in data.iterdir()}
    assert not list(home.iterdir())
    assert sorted(opt.rglob("*")) == installed
