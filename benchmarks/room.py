"""Where a caller sits: sounds reach the microphone besides the voice, the loudspeaker's among them.

    async with in_a_room(url, instructions="Tell a long story.") as room:
        onset_at = room.begin(read_wav(clip))
        await room.until(lambda: room.reply is not None, within_s=10)

It lies on the caller's line: what the microphone sends is mixed here, and what the server says is
overheard, so that audio which should not have come is counted too.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from benchmarks.client import VOICED_DB, Caller, Int16, Note, Reply, calling
from benchmarks.line import Line, native_line
from server.cli.wav import Recording

RATE_HZ = 16_000
REPLY_HZ = 24_000
QUIET_S = 0.1
"""Sound after as much quiet is a new onset: within a word it is never so quiet for so long."""


def onsets(samples: Int16) -> list[int]:
    """Where sound begins (above -40 dB of the clip's peak): first of all, and after quiet."""
    level = np.abs(samples.astype(np.int32))
    loud = np.flatnonzero(level > level.max() * 10 ** (VOICED_DB / 20))
    later = [int(b) for a, b in pairwise(loud) if b - a > QUIET_S * RATE_HZ]
    return [int(loud[0]), *later]


class Echo:
    """The way from the loudspeaker into the microphone: `gain_db` louder, `delay_s` late. Pure."""

    def __init__(self, gain_db: float, delay_s: float) -> None:
        self._gain = 10 ** (gain_db / 20)
        self._late = np.zeros(round(delay_s * RATE_HZ))

    def pass_on(self, played: Int16, samples: int) -> Int16:
        """Take what was played at 24 kHz meanwhile; give `samples` at 16 kHz of what was before."""
        at = np.linspace(0, len(played), samples, endpoint=False)
        heard = np.interp(at, np.arange(len(played)), played) if len(played) else np.zeros(samples)
        line = np.concatenate((self._late, self._gain * heard))
        now, self._late = line[:samples], line[samples:]
        return now.round().astype(np.int16)


class Room:
    """One caller's surroundings. Made by `in_a_room`."""

    def __init__(self, echo: Echo | None = None) -> None:
        self._echo = echo
        self._news = asyncio.Event()
        self._sound = np.zeros(0, np.int16)
        self._sent = 0
        self._epoch = float("inf")
        self._echoed = _Echoed()
        self._silenced = False
        self.line: Line
        self.caller: Caller
        self.notes: list[Note] = []
        self.late_samples = 0
        """Audio that came between an `interrupted` and the next `reply_started`."""

    # --- what happens in it ----------------------------------------------------------------------

    @property
    def reply(self) -> Reply | None:
        """The one that is being played, or is about to be."""
        last = next(reversed(self.caller.replies.values()), None)
        return None if last is None or last.flushed.is_set() else last

    def begin(self, sound: Recording) -> float:
        """Let it sound from the next frame on; returns when, of the monotonic clock, it begins."""
        if sound.rate_hz != RATE_HZ:
            raise ValueError(f"the room is at {RATE_HZ} Hz, the sound at {sound.rate_hz} Hz")
        self._sound = sound.samples
        return self._epoch + self._sent / RATE_HZ

    async def until(self, condition: Callable[[], object], within_s: float) -> bool:
        """Wait until it holds, looking whenever something is told; False: it did not in time."""
        try:
            async with asyncio.timeout(within_s):
                while not condition():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            return False
        return True

    # --- the line --------------------------------------------------------------------------------

    async def send(self, frame: str | bytes) -> None:
        """From the caller to the server; a frame of the microphone is mixed with what sounds."""
        if isinstance(frame, bytes):
            voice = np.frombuffer(frame, "<i2").astype(np.int32)
            self._sent += len(voice)
            # A frame is sent when its last sample was recorded, or a little later.
            self._epoch = min(self._epoch, time.monotonic() - self._sent / RATE_HZ)
            sound, self._sound = self._sound[: len(voice)], self._sound[len(voice) :]
            voice[: len(sound)] += sound
            if self._echo is not None:
                voice += self._echo.pass_on(self._played(len(voice)), len(voice))
            frame = voice.clip(-32_768, 32_767).astype("<i2").tobytes()
        await self.line.send(frame)

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        """From the server to the caller."""
        async for frame in self.line:
            if isinstance(frame, bytes):
                self.late_samples += len(frame) // 2 if self._silenced else 0
            else:
                note = Note(time.monotonic(), json.loads(frame))
                self.notes.append(note)
                if note.message["type"] in ("interrupted", "reply_started"):
                    self._silenced = note.message["type"] == "interrupted"
            self._news.set()
            yield frame

    def _played(self, samples: int) -> Int16:
        """What left the loudspeaker during the frame that ends now, at 24 kHz."""
        most = samples * REPLY_HZ // RATE_HZ
        piece = np.zeros(most, np.int16)
        reply = self.reply
        if reply is None:
            return piece
        if self._echoed.reply != reply.number:
            self._echoed = _Echoed(reply.number)
        start, sounded = self._echoed.to, self._echoed.sounds
        # By the time of the frame, not of the clock: tasks wake late, loudspeakers do not.
        ended_at = self._epoch + self._sent / RATE_HZ
        end = max(start, reply.playback.played_ms(ended_at) * REPLY_HZ // 1_000)
        if abs(end - start - most) < 3 * REPLY_HZ // 1_000:
            end = start + most  # whole milliseconds
        heard = reply.playback.audio[max(start, end - most) : end]
        at = 0 if sounded else most - len(heard)
        piece[at : at + len(heard)] = heard
        self._echoed = _Echoed(reply.number, end, sounds=len(heard) == most)
        return piece


@dataclass(frozen=True, slots=True)
class _Echoed:
    """How far a reply has come out of the loudspeaker, and whether it was sounding there."""

    reply: int = 0
    to: int = 0
    sounds: bool = False


@asynccontextmanager
async def in_a_room(url: str, echo: Echo | None = None, **settings: object) -> AsyncIterator[Room]:
    """A caller in a room of their own, for as long as the block."""
    room = Room(echo)

    @asynccontextmanager
    async def through_the_room(url: str) -> AsyncIterator[Line]:
        async with native_line(url) as room.line:
            yield room

    async with calling(url, line=through_the_room, rate_hz=RATE_HZ, **settings) as room.caller:
        yield room
