"""Sessions that rest, that are stuck, and whose peer is gone: found and ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from dataclasses import replace

import pytest
from uvicorn.config import Config
from uvicorn.server import ServerState
from websockets.protocol import State

from pipeline.engines.ports import Float32, Prompt, SpeechRequest, SpeechWindow, Stop, TextDelta
from pipeline.engines.scripted import (
    ScriptedLanguageModel,
    ScriptedSynthesizer,
    ScriptedTranscriber,
)
from server import peer, voice_socket
from server.configs import session_config
from server.peer import PeerProtocol
from server.settings import Settings
from session.records import SessionConfig
from tests.support import call, live_server, murmur, silence


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.005)


def impatient(monkeypatch: pytest.MonkeyPatch, **changes: float) -> None:
    """Sessions whose patience is shorter than the settings would allow."""

    def hurried(settings: Settings) -> SessionConfig:
        return replace(session_config(settings), **changes)  # type: ignore[arg-type]

    monkeypatch.setattr(voice_socket, "session_config", hurried)


async def hang(stop: Stop) -> None:
    while not stop.is_set:
        await asyncio.sleep(0.01)


async def test_a_session_in_which_nothing_happens_is_ended(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    impatient(monkeypatch, idle_s=0.3)
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.speak(silence(0.1))  # frames are no conversation
        assert await caller.closed() == 1000
        assert caller.socket.close_reason == "idle"
        await until(lambda: not len(server.house.sessions))


async def test_whoever_listens_to_a_reply_is_not_idle(monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch, idle_s=0.5)
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.say("text", text="hello")
        done = await caller.until("reply_done")  # some three seconds of playback, estimated
        assert done["status"] == "completed"
        assert await caller.closed() == 1000


async def test_a_reply_that_gets_nowhere_is_given_up_and_the_session_goes_on(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def silent(_: object, request: SpeechRequest, stop: Stop) -> AsyncIterator[Float32]:
        await hang(stop)
        return
        yield

    voice = ScriptedSynthesizer.synthesize
    impatient(monkeypatch, stuck_s=0.3)
    monkeypatch.setattr(ScriptedSynthesizer, "synthesize", silent)
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.say("text", text="hello")
        error = await caller.until("error")
        assert (error["code"], error["turn"], error["reply"]) == ("TIMEOUT", 1, 1)
        assert (await caller.until("reply_done"))["status"] == "cancelled"
        (session,) = server.house.sessions
        assert not any(server.house.sessions.claims(session.identity.session).values())
        monkeypatch.setattr(ScriptedSynthesizer, "synthesize", voice)
        await caller.say("text", text="and now?")
        assert (await caller.play())["status"] == "completed"


async def test_a_committed_turn_without_an_answer_is_given_up_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def speechless(_: object, prompt: Prompt, stop: Stop) -> AsyncIterator[TextDelta]:
        await hang(stop)
        return
        yield

    impatient(monkeypatch, stuck_s=0.3)
    monkeypatch.setattr(ScriptedLanguageModel, "generate", speechless)
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.speak(murmur(1.0) + silence(1.5))
        assert (await caller.until("error"))["code"] == "TIMEOUT"
        done = await caller.until("reply_done")
        assert (done["turn"], done["status"]) == (1, "cancelled")
        assert len(caller.of("transcript")) >= 1


async def test_a_client_that_never_plays_does_not_keep_its_reply_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    impatient(monkeypatch, stuck_s=0.6)
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.say("text", text="hello")
        await caller.until("reply_started")
        async with asyncio.TaskGroup() as tasks:

            async def report() -> None:
                while True:
                    await caller.say("playback", reply=1, played_ms=0)
                    await asyncio.sleep(0.1)

            reporting = tasks.create_task(report())
            done = await caller.until("reply_done")
            reporting.cancel()
        assert (done["status"], done["heard"]) == ("cancelled", "")


async def test_a_turn_whose_words_never_come_ends_its_session(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def deaf(_: object, window: SpeechWindow, stop: Stop) -> None:
        await hang(stop)

    impatient(monkeypatch, stuck_s=0.3)
    monkeypatch.setattr(ScriptedTranscriber, "transcribe", deaf)
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.speak(murmur(1.0) + silence(1.0))
        assert await caller.closed() == 1011
        await until(lambda: not len(server.house.sessions))


# --- half-open peers ------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["in a conversation", "in the waiting room"])
async def test_a_peer_that_answers_no_ping_is_found_and_its_place_is_free(
    monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(peer, "PING_EVERY_S", 0.2)
    monkeypatch.setattr(peer, "PONG_WITHIN_S", 0.4)
    async with (
        live_server(ANTIPHON_MAX_SESSIONS="1", ANTIPHON_WAITING_ROOM="1") as server,
        call(server.ws_url, {}) as first,
        call(server.ws_url) as second,
    ):
        await second.say("hello")
        await second.until("waiting")
        gone, here = (first, second) if where == "in a conversation" else (second, first)
        gone.socket.transport.pause_reading()
        await until(lambda: server.house.sessions.admission.waiting == 0)
        if here is second:
            await second.until("welcome")
        else:
            await first.say("text", text="still here?")
            assert (await first.play())["status"] == "completed"
        assert len(server.house.sessions) == 1
        gone.socket.transport.abort()
        with contextlib.suppress(Exception):
            await gone.closed()


class Wire:
    """A transport whose peer reads nothing."""

    def __init__(self, unread: int) -> None:
        self.unread = unread
        self.calls: list[str] = []

    def write(self, data: bytes) -> None:
        pass

    def get_write_buffer_size(self) -> int:
        return self.unread

    def is_closing(self) -> bool:
        return "close" in self.calls

    def close(self) -> None:
        self.calls.append("close")

    def abort(self) -> None:
        self.calls.append("abort")


@pytest.mark.parametrize(("unread", "calls"), [(0, ["close"]), (10_000, ["close", "abort"])])
async def test_what_a_dead_peer_did_not_read_does_not_keep_its_connection(
    unread: int, calls: list[str]
) -> None:
    config = Config(app="", log_config=None, interface="asgi3")
    config.loaded, config.loaded_app = True, None
    protocol = PeerProtocol(config, ServerState(), {})
    protocol.transport = wire = Wire(unread)  # type: ignore[assignment]
    protocol.conn.state = State.OPEN
    protocol.keepalive_timeout()
    assert wire.calls == calls


async def test_a_peer_that_does_not_answer_a_close_is_cut_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut: list[PeerProtocol] = []
    abort = PeerProtocol.abort
    monkeypatch.setattr(PeerProtocol, "abort", lambda self: (cut.append(self), abort(self)))
    begin = PeerProtocol.__init__

    def hurried(self: PeerProtocol, *args: object, **options: object) -> None:
        begin(self, *args, **options)  # type: ignore[arg-type]
        self.close_timeout = 0.1

    monkeypatch.setattr(PeerProtocol, "__init__", hurried)
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.say("bye")
        caller.socket.transport.pause_reading()
        await until(lambda: bool(cut))
        caller.socket.transport.abort()
