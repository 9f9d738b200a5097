"""What one session can hold at its bounds, whatever its client does."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest

from pipeline.errors import BadMessage
from pipeline.events import ReplyAudio, ReplyText, UserTranscript
from pipeline.voicing import REPLY_HZ
from server.intake import Intake
from server.outbox import LATE_S, Outbox
from server.wire.native import decode, ref_of
from session.limits import FRAMES_PER_S, MESSAGES_WINDOW_S, TEXT_BYTES
from session.messages import Say
from tests.support import call, live_server

MOST_BYTES = 2_000_000


SHELL = '{"type":"text","text":"%s"}'
ROOM_BYTES = TEXT_BYTES - len(SHELL % "")


def typed(text: str) -> Say:
    said = decode(SHELL % text)
    assert isinstance(said, Say)
    return said


@pytest.mark.parametrize("letter", ["x", "\u00e9", "\u20ac", "\U0001f600"])
def test_a_text_frame_is_bounded_by_its_bytes_whatever_its_letters(letter: str) -> None:
    most = ROOM_BYTES // len(letter.encode())
    assert len(typed(letter * most).text) == most
    with pytest.raises(BadMessage, match="100000 bytes"):
        typed(letter * (most + 1))
    assert ref_of(SHELL % (letter * (most + 1))) is None


async def test_a_session_at_its_bounds_takes_less_than_two_megabytes() -> None:
    async with live_server() as server, call(server.ws_url, {}):
        (session,) = server.house.sessions
        second = np.arange(16_000, dtype="<i2").tobytes()
        gc.collect()
        tracemalloc.start()
        try:
            outbox = Outbox(clock=lambda: 0.0)
            for _ in range(60):
                session.hear(second)
            for turn in range(300):
                said = UserTranscript(turn, f"turn {turn}" + " and so on" * 20, final=True)
                session.conversation.note(said)
            frame = bytearray(4_800)
            for _ in range(round(10 * (LATE_S + 1.0))):  # as late as it may be, and a second ahead
                outbox.put(ReplyAudio(1, 0, bytes(frame)))
            while not outbox.stuck:
                outbox.put(ReplyText(1, f"{len(outbox)} words of a reply"))
            await session.tell(typed("\U0001f600" * (ROOM_BYTES // 4)))
            intake = Intake()
            for _ in range(round(FRAMES_PER_S * MESSAGES_WINDOW_S) - 1):  # one more is a flood
                intake.check_frame(b"")
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # The ring's pages were there before the measuring began.
        ring = session._pipeline.listening._ring._ring.nbytes
        made_ahead = 10 * REPLY_HZ * 2
        assert held + ring + made_ahead < MOST_BYTES
