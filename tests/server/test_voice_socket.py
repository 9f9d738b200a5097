"""The native WebSocket, end to end on scripted engines: what a client may do, and what follows."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import threading
from pathlib import Path

import httpx
import pytest
import structlog
import websockets

from pipeline import assistant, ends, user
from pipeline.events import UserTranscript
from pipeline.kinds import STT
from pipeline.scheduling import Purpose
from pipeline.user import User
from server import doorstep, lobby, outbox, peer
from server.sound import ReplyFrames
from server.voice_socket import NativeTalk
from session import limits
from session.catalogue import Catalogue
from session.inbox import Inbox
from session.messages import Event
from session.records import SessionConfig
from tests.support import call, live_server, murmur, silence

PROTOCOL = Path(__file__).parents[2] / "docs" / "protocol.md"


async def test_a_typed_turn_is_answered_in_text_and_audio() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.say("text", text="hello", id="a")
        transcript = await caller.until("transcript")
        assert transcript == {
            "type": "transcript", "turn": 1, "text": "hello", "final": True, "ref": "a",
        }  # fmt: skip
        done = await caller.play()
        assert done["status"] == "completed"
        assert done["text"] == done["heard"] == "".join(m["text"] for m in caller.of("reply_text"))
        assert len(caller.audio[1]) == round(caller.of("reply_audio_end")[0]["audio_ms"] * 48)
        assert done["latency_ms"]["total"] == sum(
            done["latency_ms"][part] for part in ("endpoint", "stt", "llm", "tts")
        )


async def test_a_spoken_turn_is_understood_and_answered() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.speak(murmur(1.0) + silence(1.5))
        done = await caller.play()
        kinds = [message["type"] for message in caller.messages]
        first = {kind: kinds.index(kind) for kind in kinds}
        assert (
            first["speech_started"] < first["speech_stopped"] < first["reply_started"]
            < first["reply_text"] < first["reply_audio_end"] < first["reply_done"]
        )  # fmt: skip
        finals = [message for message in caller.of("transcript") if message["final"]]
        assert [final["text"] for final in finals] == ["this is a scripted transcript"]
        assert done["turn"] == 1


@pytest.mark.parametrize("where", ["before the session", "in what is read", "in what is written"])
async def test_a_fault_of_ours_is_told_and_closes_1011(
    where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = ReplyFrames.__call__

    def cannot_be_written(codec: ReplyFrames, event: Event) -> list[str | bytes]:
        return frames(codec, event) if not isinstance(event, UserTranscript) else [str(1 // 0)]

    async with live_server() as server, call(server.ws_url, {}) as bystander:
        if where == "before the session":
            monkeypatch.setattr(Catalogue, "check", lambda *_: 1 // 0)
        async with call(server.ws_url) as caller:
            await caller.say("hello")
            if where == "in what is read":
                monkeypatch.setattr(NativeTalk, "pay_for", lambda *_: 1 // 0)
            elif where == "in what is written":
                monkeypatch.setattr(ReplyFrames, "__call__", cannot_be_written)
            with structlog.testing.capture_logs() as logged:
                await caller.say("text", text="hello")
                assert await caller.closed() == 1011
            assert [error["code"] for error in caller.of("error")] == ["INTERNAL"]
            errors = [entry for entry in logged if entry["log_level"] == "error"]
            assert [entry["event"] for entry in errors] == ["connection_failed"]
        monkeypatch.undo()
        await bystander.say("text", text="hello")
        assert (await bystander.play())["status"] == "completed"


@pytest.mark.parametrize("busy", [False, True], ids=["at once", "out of the inbox"])
async def test_a_fault_in_what_is_heard_is_told_and_closes_1011(
    busy: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A frame is taken where it was judged, or, while there is more to do, by the session's task:
    it is the same to whoever sent it."""
    monkeypatch.setattr(User, "hear", lambda *_, **__: 1 // 0)
    if busy:
        monkeypatch.setattr(Inbox, "awaited", False)
    async with live_server() as server:
        async with call(server.ws_url, {}) as caller:
            with structlog.testing.capture_logs() as logged:
                await caller.speak(silence(0.5))
                assert await caller.closed() == 1011
            assert [error["code"] for error in caller.of("error")] == ["INTERNAL"]
            errors = [entry for entry in logged if entry["log_level"] == "error"]
            assert [entry["event"] for entry in errors] == ["session_failed"]
        monkeypatch.undo()
        async with call(server.ws_url, {}) as caller:
            await caller.speak(murmur(1.0) + silence(1.5))
            assert (await caller.play())["status"] == "completed"


async def test_what_is_heard_after_a_goodbye_begins_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The session waits for its last turn to be stored: nobody is answered any more."""
    async with live_server() as server, call(server.ws_url, {}) as caller:
        keeping = server.house.keeping
        assert keeping is not None
        save, loop = keeping.save, asyncio.get_running_loop()
        await caller.say("text", text="Hello.")
        await caller.until("reply_started")
        monkeypatch.setattr(keeping, "save", lambda *saved: loop.call_later(0.9, save, *saved))
        await caller.speak(murmur(1.0) + silence(0.13))
        await asyncio.sleep(0.25)
        await caller.say("bye")
        await asyncio.sleep(0.05)
        before = len(caller.of("reply_started"))
        await caller.speak(silence(2.0))
        assert await caller.closed() == 1000
        ended = [message["reply"] for message in caller.of("reply_done")]
        assert [message["reply"] for message in caller.of("reply_started")] == ended
        assert len(ended) == before


async def test_push_to_talk_commits_what_was_said() -> None:
    async with (
        live_server() as server,
        call(server.ws_url, {"turn_detection": "manual"}) as caller,
    ):
        await caller.speak(murmur(5.0))
        await caller.say("commit")
        assert (await caller.until("transcript", final=True))["turn"] == 1
        await caller.play()
        await caller.speak(murmur(0.5))
        await caller.say("commit")
        assert (await caller.until("transcript", final=True))["turn"] == 2
        assert not caller.of("speech_started")


async def test_a_commit_without_audio_is_a_turn_without_words() -> None:
    async with (
        live_server() as server,
        call(server.ws_url, {"turn_detection": "manual"}) as caller,
    ):
        await caller.say("commit")
        transcript = await caller.until("transcript")
        assert transcript["discarded"]
        assert transcript["text"] == ""


async def test_a_client_that_falls_silent_ends_its_turn() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.speak(murmur(1.0))  # and then not another frame; pings are answered
        await caller.until("transcript", final=True)


async def test_a_line_that_stalls_does_not_end_a_turn() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.speak(murmur(1.0))
        await caller.until("speech_started")
        caller.socket.transport.pause_reading()  # no ping gets through, and no pong back
        await asyncio.sleep(2.5)
        await caller.speak(murmur(0.5) + silence(1.0))
        caller.socket.transport.resume_reading()
        await caller.until("transcript", final=True)
        assert {started["turn"] for started in caller.of("speech_started")} == {1}
        stopped = caller.of("speech_stopped")
        assert stopped[0]["at_ms"] > 1_400


async def test_speech_during_a_reply_stops_it() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.say("text", text="talk to me")
        await caller.until("reply_text")
        await caller.speak(murmur(1.0))
        interrupted = await caller.until("interrupted")
        done = await caller.until("reply_done")
        assert done["status"] == "interrupted"
        assert done["heard"] == interrupted["heard"]
        assert done["text"].startswith(done["heard"])
        before = len(caller.audio.get(1, b""))
        await caller.speak(silence(1.0))
        await caller.until("reply_started", reply=2)
        assert len(caller.audio.get(1, b"")) == before


async def test_cancel_stops_the_reply_and_is_ignored_without_one() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.say("cancel")
        await caller.say("text", text="talk to me")
        await caller.until("reply_text")
        await caller.say("cancel")
        assert (await caller.until("reply_done"))["status"] == "cancelled"


async def test_the_same_typed_turn_sent_again_is_not_answered_twice() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        for _ in range(3):
            await caller.say("text", text="once", id="same")
        await caller.play()
        await caller.say("bye")
        await caller.closed()
        assert [t["turn"] for t in caller.of("transcript")] == [1, 1, 1]
        assert len(caller.of("reply_started")) == 1


async def test_what_is_typed_after_a_commit_comes_behind_its_words_and_once() -> None:
    async with (
        live_server(ANTIPHON_STT_SLOTS="1") as server,
        call(server.ws_url, {"turn_detection": "manual"}) as caller,
    ):
        async with server.house.pool.lease(STT, "another", purpose=Purpose.FINAL):
            await caller.speak(murmur(1.0))
            await caller.say("commit")
            for _ in range(2):
                await caller.say("text", text="and then?", id="a")
            for number in range(ends.MOST_TYPED):
                await caller.say("text", text=f"more {number}", id=f"more {number}")
            refused = await caller.until("error")
            assert (refused["code"], refused["ref"]) == ("RATE_LIMITED", "more 15")
            assert refused["retry_after_ms"] > 0
            assert not caller.of("transcript")
        await caller.until("transcript", ref="more 14")
        finals = [said for said in caller.of("transcript") if said["final"]]
        assert [said["turn"] for said in finals] == list(range(1, 18))
        assert [said.get("ref") for said in finals[:3]] == [None, "a", "more 0"]
        await caller.play()
        assert [started["turn"] for started in caller.of("reply_started")] == [17]
        await caller.say("bye")
        await caller.closed()


async def test_clear_forgets_the_conversation() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.say("text", text="remember this")
        await caller.play()
        (session,) = server.house.sessions
        assert session.conversation.items[0].text == "remember this"
        await caller.say("clear")
        await caller.until("cleared")
        assert session.conversation.items == ()


async def test_configure_changes_what_comes_next_and_says_so() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.say("configure", speed=1.5, pace="patient")
        configured = await caller.until("configured")
        assert (configured["speed"], configured["pace"]) == (1.5, "patient")


async def test_an_empty_choice_is_the_servers_own_again() -> None:
    async with live_server(ANTIPHON_SYSTEM_PROMPT="Be kind.") as server:
        chosen = {"voice": "tone-low", "language": "en", "instructions": "Be brief."}
        own = ("tone", None, "Be kind.")

        async def settings() -> tuple[str, str | None, str]:
            now = (await _only_session(server.house)).settings
            return now.voice, now.language, now.instructions

        async with call(server.ws_url, chosen) as caller:
            assert await settings() == ("tone-low", "en", "Be brief.")
            await caller.say("configure", **dict.fromkeys(chosen, ""))
            configured = await caller.until("configured")
            assert (configured["voice"], configured["language"]) == ("tone", None)
            assert await settings() == own
            await caller.say("configure", **chosen)
            await caller.until("configured", voice="tone-low")
            token = caller.of("welcome")[0]["resume"]
        hello = dict.fromkeys(chosen, "") | {"resume": token}
        async with call(server.ws_url, hello) as caller:
            assert caller.of("welcome")[0]["resumed"] is True
            assert await settings() == own


async def test_bye_ends_the_session() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.say("bye")
        assert await caller.closed() == 1000
        await _gone(server.house)


async def test_audio_without_a_hello_is_taken_at_16_khz() -> None:
    async with live_server() as server, call(server.ws_url) as caller:
        await caller.speak(murmur(0.5))
        assert (await caller.until("welcome"))["protocol"] == 1
        await caller.until("speech_started")


async def test_a_greeting_is_spoken_first() -> None:
    async with (
        live_server(ANTIPHON_GREETING="Hello there.") as server,
        call(server.ws_url, {}) as caller,
    ):
        done = await caller.play()
        assert (done["turn"], done["text"]) == (0, "Hello there.")


async def test_two_users_each_get_their_own_answer() -> None:
    async with (
        live_server() as server,
        call(server.ws_url, {"voice": "tone"}) as anna,
        call(server.ws_url, {"voice": "tone-low"}) as ben,
    ):
        await anna.say("text", text="I am Anna")
        await ben.say("text", text="I am Ben")
        await asyncio.gather(anna.play(), ben.play())
        texts = {
            tuple(item.text for item in session.conversation.items if item.role == "user")
            for session in server.house.sessions
        }
        assert texts == {("I am Anna",), ("I am Ben",)}
        assert anna.audio[1] != ben.audio[1]


# --- muted ----------------------------------------------------------------------------------------


async def test_what_is_sent_while_muted_is_never_heard() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.speak(silence(0.512))
        await caller.say("mute")
        await caller.speak(murmur(3.0))
        await caller.say("unmute")
        await caller.speak(silence(0.512) + murmur(0.8) + silence(0.9))
        started = await caller.until("speech_started")
        await caller.until("transcript", final=True)
        assert started["at_ms"] == pytest.approx(1_024, abs=64)
        assert len(caller.of("speech_started")) == 1


async def test_what_was_said_before_the_mute_is_answered() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.speak(murmur(1.0))
        await caller.say("mute")
        await caller.speak(murmur(3.0))
        final = await caller.until("transcript", final=True)
        done = await caller.play()
        assert (final["turn"], done["turn"], done["status"]) == (1, 1, "completed")
        assert caller.of("speech_stopped")[-1]["at_ms"] <= 1_064


async def test_what_is_sent_while_muted_ends_no_reply() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.say("mute")
        await caller.say("text", text="Tell me a story.")
        await caller.until("reply_started")
        await caller.speak(murmur(2.0))
        done = await caller.play()
        assert done["status"] == "completed"
        assert not caller.of("reply_paused")
        assert (await _only_session(server.house)).muted


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "frame",
    [
        "not json",
        "[]",
        '{"type":"sing"}',
        '{"type":"playback","reply":1,"played_ms":NaN}',
        '{"type":"playback","reply":' + "9" * 5_000 + ',"played_ms":1}',
        '{"type":"text","text":"\\ud800"}',
        '{"type":"text"}',
        '{"type":"text","text":"   "}',
        '{"type":"configure","speed":9}',
        '{"type":"hello"}',
        '{"type":"configure","tools":[{"name":"no spaces"}]}',
        '{"type":"configure","tools":[{"name":"twice"},{"name":"twice"}]}',
        "[" * 50_000,
        '{"type":"text","text":"' + "x" * 200_000 + '"}',
    ],
)
async def test_a_message_that_is_not_of_the_protocol_is_an_error_and_no_more(frame: str) -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.socket.send(frame)
        assert (await caller.until("error"))["code"] == "BAD_MESSAGE"
        await caller.say("text", text="still here?")
        assert (await caller.play())["status"] == "completed"


async def test_an_error_names_the_message_it_is_about() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.socket.send('{"type":"text","text":7,"id":"m1"}')
        assert (await caller.until("error"))["ref"] == "m1"


async def test_the_third_mistake_within_ten_seconds_closes() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        for _ in range(3):
            await caller.socket.send("nonsense")
        assert await caller.closed() == 1008
        assert len(caller.of("error")) == 3


async def test_an_odd_frame_is_an_error_and_no_more() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.socket.send(b"\x00" * 641)
        assert (await caller.until("error"))["code"] == "BAD_AUDIO"
        await caller.socket.send(b"")
        await caller.speak(murmur(0.3))
        await caller.until("speech_started")


async def test_a_frame_over_64_kib_closes_1009() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.socket.send(bytes(limits.FRAME_BYTES + 2))
        assert await caller.closed() == 1009


async def test_a_control_message_before_hello_is_an_error() -> None:
    async with live_server() as server, call(server.ws_url) as caller:
        await caller.say("commit")
        assert (await caller.until("error"))["code"] == "BAD_MESSAGE"
        await caller.say("hello")
        await caller.until("welcome")


@pytest.mark.parametrize(
    ("hello", "code"),
    [
        ({"audio": {"rate": 4_000}}, "BAD_MESSAGE"),
        ({"audio": {"rate": 96_000}}, "BAD_MESSAGE"),
        ({"audio": {"codec": "opus", "framing": "raw"}}, "BAD_MESSAGE"),
        ({"voice": "nobody"}, "NOT_FOUND"),
        ({"language": "xx"}, "NOT_FOUND"),
        ({"tools": [{"name": ""}]}, "BAD_MESSAGE"),
    ],
)
async def test_a_hello_that_asks_too_much_may_be_said_again(
    hello: dict[str, object], code: str
) -> None:
    async with live_server() as server, call(server.ws_url) as caller:
        await caller.say("hello", **hello)
        assert (await caller.until("error"))["code"] == code
        await caller.say("hello")
        await caller.until("welcome")


async def test_a_voice_that_does_not_exist_leaves_the_session_as_it_was() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.say("configure", voice="nobody")
        assert (await caller.until("error"))["code"] == "NOT_FOUND"
        assert (await _only_session(server.house)).settings.voice == "tone"


async def test_audio_far_faster_than_real_time_is_dropped_then_closed() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.speak(silence(12.0), frame_bytes=32_000)
        assert (await caller.until("warning"))["code"] == "TOO_MUCH_AUDIO"
        with contextlib.suppress(websockets.ConnectionClosed):
            await caller.speak(silence(60.0), frame_bytes=32_000)
        await caller.closed()
        assert caller.socket.close_code == 1008


async def test_a_flood_of_messages_closes() -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        for _ in range(250):
            await caller.socket.send('{"type":"unmute"}')
        assert await caller.closed() == 1008


# --- who may enter --------------------------------------------------------------------------------


async def test_a_page_from_elsewhere_is_refused_before_it_is_accepted() -> None:
    async with live_server() as server:
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(server.ws_url, origin="https://elsewhere.example")
        assert refused.value.response.status_code == 403
        assert json.loads(refused.value.response.body)["error"]["code"] == "FORBIDDEN"
        own = f"http://127.0.0.1:{server.port}"
        async with call(server.ws_url, {}, origin=own):
            pass


async def test_a_subprotocol_is_chosen_when_offered_and_never_demanded() -> None:
    async with live_server() as server:
        async with call(server.ws_url, {}, subprotocols=["other", "antiphon.v1"]) as caller:
            assert caller.socket.subprotocol == "antiphon.v1"
        async with call(server.ws_url, {}, subprotocols=["other"]) as caller:
            assert caller.socket.subprotocol is None


# --- what is given back ---------------------------------------------------------------------------


async def test_a_socket_that_dies_in_a_reply_gives_everything_back() -> None:
    async with live_server() as server:
        baseline: tuple[int, int, int] | None = None
        for round_number in range(3):
            async with call(server.ws_url, {}) as caller:
                await caller.say("text", text="talk to me")
                await caller.until("reply_text")
                session = await _only_session(server.house)
                session_id = session.identity.session
                caller.socket.transport.abort()
            async with asyncio.timeout(0.25):
                await _gone(server.house)
            assert sum(server.house.pool.claims(session_id).values()) == 0
            async with asyncio.timeout(2):
                while any(s.busy or s.stopping for s in server.house.pool.status().values()):
                    await asyncio.sleep(0.01)
            after = (
                len(asyncio.all_tasks()),
                threading.active_count(),
                len(os.listdir("/proc/self/fd")),
            )
            if round_number:
                assert after == baseline
            baseline = after


# --- operations -----------------------------------------------------------------------------------


async def test_an_operator_sees_the_sessions_and_can_end_one() -> None:
    async with live_server() as server, httpx.AsyncClient(base_url=server.url) as http:
        async with call(server.ws_url, {}) as caller:
            await caller.say("text", text="hello")
            await caller.play()
            (row,) = (await http.get("/admin/sessions")).json()
            assert row["state"] == "listening"
            assert row["turns"] == 1
            assert row["claims"] == {"stt": 0, "llm": 0, "tts": 0}
            assert row["latency_ms"]["last"] == row["latency_ms"]["p50"]
            one = (await http.get(f"/admin/sessions/{row['id']}")).json()
            assert one["items"] == 2
            assert (await http.delete(f"/admin/sessions/{row['id']}")).status_code == 204
            assert await caller.closed() == 1000
        missing = await http.get("/admin/sessions/nobody")
        assert missing.status_code == 404
        assert missing.json()["error"]["code"] == "NOT_FOUND"


@pytest.mark.parametrize(
    "headers",
    [{"host": "rebound.example"}, {"x-forwarded-for": "203.0.113.7"}, {"forwarded": "for=x"}],
)
async def test_the_admin_routes_answer_this_machine_only(headers: dict[str, str]) -> None:
    async with live_server() as server, httpx.AsyncClient(base_url=server.url) as http:
        refused = await http.get("/admin/sessions", headers=headers)
        assert refused.status_code == 403


async def test_with_a_token_the_admin_routes_want_it() -> None:
    async with (
        live_server(ANTIPHON_ADMIN_TOKEN="sesame") as server,
        httpx.AsyncClient(base_url=server.url) as http,
    ):
        assert (await http.get("/admin/sessions")).status_code == 401
        wrong = {"authorization": "Bearer open"}
        assert (await http.get("/admin/sessions", headers=wrong)).status_code == 401
        right = {"authorization": "Bearer sesame"}
        assert (await http.get("/admin/sessions", headers=right)).status_code == 200


async def test_health_and_status_are_told() -> None:
    async with live_server() as server, httpx.AsyncClient(base_url=server.url) as http:
        for path in ("/healthz", "/ping", "/readyz"):
            assert (await http.get(path)).status_code == 200
        status = (await http.get("/status")).json()
        assert status["engines"]["tts"]["name"] == "scripted"
        assert set(status["pool"]["llm"]) == {
            "slots", "instances", "claimed", "busy", "stopping", "waiting", "wait_ms", "breaker",
        }  # fmt: skip


async def test_every_response_carries_a_request_id() -> None:
    async with live_server() as server, httpx.AsyncClient(base_url=server.url) as http:
        own = await http.get("/ping", headers={"x-request-id": "mine-1"})
        assert own.headers["x-request-id"] == "mine-1"
        made = await http.get("/ping", headers={"x-request-id": "not sane\t!"})
        assert made.headers["x-request-id"].startswith("req_")
        missing = await http.get("/nowhere")
        assert missing.json()["request_id"] == missing.headers["x-request-id"]


async def _gone(house: object) -> None:
    while len(house.sessions):  # type: ignore[attr-defined]
        await asyncio.sleep(0.005)


async def _only_session(house: object):  # type: ignore[no-untyped-def]
    (session,) = house.sessions  # type: ignore[attr-defined]
    return session


async def test_welcome_says_every_limit_that_the_documentation_names() -> None:
    row = next(line for line in PROTOCOL.read_text().splitlines() if line.startswith("| `welcome`"))
    named = set(re.findall(r"`(\w+)`", row.partition("`limits` holds")[2]))
    async with live_server() as server, call(server.ws_url, {}) as caller:
        assert set(caller.of("welcome")[0]["limits"]) == named


async def test_what_welcome_says_of_limits_is_what_holds() -> None:
    """Those that no setting changes; what each leads to is tested where it is kept."""
    async with live_server() as server, call(server.ws_url, {}) as caller:
        said = caller.of("welcome")[0]["limits"]
    assert (said["late_s"], said["stuck_s"]) == (outbox.LATE_S, outbox.STUCK_S)
    assert said["unread_bytes"] == outbox.MAX_TEXT_BYTES
    assert (said["mistakes"], said["mistakes_s"]) == (limits.MISTAKES, limits.MISTAKES_WINDOW_S)
    assert (said["hello_s"], said["token_s"]) == (lobby.HELLO_S, doorstep.TOKEN_S)
    assert (said["turn_s"], said["turns_waiting"]) == (user.LEAST_S, ends.MOST_ENDS)
    assert said["typed_waiting"] == ends.MOST_TYPED
    assert said["replies_waiting"] == assistant.MOST_ASKS
    assert said["history_items"] == SessionConfig().history_items
    assert said["message_bytes"] == peer.MESSAGE_BYTES
