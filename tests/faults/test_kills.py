"""A server that is killed in the middle of a reply, and one that is told to stop under load."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import websockets

from tests.contract.chat_backend import chat_backend, head, reply, sends
from tests.faults.trial import trial
from tests.support import ROOT, SCRIPTED, Caller, call, murmur, silence

CYCLES = 20
TALKERS = 50


@dataclass
class Mortal:
    """A server process that may be killed."""

    url: str
    process: subprocess.Popen[bytes]

    @property
    def ws_url(self) -> str:
        return self.url.replace("http", "ws", 1) + "/ws"

    async def kill(self) -> None:
        self.process.kill()
        await asyncio.to_thread(self.process.wait)


@asynccontextmanager
async def mortal(data: Path, **environ: str) -> AsyncIterator[Mortal]:
    with subprocess.Popen(  # noqa: ASYNC220 - a moment's work
        [sys.executable, "-m", "server", "serve", "--host", "127.0.0.1", "--port", "0"],
        cwd=ROOT,
        env={
            **os.environ, **SCRIPTED, "ANTIPHON_LOG_LEVEL": "error",
            "ANTIPHON_DATA_DIR": str(data), **environ,
        },
        stdout=subprocess.PIPE,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            line = await asyncio.to_thread(process.stdout.readline)
            assert b"ready" in line, line
            url = line.decode().split()[-1].rstrip("/").replace("localhost", "127.0.0.1")
            yield Mortal(url, process)
        finally:
            process.kill()


def finished(cycle: int) -> str:
    return f"It was heard in cycle {cycle}."


def cut(cycle: int) -> str:
    return f"Reply {cycle} goes on and on. " + "It never comes to its end. " * 20


def history_is_right(said: list[tuple[str, str]], cycles: int) -> list[str]:
    """What was said in all cycles, as (who, text): each finished reply is whole, of each that the
    kill cut there is what was heard and no more. What there is of those."""
    heard = []
    for cycle in range(cycles):
        at = said.index(("user", f"Finish {cycle}."))
        assert said[at + 1] == ("assistant", finished(cycle))
        assert said[at + 2] == ("user", f"Cut {cycle}.")
        who, text = said[at + 3] if at + 3 < len(said) else ("user", "")
        heard.append(text if who == "assistant" else "")
        assert cut(cycle).startswith(heard[-1])
        assert len(heard[-1]) < len(cut(cycle)) / 2
    return heard


@pytest.mark.timeout(300)
async def test_a_server_killed_in_mid_reply_forgets_no_finished_turn(tmp_path: Path) -> None:
    async with chat_backend() as backend:
        llm = {"ANTIPHON_LLM_ENGINE": "openai", "ANTIPHON_LLM_BASE_URL": backend.url}
        token: str | None = None
        heard: list[str] = []
        for cycle in range(CYCLES):
            async with mortal(tmp_path, ANTIPHON_HISTORY_TOKENS="10000", **llm) as server:
                hello = {} if token is None else {"resume": token}
                async with call(server.ws_url, hello) as caller:
                    there = caller.of("welcome")[0]
                    assert there["resumed"] is (cycle > 0)
                    token = there["resume"]
                    shown = [(one["role"], one["text"]) for one in there.get("history", ())]
                    backend.answer = sends(head(), reply(finished(cycle)))
                    await caller.say("text", text=f"Finish {cycle}.")
                    done = await caller.play()
                    assert (done["saved"], done["heard"]) == (True, finished(cycle))
                    told = [(m["role"], m["content"]) for m in backend.requests[-1]["messages"]]
                    assert history_is_right(told, cycle) == history_is_right(shown, cycle)
                    now = history_is_right(told, cycle)
                    assert now[: len(heard)] == heard  # and stays as it was
                    heard = now
                    backend.answer = sends(head(), reply(cut(cycle)))
                    await caller.say("text", text=f"Cut {cycle}.")
                    await caller.until("reply_text")
                    while len(caller.audio.get(done["reply"] + 1, b"")) < 4_800:
                        await caller.next()
                    await caller.say("playback", reply=done["reply"] + 1, played_ms=100)
                    await server.kill()


async def test_what_was_heard_of_the_cut_reply_is_known_to_two_seconds(tmp_path: Path) -> None:
    words = "This is a long reply that takes its time, and says one thing after the other. " * 4
    async with chat_backend() as backend:
        backend.answer = sends(head(), reply(words))
        llm = {"ANTIPHON_LLM_ENGINE": "openai", "ANTIPHON_LLM_BASE_URL": backend.url}
        async with mortal(tmp_path, **llm) as server, call(server.ws_url, {}) as caller:
            token = caller.of("welcome")[0]["resume"]
            await caller.say("text", text="Talk to me.")
            await caller.until("reply_started")
            began, played_ms = time.monotonic(), 0
            while played_ms < 5_000:
                await caller.next()
                now_ms = round((time.monotonic() - began) * 1_000)
                if now_ms > played_ms + 250:
                    played_ms = now_ms
                    await caller.say("playback", reply=1, played_ms=played_ms)
            await server.kill()
        async with mortal(tmp_path, **llm) as server, call(server.ws_url, {"resume": token}) as c:
            *_, cut = c.of("welcome")[0]["history"]
    assert cut["status"] == "interrupted"
    assert cut["text"]
    assert words.startswith(cut["text"])
    assert len(cut["text"]) < len(words)


async def listening_on(caller: Caller) -> None:
    """The microphone stays open, in a quiet room, until the server closes."""
    with contextlib.suppress(websockets.ConnectionClosed):
        while True:
            await caller.socket.send(silence(0.1))
            await asyncio.sleep(0.1)


async def test_a_drain_cuts_none_of_fifty_who_talk(tmp_path: Path) -> None:
    environ = {
        "ANTIPHON_MAX_SESSIONS": str(TALKERS), "ANTIPHON_DRAIN_S": "120",
        "ANTIPHON_POOL_WAIT_S": "120", "ANTIPHON_ENGINE_HANG_S": "120",
    }  # fmt: skip
    async with mortal(tmp_path, **environ) as server, contextlib.AsyncExitStack() as stack:
        callers = [await stack.enter_async_context(call(server.ws_url, {})) for _ in range(TALKERS)]
        tasks = await stack.enter_async_context(asyncio.TaskGroup())
        for number, caller in enumerate(callers):
            if number % 2:
                await caller.speak(murmur(0.8))
                tasks.create_task(listening_on(caller))
            else:
                await caller.say("text", text="Talk to me.")
        await asyncio.gather(*(caller.until("reply_text", 60) for caller in callers))
        server.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*(caller.until("going_away", 60) for caller in callers))
        async with httpx.AsyncClient() as http:
            ready = await http.get(f"{server.url}/readyz")
        assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        dones = await asyncio.gather(*(caller.play(90) for caller in callers))
        assert {(done["status"], done["saved"]) for done in dones} == {("completed", True)}
        assert set(await asyncio.gather(*(caller.closed(60) for caller in callers))) == {1012}
        hints = {caller.of("going_away")[0]["reconnect_in_ms"] for caller in callers}
        assert len(hints) > TALKERS // 2  # not all at the same moment
        assert await asyncio.to_thread(server.process.wait, 30) == 0
        tokens = [caller.of("welcome")[0]["resume"] for caller in callers]
    async with mortal(tmp_path, **environ) as server:
        async with httpx.AsyncClient() as http:
            status = (await http.get(f"{server.url}/status")).json()
        assert status["sessions"]["parked"] == TALKERS
        async with call(server.ws_url, {"resume": tokens[7]}) as caller:
            assert len(caller.of("welcome")[0]["history"]) == 2


async def test_on_a_full_disk_the_session_goes_on(tmp_path: Path) -> None:
    async with trial(ANTIPHON_DATA_DIR=str(tmp_path), ANTIPHON_STORE_MB="1") as server:
        assert server.bystander is not None
        server.bystander.bears.add("INTERNAL")  # what it says cannot be saved either
        keeping = server.house.keeping
        assert keeping is not None
        await asyncio.get_running_loop().run_in_executor(
            keeping._store._thread,  # type: ignore[attr-defined]
            lambda: keeping._store._db.execute("PRAGMA max_page_count = 1"),  # type: ignore[attr-defined]
        )
        instructions = "Be kind. " * 5_000  # more than the pages there are
        async with call(server.ws_url, {"instructions": instructions}) as caller:
            await caller.say("text", text="Hello.")
            done = await caller.play()
            assert (done["status"], done["saved"]) == ("completed", False)
            token = caller.of("welcome")[0]["resume"]
        async with call(server.ws_url, {"resume": token}) as caller:  # out of memory
            assert caller.of("welcome")[0]["resumed"] is True
            assert len(caller.of("welcome")[0]["history"]) == 2
