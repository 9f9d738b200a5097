"""The clients of docs/clients.md run as they stand: the one in Python here, the other in a browser
(`tests/browser/test_client_module.py`)."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from websockets.asyncio.server import ServerConnection, serve

from tests.support import ServerProcess

ROOT = Path(__file__).parent.parent


def block(language: str) -> str:
    """The only block of a language."""
    page = (ROOT / "docs/clients.md").read_text()
    blocks: list[str] = re.findall(rf"^```{language}\n(.*?)^```$", page, re.S | re.M)
    assert len(blocks) == 1
    return blocks[0]


def the_client() -> Any:
    space: dict[str, Any] = {"__name__": "clients"}
    exec(compile(block("python"), "docs/clients.md", "exec"), space)
    return space["Antiphon"]


async def test_the_python_client_has_a_typed_turn(scripted_server: ServerProcess) -> None:
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", block("python"), scripted_server.ws_url, "Hello there."),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await asyncio.wait_for(client.communicate(), 60)
    assert client.returncode == 0
    assert printed.decode().splitlines()[0] == "you: Hello there."
    assert re.search(r"^antiphon: \S", printed.decode(), re.M)


@pytest.mark.parametrize("code", [1012, 1011])
async def test_a_typed_turn_that_nobody_took_is_sent_again_and_the_conversation_resumed(
    code: int,
) -> None:
    heard: list[dict[str, Any]] = []

    async def answer(socket: ServerConnection) -> None:
        heard.append(json.loads(await socket.recv()))
        welcome = {"type": "welcome", "resume": f"token-{len(heard)}", "resumed": len(heard) > 1}
        await socket.send(json.dumps(welcome))
        heard.append(text := json.loads(await socket.recv()))
        if len(heard) == 2:
            await socket.close(code)
            return
        taken = {"type": "transcript", "turn": 1, "text": text["text"], "final": True}
        await socket.send(json.dumps(taken | {"ref": text["id"]}))
        await socket.close(1000)

    async with serve(answer, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        antiphon = the_client()(f"ws://127.0.0.1:{port}/ws", pace="quick")
        await antiphon.say("Hello.")
        async with asyncio.timeout(30):
            told = [event async for event in antiphon.events()]
    hello, text, again, same = heard
    assert hello == {"type": "hello", "pace": "quick"}
    assert again == {"type": "hello", "pace": "quick", "resume": "token-1"}
    assert text == same
    assert [event["type"] for event in told] == ["welcome", "lost", "welcome", "transcript", "lost"]
    assert told[-1]["code"] == 1000
