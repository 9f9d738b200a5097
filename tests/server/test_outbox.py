"""What waits to be sent: order, overtaking, purging, and a client that does not read."""

from __future__ import annotations

import asyncio
import json
import struct
from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from pipeline.engines.ports import Tool
from pipeline.errors import SlowClient
from pipeline.events import (
    Interrupted,
    ReplyAudio,
    ReplyAudioEnd,
    ReplyDone,
    ReplyPaused,
    ReplyResumed,
    ReplyStarted,
    ReplyStatus,
    ReplyText,
    SpeechStarted,
    UserTranscript,
)
from server.outbox import EVENT_BYTES, LATE_S, MAX_TEXT_BYTES, READ_ON_BYTES, STUCK_S, Outbox
from server.sound import ReplyFrames
from server.wire.tagged import AudioForm
from session.messages import Configured, Event, GoingAway, Settings, Warned, Welcome


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def audio(reply: int, offset: int = 0) -> ReplyAudio:
    return ReplyAudio(reply, offset, bytes(200))


async def drain(box: Outbox) -> list[Event]:
    return [await box.next() for _ in range(len(box))]  # type: ignore[misc]


async def test_a_replys_messages_and_audio_keep_their_order() -> None:
    box = Outbox()
    events = [ReplyStarted(1, 1), ReplyText(1, "a"), audio(1), ReplyText(1, "b"), audio(1, 100)]
    for event in events:
        box.put(event)
    assert await drain(box) == events


async def test_speech_overtakes_audio() -> None:
    box = Outbox()
    box.put(audio(1))
    box.put(SpeechStarted(2, 0))
    assert [type(event) for event in await drain(box)] == [SpeechStarted, ReplyAudio]


async def test_a_final_transcript_still_comes_before_its_reply() -> None:
    box = Outbox()
    box.put(UserTranscript(1, "hello", final=True))
    box.put(ReplyStarted(1, 1))
    assert [type(event) for event in await drain(box)] == [UserTranscript, ReplyStarted]


async def test_an_interruption_purges_the_replys_audio_and_keeps_its_text() -> None:
    box = Outbox()
    box.put(ReplyText(1, "a"))
    box.put(audio(1))
    box.put(audio(1, 100))
    box.put(Interrupted(1, ""))
    assert [type(event) for event in await drain(box)] == [Interrupted, ReplyText]
    assert box.audio_bytes == 0


async def test_a_cancelled_reply_leaves_no_audio_before_its_end() -> None:
    box = Outbox()
    box.put(audio(1))
    box.put(ReplyDone(1, 1, "cancelled", "a", ""))
    assert [type(event) for event in await drain(box)] == [ReplyDone]


async def test_audio_that_would_be_too_late_is_dropped_with_one_warning() -> None:
    clock = Clock()
    box = Outbox(clock)
    box.put(audio(1))
    clock.now = LATE_S + 1
    box.put(audio(1, 100))
    box.put(audio(1, 200))
    warned, first = await drain(box)
    assert isinstance(warned, Warned)
    assert isinstance(warned.error, SlowClient)
    assert first == audio(1)
    box.put(audio(1, 300))  # the client has caught up
    assert await drain(box) == [audio(1, 300)]


async def test_a_client_that_is_stuck_is_given_up() -> None:
    clock = Clock()
    box = Outbox(clock)
    box.put(audio(1))
    clock.now = STUCK_S + 1
    with pytest.raises(SlowClient):
        await box.next()


async def test_more_events_than_the_box_holds_are_a_stuck_client_too() -> None:
    box = Outbox()
    most = MAX_TEXT_BYTES // EVENT_BYTES
    for _ in range(most):
        box.put(SpeechStarted(1, 0))
    assert not box.stuck
    for _ in range(10):
        box.put(SpeechStarted(1, 0))
    assert box.stuck
    assert len(box) == most + 1


async def test_what_was_read_or_purged_takes_no_room() -> None:
    clock = Clock()
    box = Outbox(clock)
    for number in range(300):
        clock.now = 10.0 * number
        for event in (ReplyStarted(1, 1), ReplyText(1, "x" * 1_000), audio(1), audio(1, 100)):
            box.put(event)
        clock.now += LATE_S + 1
        box.put(audio(1, 200))  # too late: a warning
        box.put(Interrupted(1, "x" * 1_000))
        assert len(await drain(box)) == 4
    assert not box.stuck
    assert (box.audio_bytes, box._text_bytes) == (0, 0)


