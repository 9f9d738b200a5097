"""The operator's tour of docs/operations.md: every command of it, as it stands, in its order."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from tests.support import ROOT, SCRIPTED, call, server_process

PAGE = (ROOT / "docs" / "operations.md").read_text()
TOUR = PAGE.partition("## A tour\n")[2].partition("\n## ")[0]
COMMANDS = re.findall(r"^    (\S.*)$", TOUR, re.M)
SAYS = (
    r'"status":"ok"',
    r'"status":"ready"',
    r"^ready$",
    r"^latency   .*\btotal \d+ ms\naudio     \d+\.\d s in reply.wav$",
    r"\A\Z",
    r'"engines":.*"shedding":0',
    r'"state":"listening"',
    r'"route":"/v1/audio/speech"',
    r"\A\Z",
    r"antiphon_ready 1.0",
    r"starlette",
)
"""What each command prints, in their order."""
TOKEN = "secret"


async def ran(command: str, port: int, folder: Path) -> str:
    """Run a command of the page, save for where the server is."""
    ours = f"{sys.executable} -m server"
    line = command.replace(".venv/bin/antiphon", ours).replace(
        "localhost:8000", f"127.0.0.1:{port}"
    )
    process = await asyncio.create_subprocess_exec(
        *("bash", "-o", "pipefail", "-c", line),
        cwd=folder,
        env={
            **os.environ,
            **SCRIPTED,
            "PYTHONPATH": str(ROOT),
            "ANTIPHON_ADMIN_TOKEN": TOKEN,
            "ANTIPHON_PORT": str(port),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, complaints = await asyncio.wait_for(process.communicate(), 60)
    # `doctor` finds this server's port taken, and says so.
    if "doctor" not in command:
        assert process.returncode == 0, f"{line}\n{out.decode()}\n{complaints.decode()}"
    return out.decode().strip()


def test_there_is_a_line_of_what_each_command_says() -> None:
    assert len(COMMANDS) == len(SAYS)


@pytest.mark.timeout(240)
async def test_every_command_of_the_tour_does_what_it_says(tmp_path: Path) -> None:
    assert shutil.which("curl"), "the tour asks with curl"
    with server_process(**SCRIPTED, ANTIPHON_ADMIN_TOKEN=TOKEN) as server:
        port = int(server.url.rsplit(":", 1)[1])
        async with call(server.ws_url, {}) as caller:
            for command, says in zip(COMMANDS, SAYS, strict=True):
                said = await ran(command, port, tmp_path)
                assert re.search(says, said, re.M), f"{command}\n{said}"
            # The last but two ended everybody's session, ours too.
            assert await caller.closed() == 1000
    assert (tmp_path / "hello.wav").read_bytes().startswith(b"RIFF")


def test_every_alarm_is_explained() -> None:
    rules = (ROOT / "deploy" / "prometheus" / "alerts.yml").read_text()
    explained = re.findall(r"^\| `(Antiphon\w+)` \|", PAGE, re.M)
    assert explained == re.findall(r"- alert: (\w+)", rules)
