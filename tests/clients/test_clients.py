"""Clients that nobody here wrote, each in its own environment, hold a conversation with us.

`make clients` installs them. What a machine cannot install is skipped, with the reason.
"""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.clients.tap import Line, Tap, tapped
from tests.support import ServerProcess

pytestmark = [pytest.mark.models, pytest.mark.slow, pytest.mark.timeout(360)]

HERE = Path(__file__).parent
PROGRAMS = {
    "openai_python": (".venv/bin/python", "client.py"),
    "openai_agents": (".venv/bin/python", "client.py"),
    "agents_js": ("node", "client.mjs"),
    "pydantic_ai": (".venv/bin/python", "client.py"),
    "livekit": (".venv/bin/python", "client.py"),
    "pipecat": (".venv/bin/python", "client.py"),
}
WITHIN_S = 300


def installed(name: str) -> None:
    """Skip what `make clients` could not install here, and say why."""
    folder = HERE / name
    if not (folder / ".installed").exists():
        reason = folder / ".not-installed"
        told = reason.read_text().split("\n") if reason.exists() else []
        why = next((line for line in reversed(told) if line), "make clients installs it")
        pytest.skip(f"{name} is not installed: {why}")


async def perform(name: str, tap: Tap, lines: Path) -> dict[str, Any]:
    """Run a client's program to its end; what it has seen."""
    folder = HERE / name
    interpreter, program = PROGRAMS[name]
    if "/" in interpreter:
        interpreter = str(folder / interpreter)
    process = await asyncio.create_subprocess_exec(
        interpreter,
        program,
        cwd=folder,
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("PYTHON")},
            "PYTHONPATH": str(HERE),
            "REALTIME_URL": f"{tap.url}/v1/realtime",
            "LINES": str(lines),
        },
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(WITHIN_S):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, err.decode()[-4_000:]
    seen: dict[str, Any] = json.loads(out.decode().splitlines()[-1])
    return seen


def has(texts: list[str], word: str) -> bool:
    return any(word in text.lower() for text in texts)


@pytest.mark.parametrize("name", PROGRAMS)
async def test_a_client_talks_calls_a_tool_and_cuts_in_twice_in_parallel(
    name: str, server: ServerProcess, lines: Path
) -> None:
    installed(name)
    async with tapped(server.url.replace("http", "ws")) as tap, asyncio.TaskGroup() as both:
        scenes = [both.create_task(perform(name, tap, lines)) for _ in range(2)]
    for one in (scene.result() for scene in scenes):
        assert has(one["heard"], "weather")
        assert has(one["heard"], "story")
        assert has(one["heard"], "name")
        assert one["tools"] == [{"name": "get_weather", "arguments": {"city": "Paris"}}]
        assert has(one["said"], "sunny")
        assert has(one["said"], "antiphon")
        assert one["cuts"] >= 1
        assert one["audio_s"] > 3
        assert one["errors"] == []
    assert len(tap.lines) == 2
    for line in tap.lines:
        check(line)
        line.oracle.settled()


def check(line: Line) -> None:
    """What went over the wire: each event as openai's types have it, in a legal order."""
    assert line.wrong == []
    # Who cancels a response of which it does not know yet that words have ended it, as LiveKit's
    # plugin does at every cut, expects to be told.
    errors = [event["error"]["code"] for event in line.of("error")]
    assert set(errors) <= {"response_cancel_not_active"}
    assert len(errors) <= len(line.asked_for("response.cancel"))
    responses = [event["response"] for event in line.of("response.done")]
    assert {response["status"] for response in responses} == {"completed", "cancelled"}
    (cut,) = (one["output"][0] for one in responses if one["status"] == "cancelled")
    assert cut["content"][0]["transcript"].startswith("Once there was")
    asked = [event["item_id"] for event in line.asked_for("conversation.item.truncate")]
    assert [event["item_id"] for event in line.of("conversation.item.truncated")] == asked
    assert cut["id"] in asked, "the client says where the user cut in"
