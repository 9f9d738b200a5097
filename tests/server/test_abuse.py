"""What a client must not be able to do to the others, or to the house."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import sys
from collections.abc import Iterator

import httpx
import pytest
import structlog
import websockets

from pipeline.engines.ports import SpeechWindow, Stop, Transcript
from pipeline.engines.scripted import ScriptedSynthesizer, ScriptedTranscriber
from pipeline.errors import GoingAway
from server import lobby, logs, talk
from server.peer import MESSAGE_BYTES
from server.serve import bound, serve
from server.settings import load
from session import limits
from tests.faults.raw import BINARY, CONTINUATION, TEXT, frame, raw
from tests.support import SCRIPTED, LiveServer, call, live_server, murmur, silence


async def empty(server: LiveServer, within_s: float) -> None:
    async with asyncio.timeout(within_s):
        while len(server.house.sessions):
            await asyncio.sleep(0.01)


async def test_a_client_that_never_reads_is_cut_and_its_place_is_free(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(talk, "STUCK_S", 1.0)
    plenty = {"ANTIPHON_CHARACTERS_PER_MINUTE": "100000000", "ANTIPHON_TURNS_PER_MINUTE": "10000"}
    async with live_server(**plenty) as server, call(server.ws_url, {}) as caller:
        with contextlib.suppress(websockets.ConnectionClosed):
            for number in range(180):  # every one is told back, and none is read
                await caller.say("text", text="x" * 90_000, id=str(number % 60))
                await asyncio.sleep(0.02)
        await empty(server, 5.0)
        await caller.socket.wait_closed()


async def test_a_client_that_says_nothing_does_not_keep_its_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(lobby, "HELLO_S", 0.1)
    async with live_server(ANTIPHON_MAX_SESSIONS="1") as server:
        async with call(server.ws_url) as silent:
            assert await silent.closed() == 1000
        async with call(server.ws_url, {}):
            pass


async def test_a_refused_message_of_many_kilobytes_is_not_looked_at_twice() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.socket.send('{"id":"x","a":[' + "[]," * 80_000 + "[]]}")
        error = await caller.until("error")
        assert error["code"] == "BAD_MESSAGE"
        assert "ref" not in error


ENDLESS = bytes([0x82, 0xFF]) + (16 * 1024 * 1024).to_bytes(8, "big") + bytes(4)
"""The head of a frame of 16 MiB, of which nothing more comes."""


@pytest.mark.parametrize("greets", [False, True])
@pytest.mark.parametrize("places", [1, 2])
async def test_what_comes_of_a_message_too_long_is_not_kept(greets: bool, places: int) -> None:
    """Whoever has a place, waits for one, or has not said hello yet."""
    async with (
        live_server(ANTIPHON_MAX_SESSIONS=str(places)) as server,
        call(server.ws_url, {}),
        raw(server.port) as greedy,
    ):
        await greedy.upgrade()
        if greets:
            await greedy.send(frame(TEXT, b'{"type":"hello"}'))
            await greedy.until(b"welcome" if places == 2 else b"waiting")
        await greedy.send(ENDLESS)
        assert await greedy.close_code() == 1009


async def test_pieces_of_a_message_are_kept_up_to_its_bound_and_no_further() -> None:
    async with live_server() as server, raw(server.port) as greedy:
        await greedy.hello()
        await greedy.send(frame(BINARY, bytes(MESSAGE_BYTES // 2), fin=False))
        await greedy.send(frame(CONTINUATION, bytes(MESSAGE_BYTES // 2), fin=False))
        await greedy.send(frame(CONTINUATION, b"x", fin=False))
        assert await greedy.close_code() == 1009


async def test_a_playback_beyond_all_measure_is_a_mistake_and_no_more() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.say("text", text="talk to me")
        await caller.until("reply_started")
        await caller.say("playback", reply=1, played_ms=1e306)
        assert (await caller.until("error"))["code"] == "BAD_MESSAGE"
        assert (await caller.play())["status"] == "completed"


async def test_a_flood_of_tiny_frames_closes() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        with contextlib.suppress(websockets.ConnectionClosed):
            for _ in range(round(limits.FRAMES_PER_S * limits.MESSAGES_WINDOW_S) + 500):
                await caller.socket.send(b"\x00\x00")
        await caller.closed()
        assert caller.socket.close_code == 1008


async def test_a_stream_of_odd_frames_is_told_now_and_then() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        for _ in range(200):
            await caller.socket.send(b"\x00")
        await caller.say("bye")
        assert await caller.closed() == 1000
        assert 1 <= len(caller.of("error")) <= 20


async def test_nothing_of_a_minute_sent_at_once_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[int] = []

    async def transcribe(_: object, window: SpeechWindow, stop: Stop) -> Transcript:
        heard.append(len(window.audio))
        return Transcript("words", "en")

    monkeypatch.setattr(ScriptedTranscriber, "transcribe", transcribe)
    async with (
        live_server() as server,
        call(server.ws_url, {"turn_detection": "manual"}) as caller,
    ):
        await caller.speak(murmur(58.0))
        await caller.say("commit")
        assert (await caller.until("transcript", final=True))["text"] == "words words words"
        assert sum(heard) == 58 * 16_000


async def test_three_commits_at_once_are_three_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[float] = []

    async def transcribe(_: object, window: SpeechWindow, stop: Stop) -> Transcript:
        heard.append(len(window.audio) / 16_000)
        return Transcript("words", "en")

    monkeypatch.setattr(ScriptedTranscriber, "transcribe", transcribe)
    async with (
        live_server() as server,
        call(server.ws_url, {"turn_detection": "manual"}) as caller,
    ):
        for seconds in (2.0, 3.0, 4.0):
            await caller.speak(murmur(seconds))
            await caller.say("commit")
        await caller.until("transcript", final=True, turn=3)
        assert heard == [2.0, 3.0, 4.0]


async def test_from_manual_to_auto_is_no_debt() -> None:
    async with (
        live_server() as server,
        call(server.ws_url, {"turn_detection": "manual"}) as caller,
    ):
        await caller.speak(silence(50.0), frame_bytes=32_000)
        await caller.say("configure", turn_detection="auto")
        await caller.until("configured")
        for _ in range(50):
            await caller.speak(silence(0.02))
            await asyncio.sleep(0.02)
        assert len(caller.of("warning")) <= 1


async def test_two_texts_at_once_are_told_in_order() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        for text in ("one", "two", "three"):
            await caller.say("text", text=text)
        await caller.until("reply_started", reply=3)
        of_replies = [m for m in caller.messages if m.get("reply")]
        seen: set[int] = set()
        for message in of_replies:
            assert message["type"] == "reply_started" or message["reply"] in seen
            seen.add(message["reply"])


async def test_bye_during_a_reply_ends_it_first() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.say("text", text="talk to me")
        await caller.until("reply_text")
        await caller.say("bye")
        assert await caller.closed() == 1000
        assert [done["status"] for done in caller.of("reply_done")] == ["interrupted"]


async def test_a_hello_that_comes_while_draining_is_refused() -> None:
    async with live_server() as server, call(server.ws_url) as late:
        await asyncio.sleep(0.05)
        server.house.stage = "draining"
        await late.say("hello")
        assert await late.closed() == 1012


async def test_an_origin_that_is_none_is_refused() -> None:
    async with live_server() as server:
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(server.ws_url, origin="http://[")  # type: ignore[arg-type]
        assert refused.value.response.status_code == 403


async def test_our_own_fault_carries_the_requests_id(monkeypatch: pytest.MonkeyPatch) -> None:
    async with live_server() as server, httpx.AsyncClient(base_url=server.url) as http:
        monkeypatch.setattr(server.house.pool, "status", lambda: 1 / 0)
        broken = await http.get("/status", headers={"x-request-id": "mine"})
        assert broken.status_code == 500
        assert broken.headers["x-request-id"] == broken.json()["request_id"] == "mine"
        assert "division" not in broken.text


async def test_a_server_told_to_stop_while_it_loads_ends_quietly(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    never = asyncio.Event()
    monkeypatch.setattr(ScriptedSynthesizer, "start", lambda self: never.wait())
    with bound("127.0.0.1", 0) as listener:
        listener.listen()
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        task = asyncio.ensure_future(serve(load(SCRIPTED, env_file=None), listener))
        async with httpx.AsyncClient(base_url=url) as http:
            assert (await http.get("/readyz")).json()["status"] == "loading"
            os.kill(os.getpid(), signal.SIGTERM)
            with contextlib.suppress(httpx.HTTPError):  # it may have stopped answering already
                while (await http.get("/readyz")).json()["status"] == "loading":
                    await asyncio.sleep(0.01)
        with pytest.raises(GoingAway):  # `antiphon serve` takes it for a good end
            await asyncio.wait_for(task, 20)
    assert "Antiphon is ready" not in capsys.readouterr().out


@pytest.fixture
def _own_logging() -> Iterator[None]:
    import logging

    before, level = logging.getLogger().handlers, logging.getLogger().level
    yield
    logging.getLogger().handlers = before
    logging.getLogger().setLevel(level)
    structlog.reset_defaults()


@pytest.mark.usefixtures("_own_logging")
@pytest.mark.parametrize("style", ["console", "json"])
def test_what_people_say_is_not_in_a_traceback(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.StringIO()
    monkeypatch.setattr(sys, "stderr", written)
    logs.configure("info", style)  # type: ignore[arg-type]
    said = "a secret " + "diagnosis"
    try:
        raise RuntimeError("broken")
    except RuntimeError:
        structlog.get_logger("test").exception("it_broke")
    assert "RuntimeError: broken" in written.getvalue()
    assert said not in written.getvalue()
