"""People who vanish, hang, storm and interrupt; and what becomes of them, and of the others."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import websockets

import server.outbox
import server.peer
import server.talk
from session.manager import Ticket
from tests.faults.baseline import settled
from tests.faults.line import line_to
from tests.faults.raw import BINARY, PING, TEXT, frame, raw
from tests.faults.trial import VICTIM, Trial, trial
from tests.support import call, murmur, silence

STORM = 200
NO_WAITING = {"ANTIPHON_WAITING_ROOM": "0"}


def others(house: Trial) -> int:
    """Sessions besides the bystander's."""
    return len(house.house.sessions) - 1


async def gone(house: Trial) -> None:
    """Only the bystander is left."""
    await settled(lambda: "somebody is still here" if others(house) else "")


# --- who vanishes ---------------------------------------------------------------------------------


async def test_a_connection_reset_in_the_middle_of_a_reply() -> None:
    async with trial() as house, raw(house.port) as victim:
        await victim.hello()
        await victim.send(frame(TEXT, b'{"type":"text","text":"talk to me"}'))
        await victim.reader.readuntil(b"reply_text")
        victim.reset()
        await gone(house)


async def test_a_connection_reset_in_the_middle_of_speech() -> None:
    async with trial() as house, raw(house.port) as victim:
        await victim.hello()
        await victim.send(frame(BINARY, murmur(0.5)))
        await victim.reader.readuntil(b"speech_started")
        victim.reset()
        await gone(house)


async def test_a_connection_reset_between_the_turn_and_its_reply() -> None:
    async with trial() as house, raw(house.port) as victim:
        await victim.hello()
        await victim.send(frame(BINARY, murmur(0.5)), frame(TEXT, b'{"type":"commit"}'))
        await victim.reader.readuntil(b"speech_started")
        victim.reset()
        await gone(house)


async def test_a_reset_in_the_same_packet_as_the_hello() -> None:
    async with trial() as house:
        for _ in range(20):
            async with raw(house.port) as victim:
                await victim.hello()
                victim.reset()
        await gone(house)


async def test_vanished_before_the_hello() -> None:
    async with trial() as house:
        for _ in range(20):
            async with raw(house.port) as victim:
                await victim.upgrade()
                victim.reset()
        await gone(house)


async def test_vanished_in_the_middle_of_the_handshake() -> None:
    async with trial() as house:
        for _ in range(20):
            async with raw(house.port) as victim:
                await victim.send(b"GET /ws HTTP/1.1\r\nHost: 127.0.0.1\r\nUpgr")
                victim.reset()
        await gone(house)


async def test_vanished_in_the_middle_of_a_frame() -> None:
    async with trial() as house, raw(house.port) as victim:
        await victim.hello()
        await victim.reader.readuntil(b"welcome")
        await victim.send(frame(BINARY, murmur(0.5))[:1_000])
        victim.reset()
        await gone(house)


async def test_who_only_closes_the_writing_half_has_left() -> None:
    async with trial() as house, raw(house.port) as victim:
        await victim.hello()
        await victim.send(frame(TEXT, b'{"type":"text","text":"talk to me"}'))
        await victim.reader.readuntil(b"reply_text")
        victim.writer.write_eof()
        await gone(house)


async def test_a_peer_that_is_half_open_is_found_by_its_pings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server.peer, "PING_EVERY_S", 0.3)
    monkeypatch.setattr(server.peer, "PONG_WITHIN_S", 0.5)
    async with (
        trial() as house,
        line_to(house.port) as line,
        call(line.ws_url, {"voice": VICTIM}) as victim,
    ):
        await victim.say("text", text="talk to me")
        await victim.until("reply_text")
        with line.stalled():  # no reset, no end: the cable is out
            await gone(house)


async def test_who_says_nothing_keeps_no_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.lobby, "HELLO_S", 0.2)
    async with trial() as house, house.connect() as silent:
        assert await silent.closed() == 1000


