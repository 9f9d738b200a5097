"""What a recorded machine was told can be told again, with the same to follow."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.errors import LlmFailed, SttFailed
from pipeline.events import ReplyDone
from pipeline.recording import BadRecording, RecordedMachine, replay
from pipeline.signals import (
    Ask,
    Cancel,
    DraftAudio,
    DraftCall,
    DraftMade,
    DraftText,
    DropTurn,
    EndTurn,
    Event,
    Forget,
    Greet,
    Heard,
    Leave,
    Looked,
    LookFailed,
    Played,
    SaidNothing,
    Typed,
    Voted,
)
from pipeline.turn import TurnConfig
from server.__main__ import main
from session.recorder import Recorder
from tests.support import call, live_server, murmur, silence

FRAME = 512

EVENTS = st.one_of(
    st.none(),
    st.builds(Typed, st.text(min_size=1), st.none() | st.text()),
    st.builds(Greet, st.just("Hello.")),
    st.just(Cancel()),
    st.just(Forget()),
    st.just(Leave()),
    st.builds(EndTurn, st.integers(0, 10**6), st.booleans()),
    st.builds(Looked, st.just(1), st.just(0), st.integers(1, 4), st.sampled_from(["Hi?", "so"])),
    st.builds(Voted, st.just(1), st.just(0), st.integers(1, 4), st.floats(0, 1)),
    st.builds(LookFailed, st.just(1), st.just(0), st.integers(1, 4), st.just(SttFailed("no"))),
    st.builds(DraftText, st.integers(1, 3), st.text(min_size=1)),
    st.builds(Ask, st.integers(0, 5), st.integers(0, 2), st.booleans(), st.booleans()),
    st.builds(DropTurn, st.integers(0, 10**6)),
    st.just(SaidNothing()),
    st.builds(DraftCall, st.integers(1, 3), st.just("c"), st.just("clock"), st.text()),
    st.builds(DraftAudio, st.integers(1, 3), st.integers(1, 48_000)),
    st.builds(DraftMade, st.integers(1, 3), st.none() | st.just(LlmFailed("broke"))),
    st.builds(Played, st.integers(1, 3), st.floats(0, 5_000), st.booleans()),
    st.sampled_from([0.02, 0.95]),
)


@given(st.lists(EVENTS, max_size=80))
def test_a_replay_follows_the_conversation_step_by_step(events: list[Event | float | None]) -> None:
    lines: list[str] = []
    machine = RecordedMachine(TurnConfig(), lines.append, next_turn=3, next_reply=5)
    followed, now, end = [], 100.0, 0
    for event in events:
        if isinstance(event, float):  # a second of the microphone
            for _ in range(31):
                now, end = now + 0.032, end + FRAME
                followed.append(machine.step(Heard(event, end, now), now))
        else:
            now += 0.01
            followed.append(machine.step(event, now))
    followed.append(machine.reconfigure(TurnConfig(detection="manual"), now))
    assert [str(moment.effects) for moment in replay(lines)] == [str(f) for f in followed]


@pytest.mark.parametrize(
    "line", ["", "{}", "no", '{"antiphon_recording": 2}', '{"antiphon_recording": 1}', "[]"]
)
def test_what_is_no_recording_is_refused(line: str) -> None:
    with pytest.raises(BadRecording):
        list(replay([line]))


@pytest.mark.parametrize("line", ["{", "{}", '{"at": 1, "event": "Nap", "of": {}}', "[]"])
def test_a_line_that_no_recording_has_is_named(line: str) -> None:
    lines: list[str] = []
    RecordedMachine(TurnConfig(), lines.append)
    with pytest.raises(BadRecording, match="line 2"):
        list(replay([*lines, line]))


def test_the_command_prints_what_followed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder = Recorder(tmp_path / "new", "s_1")
    machine = RecordedMachine(TurnConfig(), recorder.write)
    machine.step(Heard(0.02, FRAME, 1.0), 1.0)
    machine.step(Typed("What time is it?"), 2.5)
    recorder.close()
    assert main(["replay", str(tmp_path / "new" / "s_1.jsonl")]) == 0
    out = capsys.readouterr().out
    assert "1.500  Typed(text='What time is it?'" in out
    assert "-> Draft(draft=1, turn=1, text='What time is it?'" in out
    assert "Heard" not in out


def test_the_command_says_what_is_wrong(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", str(tmp_path / "none.jsonl")]) == 1
    assert "none.jsonl" in capsys.readouterr().err


def test_a_disk_that_fails_ends_the_record_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    recorder = Recorder(tmp_path / "file", "s_1")
    recorder.write("a line")
    recorder.close()


def test_a_record_has_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("session.recorder.MOST_BYTES", 100)
    recorder = Recorder(tmp_path, "s_1")
    for _ in range(50):
        recorder.write("ten bytes")
    recorder.close()
    assert (tmp_path / "s_1.jsonl").stat().st_size == 100


async def test_a_session_can_be_replayed_as_it_was(tmp_path: Path) -> None:
    hello = {"audio": {"rate": 16_000}}
    async with (
        live_server(ANTIPHON_RECORD_DIR=str(tmp_path)) as server,
        call(server.ws_url, hello) as caller,
    ):
        await caller.speak(murmur(1.0) + silence(1.5))
        spoken = await caller.play()
        await caller.say("text", text="And now?")
        typed = await caller.play()
        await caller.say("bye")
        await caller.closed()
    (record,) = tmp_path.glob("*.jsonl")
    assert record.stat().st_mode & 0o077 == 0
    with record.open() as lines:
        effects = [effect for moment in replay(lines) for effect in moment.effects]
    done = [effect for effect in effects if isinstance(effect, ReplyDone)]
    assert [reply.heard for reply in done] == [spoken["heard"], typed["heard"]]
    assert [reply.turn for reply in done] == [1, 2]


@pytest.mark.parametrize("by", ["the line", "the operator"])
async def test_a_session_that_is_cut_ends_in_its_replay_as_it_did(tmp_path: Path, by: str) -> None:
    story = " ".join(["There once was a king who had a tale for every day of the year."] * 4)
    async with (
        live_server(ANTIPHON_RECORD_DIR=str(tmp_path), ANTIPHON_GREETING=story) as server,
        call(server.ws_url, {}) as caller,
    ):
        await caller.until("reply_started")
        while len(caller.audio.get(1, b"")) < 2 * 24_000:
            await caller.next()
        await caller.say("playback", reply=1, played_ms=900)
        await caller.say("text", text="", id="no text: an error, so that the report has come")
        await caller.until("error")
        (session,) = server.house.sessions
        if by == "the line":
            caller.socket.transport.abort()
        else:
            await session.end(None, "the operator")
        async with asyncio.timeout(10):
            await session.gone.wait()
        (item,) = session.conversation.items
    (record,) = tmp_path.glob("*.jsonl")
    with record.open() as lines:
        last = list(replay(lines))[-1]
    (done,) = (effect for effect in last.effects if isinstance(effect, ReplyDone))
    assert isinstance(last.told, Leave)
    assert (done.status, done.heard) == ("interrupted", item.text)
    assert story.startswith(done.heard)
    assert done.heard


async def test_nothing_is_recorded_unless_it_is_asked_for(tmp_path: Path) -> None:
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.say("text", text="Hello?")
        await caller.play()
        (session,) = server.house.sessions
        assert session._recorder is None


async def test_a_session_that_is_resumed_goes_on_in_a_record_of_its_own(tmp_path: Path) -> None:
    async with live_server(ANTIPHON_RECORD_DIR=str(tmp_path)) as server:
        async with call(server.ws_url, {}) as caller:
            await caller.say("text", text="one")
            await caller.play()
            (welcome,) = caller.of("welcome")
        async with call(server.ws_url, {"resume": welcome["resume"]}) as caller:
            assert caller.of("welcome")[0]["resumed"]
            await caller.say("text", text="two")
            await caller.play()
    session = welcome["session"]
    for name, words in ((f"{session}.jsonl", "one"), (f"{session}-2.jsonl", "two")):
        lines = (tmp_path / name).read_text().splitlines()
        assert words in next(line for line in lines if "Typed" in line)
        assert list(replay(lines))
