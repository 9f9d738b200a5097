"""docs/realtime.md: its first lines run as they stand, and it names the clients that are run."""

from __future__ import annotations

import asyncio
import json
import re
import sys
from pathlib import Path
from textwrap import dedent, indent

from tests.support import ServerProcess

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs/realtime.md").read_text()
CLIENTS = {
    "openai-python": ("openai_python", "openai"),
    "openai-agents": ("openai_agents", "openai-agents"),
    "pydantic-ai": ("pydantic_ai", "pydantic-ai-slim"),
    "LiveKit agents": ("livekit", "livekit-agents"),
    "Pipecat": ("pipecat", "pipecat-ai"),
}


def test_the_versions_it_names_are_the_ones_that_are_run() -> None:
    for name, (folder, package) in CLIENTS.items():
        (told,) = re.findall(rf"^{name} (\d+\.\d+)[ ,:]", PAGE, re.M)
        pins = (ROOT / f"tests/clients/{folder}/requirements.txt").read_text()
        (pinned,) = re.findall(rf"^{package}(?:\[.*\])?==(\d+\.\d+)\.", pins, re.M)
        assert told == pinned, name
    (told,) = re.findall(r"^@openai/agents-realtime (\d+\.\d+)[ ,:]", PAGE, re.M)
    package_json = json.loads((ROOT / "tests/clients/agents_js/package.json").read_text())
    assert package_json["dependencies"]["@openai/agents-realtime"].startswith(f"{told}.")


async def test_its_first_lines_connect(scripted_server: ServerProcess) -> None:
    lines = dedent(PAGE.partition("## Connecting\n\n")[2].partition("\n- ")[0])
    assert lines.rstrip().endswith("...")
    listen = "print((await connection.recv()).session.model)"
    main = indent(lines.replace("...", listen), "    ")
    program = f"import asyncio\nasync def main():\n{main}\nasyncio.run(main())"
    address = scripted_server.url.partition("//")[2]
    client = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", program.replace("127.0.0.1:8000", address)),
        stdout=asyncio.subprocess.PIPE,
    )
    printed, _ = await asyncio.wait_for(client.communicate(), 60)
    assert printed.decode().strip() == "antiphon"