@asynccontextmanager
async def what_waits() -> AsyncIterator[list[int]]:
    """Bytes that the server holds for those who are here now: in outboxes, and given to their
    sockets; looked at every 10 ms for as long as the block."""
    boxes = [thing for thing in gc.get_objects() if type(thing) is server.outbox.Outbox]
    peers = [thing for thing in gc.get_objects() if type(thing) is server.peer.PeerProtocol]
    seen: list[int] = []

    async def look() -> None:
        while True:
            unsent = sum(peer.transport.get_write_buffer_size() for peer in peers)
            seen.append(unsent + sum(box.held_bytes for box in boxes))
            await asyncio.sleep(0.01)

    looking = asyncio.ensure_future(look())
    try:
        yield seen
    finally:
        looking.cancel()


# --- who does not read ----------------------------------------------------------------------------


async def test_a_reader_that_stops_is_cut_and_little_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(server.outbox, "LATE_S", 0.3)
    monkeypatch.setattr(server.outbox, "STUCK_S", 1.0)
    monkeypatch.setattr(server.talk, "STUCK_S", 1.0)
    async with trial() as house, raw(house.port, receive_buffer=4_096) as victim:
        await victim.hello()
        await victim.reader.readuntil(b"welcome")
        async with what_waits() as seen:
            for _ in range(3):  # some 8 s of audio, which nobody takes
                await victim.send(frame(TEXT, b'{"type":"text","text":"talk to me"}'))
                await asyncio.sleep(1.0)
            await gone(house)
        assert 1_000 < max(seen) < 120_000


async def test_a_reader_that_stops_after_bye_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server.talk, "STUCK_S", 1.0)
    async with trial() as house, raw(house.port, receive_buffer=4_096) as victim:
        await victim.hello()
        await victim.send(frame(TEXT, b'{"type":"text","text":"talk to me"}'))
        await victim.send(frame(TEXT, b'{"type":"bye"}'))
        await gone(house)  # though it never answers the close


async def test_pings_without_end_of_one_who_reads_no_answer_take_no_more_than_their_bound() -> None:
    async with trial() as house, raw(house.port, receive_buffer=4_096) as victim:
        await victim.hello()
        await victim.reader.readuntil(b"welcome")
        async with what_waits() as seen:
            for _ in range(100):  # 12 MB of pongs
                await victim.send(frame(PING, bytes(125)) * 1_000)
            await gone(house)
        assert 1_000_000 < max(seen) < 1.5 * server.peer.UNREAD_BYTES  # of 12 MB


# --- who comes too often, and too many ------------------------------------------------------------


async def test_a_reconnect_storm_of_200() -> None:
    async def storm(house: Trial, number: int) -> None:
        async with call(house.ws_url, {"voice": VICTIM}, open_timeout=30) as victim:
            await victim.say("text", text=f"number {number}")
            if number % 2:
                victim.socket.transport.abort()

    async with trial(ANTIPHON_MAX_SESSIONS=str(STORM + 10)) as house:
        async with asyncio.TaskGroup() as storms:
            for number in range(STORM):
                storms.create_task(storm(house, number))
                await asyncio.sleep(0.005)
        await gone(house)
        await house.talked_to()


async def test_a_storm_against_a_full_house_is_refused_in_order() -> None:
    async with trial(ANTIPHON_MAX_SESSIONS="2", **NO_WAITING) as house:
        async with house.call() as last_place:
            for _ in range(50):
                async with house.connect() as refused:
                    await refused.say("hello")
                    assert (await refused.until("error"))["code"] == "AT_CAPACITY"
                    assert await refused.closed() == 1013
            await last_place.say("text", text="still here")
            await last_place.until("reply_started")
        await gone(house)
        await house.talked_to()


