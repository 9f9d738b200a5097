"""A bystander: someone in a quiet conversation of their own while things go wrong for others.

The bystander speaks, listens to the answer in real time, and speaks again. What is promised:

- *no underrun*: no reply's playback stood still for longer than `DRY_S` between its first sample
  and its last, at a loudspeaker that starts with the first frame and has no buffer of its own;
- *no missed deadline*: the first audible sample of every answer came within `ANSWER_S` of the last
  sample of speech, and no answer began before it;
- *its turn*: whatever it asked an engine for, it was the next one to be served, if it had to wait
  at all; a reply begun on a guess may wait behind everybody;
- *nothing of anybody else's*: every turn's words and every reply's samples are those of the script,
  byte for byte, and nothing was warned of or failed.

On two cores that do little else an answer comes after 0.26 to 0.30 s (0.6 s from a process of its
own), and nothing stands still. How late the event loop itself came back meanwhile is not counted,
up to `HELD_UP_S`: a machine that does other things is nobody's fault here.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import numpy as np

from benchmarks.client import Caller, Turn, calling
from server.cli.wav import Recording
from tests.support import murmur

DRY_S = 0.1
ANSWER_S = 1.0
HELD_UP_S = 0.5
"""More than by the fault that blocks the event loop for a moment."""
TICK_S = 0.01
HEARD = "Can you hear me now?"
ANSWER = "Here I am. And here."

_CLIP = Recording(np.frombuffer(murmur(0.3), "<i2").astype(np.int16), 16_000)


@dataclass
class Bystander:
    """A conversation in turns; `turns` are those that have ended."""

    caller: Caller
    heard: str
    answer: str
    turns: list[Turn] = field(default_factory=list)
    bears: set[str] = field(default_factory=set)
    """Codes of warnings that it may be told: of a fault that is everybody's."""
    _late: list[tuple[float, float]] = field(default_factory=list)
    """When the event loop was to come back, and when it did."""
    _enough: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def session(self) -> str:
        """Its id."""
        welcomes = (note.message for note in self.caller.notes if note.message["type"] == "welcome")
        return str(next(welcomes)["session"])

    async def watch(self) -> None:
        """See how late the event loop is, until cancelled."""
        while True:
            due = time.monotonic() + TICK_S
            await asyncio.sleep(TICK_S)
            self._late.append((due, time.monotonic()))

    def _held_up_s(self, turn: Turn) -> float:
        """How late the event loop was from the turn's last word to the end of its answer."""
        since, until = turn.speech_ended_at, turn.playback.ends_at
        late_s = (min(came, until) - max(due, since) for due, came in self._late)
        return min(HELD_UP_S, sum(late for late in late_s if late > 0))

    async def converse(self) -> None:
        """Take turns until told that it is enough, and one more: it begins after the fault."""
        last = False
        while not last:
            last = self._enough.is_set()
            self.turns.append(await self.caller.say(_CLIP))

    def wind_up(self) -> None:
        """Finish the turn under way, take another, and hang up."""
        self._enough.set()

    async def listens(self) -> None:
        """Wait until the first answer is heard: a fault from now on falls into a reply."""
        greeted = set(self.caller.replies)
        async with asyncio.timeout(20):
            while not any(
                reply.playback.started_at is not None
                for number, reply in self.caller.replies.items()
                if number not in greeted
            ):
                await asyncio.sleep(0.01)

    def check(self) -> None:
        """Raise an AssertionError for the first promise that was not kept."""
        first = self.turns[0].playback.audio
        for number, turn in enumerate(self.turns, 1):
            where = f"the bystander's turn {number} of {len(self.turns)}"
            assert turn.transcripts == (self.heard,), f"{where}: heard {turn.transcripts}"
            assert turn.reply.text == self.answer, f"{where}: answered {turn.reply.text!r}"
            assert turn.reply.status == "completed", f"{where}: {turn.reply.status}"
            assert not turn.cut_off, f"{where} was answered before its end"
            late_s = turn.voice_to_voice_s
            assert late_s is not None, f"{where} was not answered in sound"
            held_up_s = self._held_up_s(turn)
            assert late_s <= ANSWER_S + held_up_s, f"{where} was answered after {late_s:.2f} s"
            dry_s = max(turn.playback.stalls_s, default=0.0)
            assert dry_s <= DRY_S + held_up_s, f"{where}: playback stood still for {dry_s:.2f} s"
            same = np.array_equal(turn.playback.audio, first)
            assert same, f"{where}: its audio differs from the first reply's"
        troubles = [
            note.message
            for note in self.caller.notes
            if note.message["type"] in ("warning", "error", "reply_paused", "interrupted")
            and note.message.get("code") not in self.bears
        ]
        assert not troubles, f"the bystander was told {troubles}"


@asynccontextmanager
async def bystander(
    ws_url: str, *, heard: str = HEARD, answer: str = ANSWER, greeting: str = "", speed: float = 1.0
) -> AsyncIterator[Bystander]:
    """A bystander at a server: in a reply when the block begins, and for a whole turn after it;
    checked then.

    `heard` and `answer` are what the server's scripted engines hear and say; its `greeting` is
    heard out before the first turn.
    """
    async with (
        calling(ws_url, voice="tone", pace="quick", speed=speed) as caller,
        asyncio.TaskGroup() as group,
    ):
        if greeting:
            async with asyncio.timeout(20):
                while 1 not in caller.replies or not caller.replies[1].status:
                    await asyncio.sleep(0.01)
        person = Bystander(caller, heard, answer)
        talk = group.create_task(person.converse())
        watch = group.create_task(person.watch())
        talk.add_done_callback(lambda _: watch.cancel())
        try:
            await person.listens()
            yield person
        except BaseException:
            talk.cancel()
            raise
        person.wind_up()
    person.check()
