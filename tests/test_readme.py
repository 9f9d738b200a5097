"""The README's client runs as it stands."""

from __future__ import annotations

import asyncio
import re
import sys
import wave
from pathlib import Path

import pytest

from tests.support import ServerProcess

ROOT = Path(__file__).parent.parent
CLIP = ROOT / "tests" / "speech" / "LJ001-0013.wav"


def the_clients_code() -> str:
    blocks: list[str] = re.findall(
        r"^```python\n(.*?)^```$", (ROOT / "README.md").read_text(), re.S | re.M
    )
    assert len(blocks) == 1, "README.md has one Python client"
    return blocks[0]


async def have_a_turn(url: str, folder: Path) -> str:
    """Run the block as a user would, save for the address and the clip; what it printed."""
    code = the_clients_code()
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code, url, str(CLIP)),
        cwd=folder,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        printed, complaints = await asyncio.wait_for(client.communicate(), 90)
    except TimeoutError:
        client.kill()
        await client.wait()
        raise
    assert client.returncode == 0, complaints.decode()
    return printed.decode()


def seconds_of(path: Path) -> float:
    with wave.open(str(path)) as reply:
        assert reply.getframerate() == 24_000
        seconds: float = reply.getnframes() / reply.getframerate()
        return seconds


def test_its_defaults_are_the_servers_and_a_clip_that_is_here() -> None:
    code = the_clients_code()
    assert "ws://127.0.0.1:8000/ws" in code
    named = re.findall(r'"(tests/speech/[^"]+)"', code)
    assert [ROOT / name for name in named] == [CLIP]
    assert CLIP.exists()


async def test_the_client_has_a_turn(scripted_server: ServerProcess, tmp_path: Path) -> None:
    printed = await have_a_turn(scripted_server.ws_url, tmp_path)
    assert re.search(r"^you: \S", printed, re.M)
    assert re.search(r"^antiphon: \S", printed, re.M)
    assert seconds_of(tmp_path / "reply.wav") > 0.1


@pytest.mark.models
async def test_the_client_is_understood_by_the_real_server(
    real_server: ServerProcess, tmp_path: Path
) -> None:
    printed = await have_a_turn(real_server.ws_url, tmp_path)
    assert "the same operations" in printed
    assert seconds_of(tmp_path / "reply.wav") > 0.5
