"""Faults of the process and its machine: signals, descriptors, disks, clocks, a blocked loop."""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO

import httpx
import pytest
import websockets

from benchmarks.held import Held
from pipeline.config import ScriptConfig
from tests.faults.baseline import settled
from tests.faults.bystander import Bystander, bystander
from tests.faults.raw import raw
from tests.faults.trial import VICTIM, trial
from tests.support import ROOT, SCRIPTED, call, murmur, silence

FULL_DISK = Path("/dev/full")
UNHEARD = ("never retrieved", "was destroyed but it is pending")
"""What asyncio says, at whatever level, of an error that nobody looked at, and of a task left."""


@dataclass
class Process:
    """A server in a process of its own."""

    port: int
    running: subprocess.Popen[bytes]
    told_to_stop: bool = False

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def terminate(self) -> None:
        """SIGTERM."""
        self.told_to_stop = True
        self.running.send_signal(signal.SIGTERM)

    async def left(self) -> str:
        """What `/status` still shows of anybody; "" when it is at rest."""
        async with httpx.AsyncClient() as http:
            status = (await http.get(f"http://127.0.0.1:{self.port}/status")).json()
        counts = {
            f"{kind} {what}": state[what]
            for kind, state in status["pool"].items()
            for what in ("claimed", "busy", "stopping", "waiting")
        }
        counts["sessions"] = status["sessions"]["active"]
        return "; ".join(f"{count} {what}" for what, count in counts.items() if count)


@asynccontextmanager
async def process(stderr: IO[bytes] | None = None, **environ: str) -> AsyncIterator[Process]:
    """`antiphon serve`; when the block ends it is at rest, with the descriptors it began with
    and the threads that its first guest left, unless it was told to stop; and it ends with 0.
    Its log, unless it goes to `stderr`, tells of no fault of ours."""
    with subprocess.Popen(  # noqa: ASYNC220 - a moment's work
        [sys.executable, "-m", "server", "serve", "--host", "127.0.0.1", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, **SCRIPTED, "ANTIPHON_LOG_FORMAT": "json", **environ},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if stderr is None else stderr,  # not a file: those can be full
    ) as server:
        logged = asyncio.ensure_future(asyncio.to_thread(read_all, server.stderr))
        try:
            assert server.stdout is not None
            line = await asyncio.to_thread(server.stdout.readline)
            assert b"ready" in line, line
            there = Process(int(line.rstrip(b"/\n").rpartition(b":")[2]), server)
            fds = Held.of(server.pid).fds
            await spoken_to(there)  # what is made at first use is made now: threads
            before = replace(Held.of(server.pid), fds=fds)
            yield there
            if not there.told_to_stop:
                await at_rest(there, before)
                there.terminate()
            assert await asyncio.to_thread(server.wait, 30) == 0
            assert not (wrong := wrong_in(await logged)), wrong
        finally:
            server.kill()
            await logged


def read_all(log: IO[bytes] | None) -> bytes:
    return b"" if log is None else log.read()


def wrong_in(log: bytes) -> list[str]:
    """The lines of a log that tell of a fault of ours."""
    return [line for line in log.decode().splitlines() if is_wrong(line)]


def is_wrong(line: str) -> bool:
    if any(words in line for words in UNHEARD):
        return True
    try:
        entry = json.loads(line)
    except ValueError:
        return True  # a traceback past the log
    # A process that is stopped, or has no core for a second, finds its loop blocked.
    return entry["level"] in ("error", "critical") and entry["event"] != "event_loop_blocked"


def a_bystander(server: Process) -> AbstractAsyncContextManager[Bystander]:
    """A bystander of a server that keeps to the scripted engines' own words."""
    script = ScriptConfig()
    return bystander(server.ws_url, heard=script.stt_text, answer=script.llm_text, speed=4.0)


async def at_rest(server: Process, before: Held) -> None:
    """The process holds what it held before."""
    async with asyncio.timeout(15):
        while await server.left():
            await asyncio.sleep(0.05)

    def more() -> str:
        now = Held.of(server.running.pid)
        return "; ".join(
            f"{getattr(now, what)} {what}, {getattr(before, what)} before"
            for what in ("threads", "children", "fds")
            if getattr(now, what) > getattr(before, what)
        )

    await settled(more)


async def spoken_to(server: Process) -> None:
    """Every engine is used once."""
    async with call(server.ws_url, {"voice": VICTIM, "speed": 4.0}) as guest:
        await guest.speak(murmur(0.3) + silence(1.5))
        assert (await guest.play())["status"] == "completed"
    async with asyncio.timeout(15):
        while await server.left():
            await asyncio.sleep(0.05)


async def served(server: Process) -> None:
    """Whoever comes is answered."""
    async with call(server.ws_url, {"voice": VICTIM, "speed": 4.0}) as newcomer:
        await newcomer.speak(silence(0.1))
        await newcomer.say("text", text="hello")
        assert (await newcomer.play())["status"] == "completed"
        await newcomer.say("bye")
        assert await newcomer.closed() == 1000


# --- signals --------------------------------------------------------------------------------------


async def test_sigterm_in_the_middle_of_replies_lets_them_end() -> None:
    async with (
        process() as server,
        call(server.ws_url, {}) as talking,
        call(server.ws_url, {}) as idle,
    ):
        await talking.say("text", text="talk to me")
        await talking.until("reply_text")
        server.terminate()
        await idle.until("going_away")
        assert await idle.closed() == 1012
        async with call(server.ws_url) as late:
            assert await late.closed() == 1012
        assert (await talking.play())["status"] == "completed"
        assert await talking.closed() == 1012


