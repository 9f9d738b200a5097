"""The lines of docs/transcription-http.md do what they say."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from pathlib import Path

import pytest

from tests.support import ServerProcess

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "transcription-http.md").read_text()
CURLS = re.findall(r"^    (curl .*)$", PAGE, re.M)
CURL = "curl -sS --fail"
(PYTHON,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.S | re.M)


async def run(*command: str) -> str:
    """What it prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env={**os.environ, "NO_PROXY": "*"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complaints = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, complaints.decode()
    return printed.decode()


async def every_line(url: str, words: str) -> None:
    printed = [
        await run("bash", "-c", line.replace("http://localhost:8000", url).replace("curl", CURL, 1))
        for line in CURLS
    ]
    plain, captions, times, events = printed
    assert words in json.loads(plain)["text"]
    assert captions.startswith("1\n00:00:0")
    assert len(json.loads(times)["words"]) == len(json.loads(plain)["text"].split())
    assert "transcript.text.delta" in events
    assert "transcript.text.done" in events
    said = await run(sys.executable, "-c", PYTHON.replace("http://localhost:8000", url))
    assert words in said
    assert said.endswith("transcript.text.done\n")


async def test_every_line_of_the_page_works(scripted_server: ServerProcess) -> None:
    await every_line(scripted_server.url, "this is a scripted transcript")


@pytest.mark.models
async def test_every_line_is_understood_by_the_real_server(real_server: ServerProcess) -> None:
    await every_line(real_server.url, "what your country can do for you")
