"""What one session can hold at its bounds, whatever its client does."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np

from pipeline.events import ReplyAudio, ReplyText, UserTranscript
from pipeline.speaking import REPLY_HZ
from server.outbox import LATE_S, Outbox
from session.limits import TEXT_BYTES
from session.messages import Say
from tests.support import call, live_server

MOST_BYTES = 2_000_000


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
            await session.tell(Say("x" * TEXT_BYTES))
            gc.collect()
            held, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        # The ring's pages were there before the measuring began.
        ring = session._pipeline.listening._ring._ring.nbytes
        made_ahead = 10 * REPLY_HZ * 2
        assert held + ring + made_ahead < MOST_BYTES
