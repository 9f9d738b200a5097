"""A disk that is really full: a file system in memory with everything on it that a server writes,
filled to its last byte, and then not any more."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from session.kept import decoded
from session.sqlite_store import FILE
from tests.support import ROOT, SCRIPTED, Caller, call, left_out

MOUNTED = (
    'mount -t tmpfs -o size=2m none "$0" && '
    f'exec {sys.executable} -m server serve --host 127.0.0.1 --port 0 2>"$0/log"'
)
PIECE = bytes(4_096)
REFUSED = "Operation not permitted|Permission denied|No space left on device|Invalid argument"
"""What `unshare` says where the kernel, or a container's profile, gives out no user namespaces
(user_namespaces(7): ENOSPC past the limit, which may be 0)."""
NOBODY = "nobody/comes/here"


@dataclass(frozen=True)
class Disk:
    """A server's own small disk, and the server."""

    url: str
    folder: Path
    """As it is seen from outside of the server's own view of the machine."""

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/ws"

    def fill(self) -> None:
        """Until not a byte more fits."""
        with (self.folder / "filler").open("ab", buffering=0) as filler:
            try:
                while filler.write(PIECE):
                    pass
            except OSError:
                assert shutil.disk_usage(self.folder).free == 0

    def clear(self) -> None:
        (self.folder / "filler").unlink()

    def lines(self, pattern: str, torn: int = 0) -> list[dict[str, Any]]:
        """What is written in a stream; `torn`: how many lines may be there in part."""
        (file,) = self.folder.glob(pattern)
        whole = []
        for line in filter(None, file.read_text().splitlines()):
            try:
                whole.append(json.loads(line))
            except ValueError:
                torn -= 1
        assert torn >= 0
        return whole

    def stored(self, copy: Path) -> dict[str, list[str]]:
        """What is said in each session, as the files have it now: as after a kill."""
        shutil.copytree(self.folder, copy, ignore=lambda *_: ["filler", "servers"])
        with closing(sqlite3.connect(copy / FILE)) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            kept = [decoded(body) for (body,) in db.execute("SELECT body FROM sessions")]
        return {one.session: [item.text for item in one.items] for one in kept}


@asynccontextmanager
async def server_on_a_small_disk(mount: Path) -> AsyncIterator[Disk]:
    """Two megabytes for the sessions, the audit and the log."""
    namespaces = ["unshare", "--user", "--map-root-user", "--mount"]
    tried = subprocess.run([*namespaces, "true"], capture_output=True, text=True, check=False)  # noqa: ASYNC221
    if tried.returncode:
        why = f"a disk of one's own needs user namespaces: {tried.stderr.strip()}"
        # What the kernel lets nobody have here, no installation mends.
        pytest.skip(why) if re.search(REFUSED, tried.stderr) else left_out(why)
    environ = {
        **SCRIPTED, "ANTIPHON_DATA_DIR": str(mount), "ANTIPHON_AUDIT_MB": "1",
        "ANTIPHON_LOG_FORMAT": "json",
    }  # fmt: skip
    with subprocess.Popen(  # noqa: ASYNC220 - a moment's work
        [*namespaces, "sh", "-c", MOUNTED, mount],
        cwd=ROOT, env={**os.environ, **environ}, stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            line = await asyncio.to_thread(process.stdout.readline)
            assert b"ready" in line, line
            url = line.decode().split()[-1].rstrip("/").replace("localhost", "127.0.0.1")
            yield Disk(url, Path(f"/proc/{process.pid}/root{mount}"))
            process.send_signal(signal.SIGTERM)
            assert await asyncio.to_thread(process.wait, 30) == 0
        finally:
            process.kill()


async def asked(caller: Caller, text: str) -> dict[str, Any]:
    await caller.say("text", text=text)
    return await caller.play()


async def counted(http: httpx.AsyncClient, series: str) -> float:
    (value,) = re.findall(rf"^{re.escape(series)} (\S+)$", (await http.get("/metrics")).text, re.M)
    return float(value)


FAILED = 'antiphon_session_writes_total{result="failed"}'
LOST = 'antiphon_drops_total{queue="audit"}'


async def test_on_a_disk_that_is_full_sessions_go_on_and_when_it_is_not_all_is_kept_again(
    tmp_path: Path,
) -> None:
    (tmp_path / "disk").mkdir()
    async with (
        server_on_a_small_disk(tmp_path / "disk") as disk,
        httpx.AsyncClient(base_url=disk.url) as http,
    ):
        async with call(disk.ws_url, {"speed": 4.0, "instructions": "x" * 20_000}) as early:
            assert (await asked(early, "Before."))["saved"] is True
            token = early.of("welcome")[0]["resume"]
        async with call(disk.ws_url, {"speed": 4.0, "instructions": "y" * 20_000}) as caller:
            assert (await asked(caller, "One."))["saved"] is True
            assert (await counted(http, FAILED), await counted(http, LOST)) == (0, 0)

            disk.fill()
            for text in ("Two.", "Three."):
                done = await asked(caller, text)
                assert (done["status"], done["saved"]) == ("completed", False)
            (warning,) = caller.of("warning")
            assert "cannot be saved" in warning["message"]
            async with call(disk.ws_url, {"speed": 4.0}) as newcomer:
                assert (await asked(newcomer, "I am new."))["saved"] is False
                left = newcomer.of("welcome")[0]["session"]
            spoken = await http.post("/v1/audio/speech", json={"input": "Hello.", "stream": True})
            assert spoken.status_code == 200
            for _ in range(100):  # past the page of memory that each file has yet
                assert (await http.get(f"/{NOBODY}")).status_code == 404
            assert await counted(http, FAILED) > 0
            assert await counted(http, LOST) > 0
            async with call(disk.ws_url, {"resume": token}) as again:
                assert again.of("welcome")[0]["resumed"] is True
                assert again.of("welcome")[0]["history"][0]["text"] == "Before."
                assert (await asked(again, "While it is full."))["saved"] is False

            disk.clear()
            async with asyncio.timeout(30):
                while not (await asked(caller, "Four."))["saved"]:
                    await asyncio.sleep(0.5)
            here = caller.of("welcome")[0]["session"]
            before = again.of("welcome")[0]["session"]
            async with asyncio.timeout(30):  # what was parked meanwhile is tried again by itself
                for look in range(100):
                    said = disk.stored(tmp_path / f"copy-{look}")
                    if {left, before} <= said.keys() and "While it is full." in said[before]:
                        break
                    await asyncio.sleep(0.5)
            assert {"One.", "Two.", "Three.", "Four."} <= set(said[here])
            assert "I am new." in said[left]
            assert (await http.get("/after/all")).status_code == 404
        async with asyncio.timeout(10):
            while not any(one.get("route") == "/after/all" for one in disk.lines("audit-*")):
                await asyncio.sleep(0.05)
            while "store_well_again" not in [one["event"] for one in disk.lines("log", torn=2)]:
                await asyncio.sleep(0.05)
