"""docs/realtime.md: its first lines run as they stand, and it names the clients that are run."""

from __future__ import annotations

import ast
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


def keywords(program: str) -> set[tuple[str, str]]:
    """Which keywords are given to which function, and the keys of dictionaries."""
    tree, found = ast.parse(program), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func).rpartition(".")[2]
            found |= {(called, one.arg) for one in node.keywords if one.arg is not None}
        elif isinstance(node, ast.Dict):
            found |= {("", key.value) for key in node.keys if isinstance(key, ast.Constant)}
    return found


def lines_for(client: str) -> str:
    """Those that point it here."""
    (lines,) = re.findall(rf"^{re.escape(client)} \d.*:\n\n((?:    .*\n)+)", PAGE, re.M)
    return dedent(lines)


def test_the_lines_for_each_client_say_no_more_than_its_program() -> None:
    for name, (folder, _) in CLIENTS.items():
        told = async_body(lines_for(name))
        program = (ROOT / f"tests/clients/{folder}/client.py").read_text()
        assert keywords(told)
        assert keywords(told) <= keywords(program), name
    key = re.compile(r"(?:\{|, ) *(\w+)(?=:| *\}|,)")
    told = set(key.findall(lines_for("@openai/agents-realtime")))
    assert told == {"url", "transport", "apiKey"}
    assert told <= set(key.findall((ROOT / "tests/clients/agents_js/client.mjs").read_text()))


def async_body(lines: str) -> str:
    """Lines of an asynchronous function, of which the last may open a block, as a program."""
    block = "    ...\n" if lines.rstrip().endswith(":") else ""
    return "async def main():\n" + indent(lines + block, "    ")


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
