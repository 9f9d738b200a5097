"""`antiphon cluster` deploys a config file's engines, and a server that joins uses them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cluster_ray.conftest import Standing
from tests.support import ROOT, SCRIPTED, call, server_process

PLAN = """
applications:
  - name: antiphon
    route_prefix: null
    import_path: pipeline.engines.ray_app:build
    args:
      stt: {engine: scripted, cpus: 0}
      tts: {engine: scripted, least: 1, most: 2, cpus: 0}
      eot: {engine: scripted, cpus: 0}
"""


def antiphon(*words: str, **environ: str) -> tuple[int, str]:
    """Run a command to its end: its exit status, and what it said."""
    ran = subprocess.run(
        [sys.executable, "-m", "server", *words], cwd=ROOT, env={**os.environ, **environ},
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    return ran.returncode, ran.stdout + ran.stderr


def cluster(*words: str) -> tuple[int, str]:
    return antiphon("cluster", *words)


async def test_a_cluster_is_put_up_used_and_taken_down(standing: Standing, tmp_path: Path) -> None:
    at = ("--address", standing.address)
    file = tmp_path / "plan.yaml"
    file.write_text(PLAN)
    status, said = cluster("up", str(file), *at)
    assert status == 0, said
    assert "running" in said
    assert "tts: healthy (1 running)" in said

    joined = {
        **SCRIPTED,
        "ANTIPHON_CLUSTER": "ray",
        "ANTIPHON_RAY_ADDRESS": standing.address,
        "ANTIPHON_TTS_SLOTS": "4",
    }
    with server_process(**joined) as server:
        async with call(server.ws_url, {}) as caller:
            await caller.say("text", text="hello", id="1")
            assert (await caller.play())["status"] == "completed"

    assert cluster("down", *at)[0] == 0
    status, said = cluster("status", *at)
    assert (status, said.split()[0]) == (1, "absent")


async def test_a_server_says_what_is_missing_on_an_empty_cluster(standing: Standing) -> None:
    environ = {**SCRIPTED, "ANTIPHON_CLUSTER": "ray", "ANTIPHON_RAY_ADDRESS": standing.address}
    status, said = antiphon("serve", "--port", "0", **environ)
    assert status == 1
    assert "antiphon cluster up FILE" in said


def test_a_cluster_that_is_not_there_is_said() -> None:
    pytest.importorskip("ray", reason="Ray is not installed: make setup EXTRAS=ray")
    status, said = cluster("status", "--address", "127.0.0.1:1")
    assert status == 1
    assert "Ray cannot be reached at 127.0.0.1:1" in said
