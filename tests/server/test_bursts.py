"""Much asked for at once by a client that reads, and by one that does not."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest
import websockets

from server import talk
from server.outbox import MAX_TEXT_BYTES
from server.wire.realtime import Realtime
from session import limits, writing
from session.messages import Event
from session.sqlite_store import SqliteStore
from session.store import Record
from tests.realtime.client import connected
from tests.support import call, live_server, murmur

LONG = "x" * (MAX_TEXT_BYTES // 5)
MANY = 20
"""Of those: four times what the outbox holds."""


def at_once(socket: websockets.ClientConnection, *messages: dict[str, Any]) -> None:
    """Send messages in one piece: the server has them all before it answers the first."""
    for message in messages:
        socket.protocol.send_text(json.dumps(message).encode())
    socket.transport.write(b"".join(socket.protocol.data_to_send()))


async def test_many_changes_of_settings_at_once_are_each_answered() -> None:
    async with live_server() as server, call(server.ws_url, {"instructions": LONG}) as caller:
        change = {"type": "configure", "speed": 1.1}
        at_once(caller.socket, *[change] * MANY, {"type": "bye"})
        assert await caller.closed() == 1000
        assert len(caller.of("configured")) == MANY


async def test_they_are_also_answered_where_a_turn_is_stored_before_them() -> None:
    async with live_server() as server, call(server.ws_url, {"instructions": LONG}) as caller:
        await caller.say("text", text="Hello.")
        end = await caller.until("reply_audio_end")
        heard = {"type": "playback", "reply": 1, "played_ms": end["audio_ms"], "done": True}
        at_once(caller.socket, heard, *[{"type": "configure", "speed": 1.1}] * MANY)
        await caller.until("reply_done")
        for _ in range(MANY):
            await caller.until("configured")


async def test_who_speaks_is_heard_though_a_turn_is_just_being_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    saving, stored, save = asyncio.Event(), asyncio.Event(), SqliteStore.save

    async def slowly(self: SqliteStore, record: Record) -> None:
        saving.set()
        await stored.wait()
        await save(self, record)

    monkeypatch.setattr(writing, "SAVE_S", 60.0)
    async with live_server() as server, call(server.ws_url, {}) as caller:
        await caller.say("text", text="Hello.")
        end = await caller.until("reply_audio_end")
        (session,) = server.house.sessions
        monkeypatch.setattr(SqliteStore, "save", slowly)
        await caller.say("playback", reply=1, played_ms=end["audio_ms"], done=True)
        await saving.wait()
        await caller.say("playback", reply=1, played_ms=end["audio_ms"], done=True)
        before = session.figures.bytes_in
        await caller.speak(murmur(0.5))
        async with asyncio.timeout(10):
            while session.figures.bytes_in < before + 16_000:
                await asyncio.sleep(0.01)
        stored.set()
        await caller.until("reply_done")
        if not caller.of("speech_started"):  # which overtakes, as it cannot wait
            await caller.until("speech_started")


async def test_many_updates_of_a_long_session_at_once_are_each_answered() -> None:
    async with live_server() as server, connected(server.url.replace("http", "ws")) as client:
        await client.update(instructions=LONG)
        update = {"type": "session.update", "session": {"type": "realtime"}}
        at_once(client.socket, *[update] * MANY)
        for _ in range(MANY):
            shown = (await client.until("session.updated"))["session"]
            assert shown["instructions"] == LONG


async def test_a_long_item_that_is_asked_for_many_times_at_once_is_given_each_time() -> None:
    async with live_server() as server, connected(server.url.replace("http", "ws")) as client:
        item = await client.type(LONG)
        at_once(client.socket, *[{"type": "conversation.item.retrieve", "item_id": item}] * MANY)
        for _ in range(MANY):
            await client.until("conversation.item.retrieved")


async def test_of_updates_that_are_read_slowly_few_wait_whatever_they_show(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A transcription's prompt changes nothing, is no setting, and is shown."""
    held: list[int] = []
    decode = Realtime.decode

    def noted(self: Realtime, text: str) -> object:
        held.append(self.untold_bytes)
        return decode(self, text)

    send = talk.Connection.send

    async def slowly(self: talk.Connection, event: Event) -> int:
        await asyncio.sleep(0.05)
        return await send(self, event)

    monkeypatch.setattr(Realtime, "decode", noted)
    monkeypatch.setattr(talk.Connection, "send", slowly)
    async with live_server() as server, connected(server.url.replace("http", "ws")) as client:
        await client.update(audio={"input": {"transcription": {"prompt": LONG}}})
        update = {"type": "session.update", "session": {"type": "realtime"}}
        at_once(client.socket, *[update] * MANY)
        for _ in range(MANY):
            await client.until("session.updated")
        assert len(LONG) < max(held) < MAX_TEXT_BYTES // 2 + 2 * len(LONG)


async def test_who_asks_on_and_reads_nothing_is_closed_and_little_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    closed: list[int] = []
    close = talk.Connection.close

    async def noted(self: talk.Connection, code: int, reason: str) -> None:
        closed.append(code)
        await close(self, code, reason)

    monkeypatch.setattr(talk.Connection, "close", noted)
    monkeypatch.setattr(talk, "STUCK_S", 1.0)
    async with live_server() as server, connected(server.url.replace("http", "ws")) as client:
        item = await client.type("x" * (limits.TEXT_BYTES - 1_000))
        client.socket.transport.pause_reading()
        held = []
        while len(server.house.sessions):
            at_once(client.socket, {"type": "conversation.item.retrieve", "item_id": item})
            await asyncio.sleep(0.011)
            held += [box.held_bytes for box in server.house.outboxes]
        assert closed == [1008]
        assert MAX_TEXT_BYTES // 2 < max(held) < 1.1 * MAX_TEXT_BYTES
        client.socket.transport.abort()
