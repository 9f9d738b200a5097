"""A caller in real time: a microphone that never stops, a loudspeaker on a clock, and a notebook.

    async with calling(url, instructions="Answer in one sentence.") as caller:
        turn = await caller.say(read_wav(clip))
        print(turn.voice_to_voice_s, turn.playback.stalls_s)

The microphone sends 20 ms frames, each when its last sample would have been recorded: the clip that
is being said, else noise at -60 dBFS. One task group a caller; it ends when the block does.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.line import Connect, Line, native_line
from benchmarks.playback import Playback
from server.cli.wav import Recording

Json = Mapping[str, Any]
Int16 = NDArray[np.int16]

FRAME_S = 0.02
REPORT_S = 0.25
NOISE_DBFS = -60.0
VOICED_DB = -40.0
"""The end of speech is its last sample above this, relative to its peak."""


@dataclass(frozen=True, slots=True)
class Note:
    """A message of the server and when it came, on the monotonic clock."""

    at: float
    message: Json


@dataclass(slots=True)
class Reply:
    """One reply as it is received: its messages and its sound."""

    number: int
    turn: int
    playback: Playback
    text: str = ""
    status: str = ""
    """Of `reply_done`; "" until it has come."""
    latency_ms: Mapping[str, float] = field(default_factory=dict)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    """No more audio will come."""
    flushed: asyncio.Event = field(default_factory=asyncio.Event)
    """And what has come is not played either."""


@dataclass(frozen=True, slots=True)
class Turn:
    """What came of one clip. Times are on the monotonic clock, in seconds."""

    speech_ended_at: float
    reply: Reply
    """The one that answered; its text, status, playback and latency."""
    transcripts: tuple[str, ...]
    notes: tuple[Note, ...]
    cut_off: bool
    """A reply began to sound before the speech was over: no latency, but a mistake."""

    @property
    def playback(self) -> Playback:
        return self.reply.playback

    @property
    def voice_to_voice_s(self) -> float | None:
        """From the last voiced sample said to the first audible one heard; None: no such."""
        heard_at = self.playback.first_audible_at
        return None if self.cut_off or heard_at is None else heard_at - self.speech_ended_at


def last_voiced(samples: Int16) -> int:
    """Index of the last sample above -40 dB of the peak."""
    level = np.abs(samples.astype(np.int32))
    return int(np.flatnonzero(level > level.max() * 10 ** (VOICED_DB / 20))[-1])


@asynccontextmanager
async def calling(
    url: str, *, line: Connect = native_line, rate_hz: int = 16_000, **settings: object
) -> AsyncIterator[Caller]:
    """Connect, say hello in `auto` turn detection, and run a caller for as long as the block.

    Raises what `websockets` raises, alone or in an ExceptionGroup, when the connection fails.
    """
    async with line(url) as connected:
        hello = {"type": "hello", "audio": {"rate": rate_hz}, "turn_detection": "auto", **settings}
        await connected.send(json.dumps(hello))
        caller = Caller(connected, rate_hz)
        async with asyncio.TaskGroup() as group:
            caller.start(group)
            try:
                async with asyncio.timeout(60):
                    await caller.welcomed.wait()
                yield caller
            finally:
                caller.stop()


class Caller:
    """A person on the line. Made by `calling`."""

    def __init__(self, line: Line, rate_hz: int) -> None:
        self._line = line
        self._rate_hz = rate_hz
        self._reply_hz = 24_000
        self._frame = round(rate_hz * FRAME_S)
        noise = np.random.default_rng(0).normal(0, 32_768 * 10 ** (NOISE_DBFS / 20), rate_hz)
        self._noise = noise.round().astype(np.int16)
        self._said = np.zeros(0, np.int16)
        self._sent_samples = 0
        self._started_at = 0.0
        self._group: asyncio.TaskGroup | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._changed = asyncio.Event()
        self.welcomed = asyncio.Event()
        self.replies: dict[int, Reply] = {}
        self.notes: list[Note] = []
        self._sounding: Reply | None = None

    def start(self, group: asyncio.TaskGroup) -> None:
        """Start the microphone and the ears in the group."""
        self._group = group
        self._spawn(self._microphone())
        self._spawn(self._ears())

    def stop(self) -> None:
        """End every task that `start` and the replies began."""
        for task in self._tasks:
            task.cancel()

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        assert self._group is not None, "started"
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def say(
        self, clip: Recording, *, listen_s: float | None = None, patience_s: float = 30.0
    ) -> Turn:
        """Say the clip from now on; returns when its reply is done.

        With `listen_s` the reply is cancelled after that much of it has been played. Raises
        `TimeoutError` when no reply is done `patience_s` after the clip (and `listen_s`).
        """
        if clip.rate_hz != self._rate_hz:
            raise ValueError(f"the line is at {self._rate_hz} Hz, the clip at {clip.rate_hz} Hz")
        first_note, before = len(self.notes), set(self.replies)
        begins_at = self._started_at + self._sent_samples / self._rate_hz
        ended_at = begins_at + last_voiced(clip.samples) / self._rate_hz
        self._said = clip.samples
        await asyncio.sleep(ended_at - time.monotonic())
        async with asyncio.timeout(patience_s + (listen_s or 0)):
            while not (reply := self._answer(before)):
                await self._next_change()
            if listen_s is not None:
                await self._hear_out(reply, listen_s)
            while not reply.status:
                await self._next_change()
        notes = tuple(self.notes[first_note:])
        new = [reply for number, reply in self.replies.items() if number not in before]
        return Turn(
            speech_ended_at=ended_at,
            reply=reply,
            transcripts=tuple(
                note.message["text"]
                for note in notes
                if note.message["type"] == "transcript" and note.message["final"]
            ),
            notes=notes,
            cut_off=any((other.playback.started_at or ended_at) < ended_at for other in new),
        )

    async def ask(self, text: str) -> None:
        """Type something, to a server that has forgotten what was said before."""
        await self._send({"type": "clear"})
        await self._send({"type": "text", "text": text})

    def _answer(self, before: set[int]) -> Reply | None:
        """The newest reply since, unless it is one that the speaker talked over."""
        new = [reply for number, reply in self.replies.items() if number not in before]
        if not new or new[-1].status == "interrupted":
            return None
        return new[-1] if new[-1].playback.started_at is not None or new[-1].status else None

    async def _hear_out(self, reply: Reply, listen_s: float) -> None:
        """Wait until so much of the reply has been played, or all of it; then cancel it."""
        while not reply.status:
            left_s = listen_s - reply.playback.played_ms(time.monotonic()) / 1_000
            if left_s <= 0:
                await self._send({"type": "cancel"})
                self._flush(reply)
                return
            await _wait(self._changed, left_s)
            self._changed.clear()

    async def _next_change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _send(self, message: Json) -> None:
        await self._line.send(json.dumps(message))

    async def _microphone(self) -> None:
        """Frames in real time, without end: what is said, else noise."""
        self._started_at = time.monotonic()
        while True:
            frame, self._said = self._said[: self._frame], self._said[self._frame :]
            if len(frame) < self._frame:
                at = self._sent_samples % (len(self._noise) - self._frame)
                frame = np.concatenate((frame, self._noise[at : at + self._frame - len(frame)]))
            self._sent_samples += len(frame)
            recorded_at = self._started_at + self._sent_samples / self._rate_hz
            await asyncio.sleep(recorded_at - time.monotonic())
            await self._line.send(frame.astype("<i2").tobytes())

    async def _ears(self) -> None:
        """Note every message, and put every piece of audio on the loudspeaker."""
        async for raw in self._line:
            now = time.monotonic()
            if isinstance(raw, bytes):
                if self._sounding is not None and not self._sounding.flushed.is_set():
                    self._sounding.playback.add(np.frombuffer(raw, "<i2"), now)
            else:
                message = json.loads(raw)
                self.notes.append(Note(now, message))
                self._take(message, now)
            self._changed.set()
        raise ConnectionError("the server ended the session")

    def _take(self, message: Json, now: float) -> None:
        reply = self.replies.get(message.get("reply", 0))
        match message["type"]:
            case "welcome":
                self._reply_hz = message["audio"]["rate"]
                self.welcomed.set()
            case "reply_started":
                reply = Reply(message["reply"], message["turn"], Playback(self._reply_hz))
                self.replies[reply.number] = self._sounding = reply
                self._spawn(self._loudspeaker(reply))
            case "reply_text" if reply:
                reply.text += message["text"]
            case "reply_paused" if reply:
                reply.playback.pause(now)
            case "reply_resumed" if reply:
                reply.playback.resume(now)
            case "reply_audio_end" if reply:
                reply.ended.set()
            case "interrupted" if reply:
                self._flush(reply)
            case "reply_done" if reply:
                reply.status = message["status"]
                reply.latency_ms = message.get("latency_ms") or {}
                self._flush(reply)
            case _:
                pass

    def _flush(self, reply: Reply) -> None:
        if not reply.flushed.is_set():
            reply.playback.flush(time.monotonic())
            reply.flushed.set()
            reply.ended.set()

    async def _loudspeaker(self, reply: Reply) -> None:
        """Report playback every 250 ms, and once more when it is over or flushed."""
        playback = reply.playback
        while not reply.flushed.is_set():
            now = time.monotonic()
            left_s = playback.ends_at - now
            if reply.ended.is_set() and left_s <= 0:
                break
            await _wait(reply.flushed, min(REPORT_S, left_s) if reply.ended.is_set() else REPORT_S)
            if not reply.flushed.is_set() and playback.started_at is not None:
                await self._report(reply, done=False)
        if playback.started_at is not None:
            await self._report(reply, done=True)

    async def _report(self, reply: Reply, *, done: bool) -> None:
        played_ms = reply.playback.played_ms(time.monotonic())
        report = {"type": "playback", "reply": reply.number, "played_ms": played_ms}
        await self._send({**report, "done": True} if done else report)


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    """Wait for the event, but no longer than this."""
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        pass