async def test_twenty_barge_ins_in_ten_seconds() -> None:
    async with trial() as house, house.call(turn_detection="manual") as victim:
        async with asyncio.timeout(10):
            for turn in range(1, 22):
                await victim.speak(murmur(0.3))
                await victim.say("commit")
                await victim.until("reply_started", turn=turn)
                while not isinstance(await victim.next(), bytes):
                    pass
        assert (await victim.until("reply_done", reply=21))["status"] == "completed"
        assert [reply["reply"] for reply in victim.of("interrupted")] == [*range(1, 21)]
        assert [reply["reply"] for reply in victim.of("reply_done")] == [*range(1, 22)]


async def test_twenty_barge_ins_by_voice_are_each_held_and_decided() -> None:
    async with trial() as house, house.call(pace="quick") as victim:
        async with asyncio.timeout(5 * 10):  # 10 s, and five times that on a busy machine
            await victim.say("text", text="talk to me")
            for reply in range(1, 21):
                await victim.until("reply_started", reply=reply)
                while not isinstance(await victim.next(), bytes):
                    pass
                await victim.speak(murmur(0.4) + silence(0.4))
                await victim.until("interrupted", reply=reply)
        assert (await victim.until("reply_done", reply=21))["status"] == "completed"
        assert [held["reply"] for held in victim.of("reply_paused")] == [*range(1, 21)]
        assert [cut["reply"] for cut in victim.of("interrupted")] == [*range(1, 21)]
        # Sent faster than spoken, it may be over before its words are known: those cut in later.
        assert not victim.of("error")


async def test_cancelled_as_fast_as_it_is_asked() -> None:
    async with trial() as house, house.call() as victim:
        for number in range(1, 41):
            await victim.say("text", text=f"number {number}")
            await victim.until("transcript", final=True)
            await victim.say("cancel")
        await victim.say("text", text="and at last")
        await victim.until("transcript", turn=41, final=True)
        assert (await victim.play())["status"] == "completed"


async def test_a_hundred_http_requests_cut_short() -> None:
    async with trial() as house:
        for _ in range(100):
            async with raw(house.port) as victim:
                await victim.send(b"GET /status HTTP/1.1\r\nHost: localhost\r\n\r\n")
                victim.reset()


async def test_who_resets_while_being_refused() -> None:
    async with trial(ANTIPHON_MAX_SESSIONS="1", **NO_WAITING) as house:
        for _ in range(50):
            async with raw(house.port) as victim:
                await victim.upgrade()
                victim.reset()


async def test_who_leaves_the_waiting_room_or_vanishes_as_it_is_let_in_is_forgotten_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    admitted = Ticket.admitted.fget
    assert admitted is not None
    async with trial(ANTIPHON_MAX_SESSIONS="2", ANTIPHON_WAITING_ROOM="5") as house:
        async with house.call() as guest:
            async with raw(house.port) as waiting:
                await waiting.hello()
                await waiting.reader.readuntil(b'"waiting"')
                waiting.reset()
            async with raw(house.port) as next_one:
                await next_one.hello()
                await next_one.until(b'"position":1')
                let_in: list[Ticket] = []

                def vanish(ticket: Ticket) -> bool:
                    """The first to be let in is cut off in that very moment."""
                    got_in: bool = admitted(ticket)
                    if got_in and not let_in:
                        let_in.append(ticket)
                        next_one.reset()
                    return got_in

                async with house.connect() as behind:
                    await behind.say("hello", voice=VICTIM)
                    await behind.until("waiting", position=2)
                    monkeypatch.setattr(Ticket, "admitted", property(vanish))
                    await guest.say("bye")
                    await behind.until("welcome")
                    assert let_in
        await gone(house)


async def test_a_stranger_to_the_protocol_is_told_so_by_http() -> None:
    async with trial() as house:
        for junk in (b"\x16\x03\x01\x02\x00\x01\x00", b"HELO antiphon\r\n\r\n", b"\0" * 1_000):
            async with raw(house.port) as victim:
                await victim.send(junk)
                victim.writer.write_eof()
                async with asyncio.timeout(10):
                    answer = await victim.reader.read()
                assert not answer or answer.startswith(b"HTTP/1.1 400")
        with pytest.raises(websockets.InvalidStatus):
            await websockets.connect(house.ws_url + "/nowhere")