async def test_a_second_sigterm_does_not_wait() -> None:
    async with process(ANTIPHON_DRAIN_S="600") as server, call(server.ws_url, {}) as talking:
        await talking.say("configure", speed=0.25)
        await talking.say("text", text="talk to me for half a minute")
        await talking.until("reply_text")
        server.terminate()
        await talking.until("going_away")
        server.terminate()
        await talking.closed()
        assert await asyncio.to_thread(server.running.wait, 15) == 0
        assert not [done for done in talking.of("reply_done") if done["status"] == "completed"]


async def test_sigterm_in_a_storm_of_newcomers_ends_with_0() -> None:
    async def come(url: str) -> None:
        try:
            async with asyncio.timeout(15), call(url, {}, open_timeout=5) as caller:
                await caller.say("text", text="hello")
                await caller.closed(within_s=15)
        except (OSError, websockets.WebSocketException, TimeoutError):
            pass

    async with process(ANTIPHON_DRAIN_S="0.5") as server, asyncio.TaskGroup() as storm:
        for number in range(60):
            storm.create_task(come(server.ws_url))
            await asyncio.sleep(0.01)
            if number == 30:
                server.terminate()


async def test_a_broken_pipe_is_no_reason_to_die() -> None:
    async with process() as server, a_bystander(server):
        server.running.send_signal(signal.SIGPIPE)
        await served(server)


async def test_a_stopped_process_goes_on_where_it_was() -> None:
    async with process() as server, call(server.ws_url, {"speed": 4.0}) as caller:
        await caller.say("text", text="talk to me")
        await caller.until("reply_started")
        server.running.send_signal(signal.SIGSTOP)
        await asyncio.sleep(1.0)
        server.running.send_signal(signal.SIGCONT)
        assert (await caller.play())["status"] == "completed"


# --- what a machine runs out of -------------------------------------------------------------------


async def test_out_of_file_descriptors() -> None:
    async with process() as server:
        most = Held.of(server.running.pid).fds + 12
        async with a_bystander(server):
            resource.prlimit(server.running.pid, resource.RLIMIT_NOFILE, (most, most))
            crowd = [await asyncio.open_connection("127.0.0.1", server.port) for _ in range(40)]
            await asyncio.sleep(2.0)  # a turn or so in a process that can open nothing
            for _, writer in crowd:
                writer.transport.abort()
        await served(server)


@pytest.mark.skipif(not FULL_DISK.exists(), reason="a disk that is full is Linux's /dev/full")
async def test_a_full_disk_for_the_log() -> None:
    with FULL_DISK.open("wb", buffering=0) as full:  # noqa: ASYNC230 - no disk is behind it
        async with process(full, ANTIPHON_LOG_LEVEL="debug") as server, a_bystander(server):
            await served(server)


async def test_a_log_that_nobody_reads_any_more() -> None:
    reading, writing = os.pipe()
    with os.fdopen(writing, "wb") as pipe:
        async with process(pipe, ANTIPHON_LOG_LEVEL="debug") as server:
            os.close(reading)
            async with a_bystander(server):
                await served(server)


async def test_a_log_whose_reader_stops() -> None:
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4_096)  # a screenful
    with os.fdopen(reading, "rb"), os.fdopen(writing, "wb") as pipe:
        async with (
            process(pipe, ANTIPHON_LOG_LEVEL="debug") as server,
            a_bystander(server),
        ):
            await served(server)


async def test_a_full_disk_for_records(tmp_path: Path) -> None:
    async with process(ANTIPHON_RECORD_DIR=str(tmp_path)) as server:
        # As a full disk: every write past the first bytes fails.
        resource.prlimit(server.running.pid, resource.RLIMIT_FSIZE, (100, 100))
        async with a_bystander(server) as by, call(server.ws_url, {"speed": 4.0}) as caller:
            by.bears.add("INTERNAL")  # nor can what is said be saved
            for _ in range(2):
                await caller.say("text", text="words " * 2_000)
                assert (await caller.play())["status"] == "completed"
        await served(server)


# --- clocks, and the loop -------------------------------------------------------------------------


@pytest.mark.parametrize("by_s", [-3_600.0, 3_600.0], ids=["back", "forward"])
async def test_the_wall_clock_set_by_an_hour(monkeypatch: pytest.MonkeyPatch, by_s: float) -> None:
    async with trial() as house, house.call() as victim:
        await victim.say("text", text="talk to me")
        await victim.until("reply_started")
        right = time.time
        monkeypatch.setattr(time, "time", lambda: right() + by_s)
        assert (await victim.play())["status"] == "completed"
        await house.talked_to()


async def test_an_event_loop_that_is_blocked_for_a_moment() -> None:
    async with trial(ANTIPHON_SEND_AHEAD_MS="1000") as house, house.call() as victim:
        await victim.say("text", text="talk to me")
        await victim.until("reply_started")
        time.sleep(0.4)  # noqa: ASYNC251 - that is the fault
        assert (await victim.play())["status"] == "completed"


async def test_connections_that_never_say_what_they_want() -> None:
    async with trial() as house:
        for _ in range(30):
            async with raw(house.port) as silent:
                await silent.send(b"GET /ws HTTP/1.1\r\n")
        await house.talked_to()