async def test_more_text_than_the_box_holds_is_a_stuck_client_too() -> None:
    box = Outbox()
    for _ in range(12):
        box.put(ReplyText(1, "€" * 20_000))  # three bytes each
    assert box.stuck
    assert len(box) == 2


async def test_one_message_of_whatever_size_leaves_room_for_the_others() -> None:
    box = Outbox()
    most = MAX_TEXT_BYTES // EVENT_BYTES
    for _ in range(most // 2):
        box.put(SpeechStarted(1, 0))
    box.put(ReplyText(1, "€" * MAX_TEXT_BYTES))  # behind what waits, and before what comes
    for _ in range(most - most // 2):
        box.put(SpeechStarted(1, 0))
    assert not box.stuck
    box.put(SpeechStarted(1, 0))
    assert box.stuck


async def test_a_message_that_has_left_makes_no_room_for_others() -> None:
    box = Outbox()
    box.put(ReplyText(1, "x" * MAX_TEXT_BYTES))
    assert await box.next() == ReplyText(1, "x" * MAX_TEXT_BYTES)
    for _ in range(12):
        box.put(ReplyText(1, "€" * 20_000))
    assert (box.stuck, len(box)) == (True, 2)


async def test_whoever_reads_what_a_client_asks_waits_until_the_box_is_half_empty() -> None:
    box = Outbox()
    quarter = MAX_TEXT_BYTES // 4 - EVENT_BYTES
    for _ in range(2):
        box.put(ReplyText(1, "x" * quarter))
    await box.room()
    for _ in range(2):
        box.put(ReplyText(1, "x" * quarter))
    box.put(audio(1))  # takes none of it
    waiting = asyncio.ensure_future(box.room())
    for left in (3, 2):
        await asyncio.sleep(0)
        assert not waiting.done(), f"{left + 1} quarters of it wait"
        await box.next()
    await waiting


async def test_nothing_of_a_reply_overtakes_its_start() -> None:
    box = Outbox()
    events = [ReplyStarted(1, 1), Interrupted(1, ""), ReplyDone(1, 1, "interrupted", "", "")]
    for event in events:
        box.put(event)
    assert await drain(box) == events


async def test_the_steps_of_a_reply_keep_their_order_however_the_client_reads() -> None:
    """A pause that came after its own end would hold the reply for good."""
    box = Outbox()
    for event in (audio(1), ReplyStarted(2, 2), ReplyPaused(2)):
        box.put(event)
    taken = [await box.next() for _ in range(2)]  # its start has left, its pause has not
    box.put(ReplyResumed(2))
    box.put(ReplyPaused(2))
    box.put(Interrupted(2, ""))
    taken += await drain(box)
    assert taken[1:] == [
        ReplyStarted(2, 2), ReplyPaused(2), ReplyResumed(2), ReplyPaused(2),
        Interrupted(2, ""),
    ]  # fmt: skip
    box.put(audio(3))
    box.put(ReplyPaused(3))
    assert isinstance(await box.next(), ReplyPaused)  # again before the audio
    assert not box._steps


async def test_nothing_overtakes_the_welcome() -> None:
    box, going = Outbox(), GoingAway(100)
    welcome = Welcome("s_1", Settings("tone", ""), 1, 1, 16_000, 24_000)
    for event in (welcome, SpeechStarted(1, 0), going):
        box.put(event)
    assert await drain(box) == [welcome, SpeechStarted(1, 0), going]
    box.put(audio(1))
    box.put(going)
    assert await box.next() == going


@given(st.data())
@settings(deadline=None)
def test_steps_of_a_reply_leave_in_the_order_in_which_they_came(data: st.DataObject) -> None:
    async def run() -> None:
        box, came, left = Outbox(), list[Event](), list[Event | None]()
        kinds = [ReplyStarted(1, 1), ReplyPaused(1), ReplyResumed(1), Interrupted(1, "")]
        for step in data.draw(st.lists(st.sampled_from([*kinds, audio(1), None]), max_size=30)):
            if step is not None:
                box.put(step)
                came.append(step)
            elif len(box):
                left.append(await box.next())
        left += await drain(box)
        assert [e for e in left if not isinstance(e, ReplyAudio)] == [
            e for e in came if not isinstance(e, ReplyAudio)
        ]

    asyncio.run(run())


async def test_a_closed_box_gives_what_it_has_and_then_ends() -> None:
    box = Outbox()
    waiting = asyncio.ensure_future(box.next())
    await asyncio.sleep(0)
    box.put(ReplyText(1, "a"))
    box.close()
    assert await waiting == ReplyText(1, "a")
    assert await box.next() is None


async def test_settings_that_are_told_take_what_their_instructions_take() -> None:
    box = Outbox()
    told = Configured(Settings("tone", "x" * (MAX_TEXT_BYTES // 2)))
    box.put(told)
    box.put(told)
    assert box.held_bytes == 2 * (EVENT_BYTES + MAX_TEXT_BYTES // 2)
    box.put(told)
    assert box.stuck


async def test_settings_that_are_told_take_what_their_tools_take() -> None:
    box = Outbox()
    tool = Tool("clock", "€" * 10, '{"a": 1}')
    box.put(Configured(Settings("tone", "Be kind.", tools=(tool, tool))))
    assert box.held_bytes == EVENT_BYTES + 8 + 2 * (5 + 30 + 8)


async def test_what_is_kept_elsewhere_until_it_is_sent_takes_room_too() -> None:
    box, beside = Outbox(), [READ_ON_BYTES]
    await box.room(lambda: sum(beside))  # nothing waits: nothing would end a wait
    box.put(ReplyText(1, "a"))
    box.put(ReplyText(1, "b"))
    waiting = asyncio.ensure_future(box.room(lambda: sum(beside)))
    await asyncio.sleep(0)
    await box.next()
    await asyncio.sleep(0)
    assert not waiting.done()
    beside.clear()
    await box.next()
    await waiting


FORMS = [AudioForm(), AudioForm(framing="tagged"), AudioForm(codec="opus", framing="tagged")]
MOVES = ["start", "say", "say", "all sent", "interrupt", "speech", "send", "send"]
CHUNK = 720
"""Samples: one packet and a half, so that an encoder always holds some."""


@dataclass
class Speaker:
    """Puts replies into a box, as the machine gives them, and takes frames out."""

    form: AudioForm
    box: Outbox = field(default_factory=Outbox)
    reply: int = 0
    offset: int = 0
    interrupted: set[int] = field(default_factory=set)
    """Those of which the client was told."""

    def __post_init__(self) -> None:
        self.frames = ReplyFrames(self.form)

    def play(self, move: str) -> None:
        """One move; what a reply does only while there is one."""
        if move == "send":
            self.send()
        elif move == "start":
            self.end("completed")
            self.reply, self.offset = self.reply + 1, 0
            self.box.put(ReplyStarted(self.reply, self.reply))
        elif move == "say" and self.offset >= 0:
            pcm = np.full(CHUNK, self.reply, "<i2").tobytes()
            self.box.put(ReplyAudio(self.reply, self.offset, pcm))
            self.offset += CHUNK
        elif move == "all sent" and self.offset > 0:
            self.box.put(ReplyAudioEnd(self.reply, self.offset // 24))
            self.offset = -1
        elif move == "interrupt" and self.reply:
            self.box.put(Interrupted(self.reply, ""))
            self.end("interrupted")
        elif move == "speech":
            self.box.put(SpeechStarted(self.reply + 1, 0))

    def end(self, status: ReplyStatus) -> None:
        if self.reply:
            self.box.put(ReplyDone(self.reply, self.reply, status, "", ""))
        self.offset = -1

    def send(self) -> None:
        """What comes next in the box goes out as frames."""
        if not len(self.box):
            return
        event = asyncio.run(self.box.next())
        assert event is not None
        for one in self.frames(event):
            if isinstance(one, bytes):
                assert self._reply_of(one) not in self.interrupted
            elif (told := json.loads(one))["type"] == "interrupted":
                self.interrupted.add(told["reply"])

    def _reply_of(self, audio: bytes) -> int:
        """Whose audio it is: as it is tagged, or, raw, by what a test put in."""
        head = "<I" if self.form.framing == "tagged" else "<h"
        return int(struct.unpack_from(head, audio)[0])


@pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.codec} {form.framing}")
@given(moves=st.lists(st.sampled_from(MOVES), max_size=30))
@example(moves=["start", "say", "send", "send", "all sent", "interrupt", "send", "send"])
@settings(max_examples=150, deadline=None)
def test_no_audio_of_a_reply_follows_its_interruption(form: AudioForm, moves: list[str]) -> None:
    speaker = Speaker(form)
    for move in moves:
        speaker.play(move)
    while len(speaker.box):
        speaker.send()
