"""Traefik in front of two gateways, as `deploy/cluster/traefik.yml` has it."""

from __future__ import annotations

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.cluster.stage import doors
from tests.deploy.test_nginx import SPELT, answered
from tests.support import ROOT, call, left_out, live_server
from tests.valkey import free_port

pytestmark = pytest.mark.slow

CONFIG = ROOT / "deploy" / "cluster" / "traefik.yml"


def laid_out(folder: Path, one: int, two: int) -> Path:
    """The configuration with other addresses."""
    text = CONFIG.read_text()
    for there, here in {
        "http://gateway-1:8000": f"http://127.0.0.1:{one}",
        "http://gateway-2:8000": f"http://127.0.0.1:{two}",
    }.items():
        assert there in text
        text = text.replace(there, here)
    file = folder / "traefik.yml"
    file.write_text(text)
    return file


@pytest.fixture
def program() -> str:
    return shutil.which("traefik", path=Path(sys.executable).parent) or left_out(
        "there is no traefik: make setup EXTRAS=balancer"
    )


@asynccontextmanager
async def traefik(program: str, folder: Path, one: int, two: int) -> AsyncIterator[int]:
    """It, before gateways at these ports, listening at its own."""
    port = free_port()
    process = await asyncio.create_subprocess_exec(
        program,
        f"--providers.file.filename={laid_out(folder, one, two)}",
        f"--entrypoints.web.address=127.0.0.1:{port}",
        "--global.checknewversion=false",
        "--log.level=ERROR",
    )
    try:
        async with asyncio.timeout(20), httpx.AsyncClient() as http:
            while True:  # it listens before it has read its file
                try:
                    if (await http.get(f"http://127.0.0.1:{port}/")).status_code != 404:
                        break
                except httpx.TransportError:
                    assert process.returncode is None
                await asyncio.sleep(0.05)
        yield port
    finally:
        process.terminate()
        await process.wait()


async def test_a_conversation_goes_through_though_one_gateway_is_not_there(
    program: str, tmp_path: Path
) -> None:
    async with (
        live_server(ANTIPHON_ADMIN_TOKEN="secret") as server,
        traefik(program, tmp_path, free_port(), server.port) as port,
    ):
        for _ in range(3):
            async with call(f"ws://127.0.0.1:{port}/ws", {}) as caller:
                await caller.say("text", text="hello")
                assert (await caller.play())["status"] == "completed"
        async with call(f"ws://127.0.0.1:{port}/v1/realtime?model=any") as caller:
            await caller.until("session.created")
        for path in SPELT:
            for method in ("GET", "DELETE"):
                assert await answered(port, path, method) == 404, path


async def test_a_gateway_that_is_not_ready_gets_nobody_new(program: str, tmp_path: Path) -> None:
    ready = {"one": True, "two": True}
    async with (
        doors(ready) as ports,
        traefik(program, tmp_path, *ports) as port,
        httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as http,
        asyncio.timeout(20),
    ):

        async def takers() -> set[str]:
            answers = [await http.get("/") for _ in range(20)]
            return {answer.headers["x-gateway"] for answer in answers}

        while await takers() != {"one", "two"}:
            await asyncio.sleep(0.1)
        ready["one"] = False
        while await takers() != {"two"}:
            await asyncio.sleep(0.1)
