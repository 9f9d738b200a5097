"""What one session can hold at its bounds, whatever its client does."""

from __future__ import annotations

import gc
import tracemalloc

import numpy as np
import pytest

from pipeline.errors import BadMessage
from pipeline.events import ReplyAudio, ReplyText, UserTranscript
from pipeline.signals import Typed
from pipeline.voicing import REPLY_HZ
from server.intake import Intake
from server.outbox import LATE_S, Outbox
from server.wire.native import decode, ref_of
from session.limits import FRAMES_PER_S, MESSAGES_WINDOW_S, TEXT_BYTES
from session.messages import Configure, Say
from tests.support import ROOT, call, live_server

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


ASCII = "x" * ROOM_BYTES
WIDENED = "x" * (ROOM_BYTES - 4) + "\U0001f600"
"""One such letter, and Python keeps each of a text in four bytes."""


@pytest.mark.parametrize(
    ("text", "most_bytes"), [("x" * 4_000, 2_040_000), (ASCII, 2_400_000), (WIDENED, 3_600_000)]
)
async def test_a_session_at_all_its_bounds_at_once_takes_so_much_and_no_more(
    text: str, most_bytes: int
) -> None:
    """Audio at its bounds is 1.9 MB; what is more is text, as long as it may be wherever it is."""
    roomy = {"ANTIPHON_CHARACTERS_PER_MINUTE": "10000000"}
    async with live_server(**roomy) as server, call(server.ws_url, {}):
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
            # The instructions, a turn that is being answered, and one that waits behind it, and
            # one typed while words are awaited; each
            # is a text of its own, as each would be that came in a frame of its own.
            kept = [decode(SHELL % text) for _ in range(4)]
            session._choices.change(Configure(instructions=kept[0].text))
            session.conversation.note(UserTranscript(301, kept[1].text, final=True))
            await session._inbox.put(kept[2])
            session._turns.machine.user.ends.type(Typed(kept[3].text))
            intake = Intake()
            for _ in range(round(FRAMES_PER_S * MESSAGES_WINDOW_S) - 1):  # one more is a flood
                intake.check_frame(b"")
            del kept
            gc.collect()
            # Of our own lines: other threads of this process may be at work still.
            ours = tracemalloc.Filter(True, str(ROOT / "*"))
            lines = tracemalloc.take_snapshot().filter_traces([ours]).statistics("lineno")
            held = sum(line.size for line in lines)
        finally:
            tracemalloc.stop()
        # The rings' pages are mapped, not allocated: what was heard, and what was sent of late.
        ears = session._pipeline.listening._ring._ring.nbytes
        loudspeaker = session._pipeline._loudspeaker._sent._ring.nbytes
        made_ahead = 10 * REPLY_HZ * 2
        took = held + ears + loudspeaker + made_ahead
        assert took < most_bytes, [str(line) for line in lines[:12]]
        assert took > 0.9 * most_bytes, "the bound is meant to be close"
