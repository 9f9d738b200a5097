"""How a server starts, says why it cannot, and stops."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import signal
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from server.house import House
from server.serve import bound, running
from server.settings import load
from session.keeping import Lease
from session.sqlite_store import FILE
from tests.support import ROOT, SCRIPTED, call, live_server, server_process


def serve(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "server", "serve", "--port", "0", *arguments],
        cwd=ROOT,
        env={**os.environ, "ANTIPHON_LOG_LEVEL": "warning", **SCRIPTED, **environ},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def one_line(result: subprocess.CompletedProcess[str]) -> str:
    assert result.returncode == 1
    assert len(result.stderr.strip().splitlines()) == 1, result.stderr
    return result.stderr


def test_a_port_in_use_is_said_in_one_line_with_the_mend() -> None:
    with bound("127.0.0.1", 0) as listener:
        listener.listen()
        port = str(listener.getsockname()[1])
        message = one_line(serve("--port", port))
    assert port in message
    assert "--port" in message


def test_a_missing_model_is_said_in_one_line_with_the_mend(tmp_path: Path) -> None:
    message = one_line(
        serve(ANTIPHON_STT_ENGINE="faster-whisper", ANTIPHON_MODELS_DIR=str(tmp_path))
    )
    assert "antiphon models pull" in message


def test_a_language_model_that_does_not_answer_is_said_in_one_line() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v1"
        message = one_line(serve(ANTIPHON_LLM_ENGINE="openai", ANTIPHON_LLM_BASE_URL=url))
    assert "ANTIPHON_LLM_BASE_URL" in message
    assert url in message


@pytest.mark.parametrize(
    "environ",
    [
        {"ANTIPHON_MAX_SESSIONS": "many"},
        {"ANTIPHON_NO_SUCH_THING": "1"},
        {"ANTIPHON_TTS_VOICE": "nobody"},
        {"ANTIPHON_LLM_ENGINE": "openai"},
    ],
)
def test_a_wrong_setting_is_said_in_one_line(environ: dict[str, str]) -> None:
    assert next(iter(environ)).removesuffix("ENGINE") in one_line(serve(**environ))


def test_sessions_of_a_newer_version_are_said_in_one_line_and_left_as_they_are(
    tmp_path: Path,
) -> None:
    with server_process(**SCRIPTED, ANTIPHON_DATA_DIR=str(tmp_path)):
        pass
    with closing(sqlite3.connect(tmp_path / FILE)) as db, db:
        db.execute("INSERT INTO migrations VALUES (99, 0)")
    before = (tmp_path / FILE).read_bytes()
    message = one_line(serve(ANTIPHON_DATA_DIR=str(tmp_path)))
    assert "ANTIPHON_DATA_DIR" in message
    assert "newer version" in message
    assert (tmp_path / FILE).read_bytes() == before


def test_a_server_told_to_stop_ends_with_0() -> None:
    with server_process(**SCRIPTED) as server:  # asserts the status at its end
        assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_a_second_signal_stops_at_once() -> None:
    with (
        server_process(**SCRIPTED, ANTIPHON_DRAIN_S="600") as server,
        connect(server.ws_url) as socket,
    ):
        socket.send('{"type":"hello"}')
        socket.send('{"type":"text","text":"a reply that takes seconds, please"}')
        heard: list[str | bytes] = []
        while '"going_away"' not in str(heard):
            heard.append(socket.recv(timeout=5))
            if '"reply_started"' in str(heard[-1]):
                os.kill(server.pid, signal.SIGINT)
        ended = os.pidfd_open(server.pid)
        os.kill(server.pid, signal.SIGINT)
        with contextlib.suppress(ConnectionClosed):
            while True:
                heard.append(socket.recv(timeout=5))
        assert '"completed"' not in str(heard)
        # 3 s, of which a busy machine may take a multiple; the drain would take 600.
        assert select.select([ended], [], [], 5 * 3.0)[0]
        os.close(ended)


async def test_draining_ends_idle_sessions_at_once_and_lets_a_reply_finish() -> None:
    async with (
        live_server() as server,
        call(server.ws_url, {}) as idle,
        call(server.ws_url, {}) as busy,
    ):
        await busy.say("text", text="talk to me")
        await busy.until("reply_text")
        os.kill(os.getpid(), signal.SIGTERM)
        assert (await idle.until("going_away"))["reconnect_in_ms"] >= 0
        assert await idle.closed() == 1012
        async with httpx.AsyncClient(base_url=server.url) as http:
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "draining")
        assert (await busy.play())["status"] == "completed"
        assert await busy.closed() == 1012


async def test_who_is_being_let_in_as_the_server_goes_is_told_as_all_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, answer = asyncio.Event(), asyncio.Event()
    async with live_server() as server, call(server.ws_url) as caller:
        keeping = server.house.keeping
        assert keeping is not None
        take = keeping.take

        async def slow(token: str, user: str | None) -> Lease | None:
            asked.set()
            await answer.wait()
            return await take(token, user)

        monkeypatch.setattr(keeping, "take", slow)
        await caller.say("hello", resume="no token of ours")
        await asked.wait()
        os.kill(os.getpid(), signal.SIGTERM)
        while server.house.sessions.going_away is None:
            await asyncio.sleep(0.01)
        answer.set()
        assert await caller.closed() == 1012
        assert (len(caller.of("welcome")), len(caller.of("going_away"))) == (1, 1)


async def test_a_reply_that_outlasts_the_drain_is_cut_at_what_was_heard() -> None:
    async with (
        live_server(ANTIPHON_DRAIN_S="0.2") as server,
        call(server.ws_url, {}) as busy,
    ):
        await busy.say("text", text="talk to me")
        await busy.until("reply_text")
        os.kill(os.getpid(), signal.SIGTERM)
        assert (await busy.until("reply_done"))["status"] == "interrupted"
        assert await busy.closed() == 1012


async def test_a_server_that_loads_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    from pipeline.engines.scripted import ScriptedSynthesizer

    slow = asyncio.Event()
    monkeypatch.setattr(ScriptedSynthesizer, "start", lambda self: slow.wait())
    with bound("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"

        async def serve_it() -> None:
            async with running(load(SCRIPTED, env_file=None), listener):
                pass

        task = asyncio.ensure_future(serve_it())
        async with httpx.AsyncClient(base_url=url) as http:
            listener.listen()
            ready = await http.get("/readyz")
            assert (ready.status_code, ready.json()["status"]) == (503, "loading")
            assert (await http.get("/healthz")).status_code == 200
            async with call(url.replace("http", "ws") + "/ws") as caller:
                assert (await caller.until("error"))["code"] == "AT_CAPACITY"
                assert await caller.closed() == 1013
        slow.set()
        await task


def test_a_server_told_to_stop_while_it_loads_leaves_that_and_ends_with_0(tmp_path: Path) -> None:
    with bound("127.0.0.1", 0) as free:
        port = free.getsockname()[1]
    with socket.socket() as mute:  # a language model's server that takes connections, no more
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        mute.settimeout(60)
        environ = {
            "ANTIPHON_DATA_DIR": str(tmp_path),
            "ANTIPHON_LLM_ENGINE": "openai",
            "ANTIPHON_LLM_BASE_URL": f"http://127.0.0.1:{mute.getsockname()[1]}/v1",
            "ANTIPHON_LLM_FIRST_TOKEN_S": "300",
        }
        with subprocess.Popen(
            [sys.executable, "-m", "server", "serve", "--port", str(port)],
            cwd=ROOT, env={**os.environ, **SCRIPTED, **environ}, stdout=subprocess.PIPE,
        ) as process:  # fmt: skip
            try:
                asked, _ = mute.accept()  # it loads
                with asked:
                    ready = httpx.get(f"http://127.0.0.1:{port}/readyz")
                    assert (ready.status_code, ready.json()["status"]) == (503, "loading")
                    process.send_signal(signal.SIGTERM)
                    printed, _ = process.communicate(timeout=60)
            finally:
                process.kill()
    assert process.returncode == 0
    assert b"is ready" not in printed


async def test_a_server_whose_drain_fails_stops_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def failing(house: House) -> None:
        raise RuntimeError("nobody thought of this")

    monkeypatch.setattr("server.serve.drain", failing)
    with bound("127.0.0.1", 0) as listener:
        async with running(load(SCRIPTED, env_file=None), listener) as (_, stopped):
            os.kill(os.getpid(), signal.SIGTERM)
            async with asyncio.timeout(20):
                await stopped
