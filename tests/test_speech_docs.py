"""The lines of docs/speech-http.md do what they say."""

from __future__ import annotations

import asyncio
import os
import re
import sys
from pathlib import Path

import av
import pytest

from server.speech_ask import _Body
from tests.support import ServerProcess

PAGE = (Path(__file__).parent.parent / "docs" / "speech-http.md").read_text()
CURLS = re.findall(r"^    (curl .*)$", PAGE, re.M)
(PYTHON,) = re.findall(r"^```python\n(.*?)^```$", PAGE, re.S | re.M)


async def run(*command: str, folder: Path) -> str:
    """What it prints; it must succeed."""
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=folder,
        env={**os.environ, "NO_PROXY": "*"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    printed, complaints = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, complaints.decode()
    return printed.decode()


def can_be_heard(file: Path) -> bool:
    with av.open(str(file)) as container:
        return sum(frame.samples for frame in container.decode(audio=0)) > 2_400


async def every_line(url: str, folder: Path) -> None:
    assert len(CURLS) == 4
    printed = ""
    for line in CURLS:
        command = line.replace("http://localhost:8000", url).replace("curl ", "curl -sS --fail ", 1)
        printed += await run("bash", "-c", command, folder=folder)
    assert re.search(r"TTFA: \d+\.\d+s", printed)
    assert '"type": "speech.audio.done"' in printed
    await run(sys.executable, "-c", PYTHON.replace("http://localhost:8000", url), folder=folder)
    files = {file.name for file in folder.iterdir()}
    assert files == {"speech.mp3", "whole.mp3", "blend.wav", "hello.wav", "hello.opus"}
    for file in folder.iterdir():
        assert can_be_heard(file), file.name


@pytest.mark.models
async def test_every_line_of_the_page_works(real_server: ServerProcess, tmp_path: Path) -> None:
    await every_line(real_server.url, tmp_path)


def test_every_field_is_described() -> None:
    table = PAGE.partition("| field |")[2].partition("\n\n")[0]
    cells = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    assert set(_Body.__struct_fields__) == {n for c in cells for n in re.findall(r"`(\w+)`", c)}
