"""What the client programs share: a microphone in real time, what they saw, and the scene they
play. Nothing but the standard library: each runs in an environment of its own.

    REALTIME_URL=ws://127.0.0.1:8000/v1/realtime LINES=FOLDER python NAME/client.py

LINES has the user's words as PCM of 24 kHz. What was seen is printed as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from time import monotonic
from typing import Any

URL = os.environ.get("REALTIME_URL", "")
"""Of the server: ws://HOST:PORT/v1/realtime."""
PCM_HZ = 24_000
FRAME_S = 0.04
WITHIN_S = 120.0
PAUSE_S = 0.5
"""Before the user speaks again."""
AHEAD_S = 4.0
"""What the loudspeaker still has to say when the user begins to cut in: a client knows itself cut
into only while it plays, and on a busy machine words are understood late."""
INSTRUCTIONS = "You are on the telephone. Answer in short, plain sentences."
WEATHER = "It is sunny and warm."
"""What the tool answers."""


class Microphone:
    """Never stops: silence, or what is to be said, in frames of 40 ms."""

    def __init__(self, send: Callable[[bytes], Awaitable[object]]) -> None:
        self._send = send
        self._ahead = b""

    def say(self, line: str) -> None:
        self._ahead += (Path(os.environ["LINES"]) / f"{line}.pcm").read_bytes()

    async def run(self) -> None:
        size, due = round(2 * PCM_HZ * FRAME_S), monotonic()
        while True:
            frame, self._ahead = self._ahead[:size], self._ahead[size:]
            await self._send(frame.ljust(size, b"\0"))
            due += FRAME_S
            await asyncio.sleep(max(0.0, due - monotonic()))


class Seen:
    """What the client told its user, in order."""

    def __init__(self) -> None:
        self.heard: list[str] = []
        """What it says that the user said."""
        self.said: list[str] = []
        """What it says that was answered."""
        self.tools: list[dict[str, Any]] = []
        self.errors: list[str] = []
        self.audio_s = 0.0
        self.cuts = 0
        """Replies that it says were cut into."""
        self._plays_until = 0.0
        self._news = asyncio.Event()

    def hears(self, text: str) -> None:
        if text.strip() and text not in self.heard:
            self.heard.append(text)
        self._news.set()

    def says(self, text: str) -> None:
        if text.strip() and text not in self.said:
            self.said.append(text)
        self._news.set()

    def calls(self, name: str, arguments: str | dict[str, Any]) -> None:
        read = json.loads(arguments) if isinstance(arguments, str) else arguments
        self.tools.append({"name": name, "arguments": read})
        self._news.set()

    def plays(self, audio: bytes) -> None:
        seconds = len(audio) / 2 / PCM_HZ
        self.audio_s += seconds
        self._plays_until = max(self._plays_until, monotonic()) + seconds
        self._news.set()

    @property
    def ahead_s(self) -> float:
        """What the loudspeaker still has to say."""
        return max(0.0, self._plays_until - monotonic())

    async def played(self) -> None:
        """Hear out what there is, as a user with manners does."""
        await asyncio.sleep(self.ahead_s + PAUSE_S)

    def is_cut(self) -> None:
        """The client says that what is played is not to be played on."""
        self.cuts += 1
        self._plays_until = 0.0
        self._news.set()

    def fails(self, error: object) -> None:
        self.errors.append(str(error))
        self._news.set()

    async def until(self, what: str, holds: Callable[[], bool]) -> None:
        """Raises `TimeoutError` that names what did not come."""
        try:
            async with asyncio.timeout(WITHIN_S):
                while not holds():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise TimeoutError(f"waited for {what} in vain; seen: {self.report()}") from None

    def report(self) -> str:
        shown = {name: value for name, value in vars(self).items() if name[0] != "_"}
        return json.dumps(shown)


def has(texts: list[str], word: str) -> bool:
    return any(word in text.lower() for text in texts)


async def play(microphone: Microphone, seen: Seen) -> None:
    """The scene: a question that needs a tool, a long answer, and words that cut it short."""
    running = asyncio.create_task(microphone.run())
    try:
        microphone.say("weather")
        await seen.until("the tool's answer", lambda: has(seen.said, "sunny"))
        await seen.played()
        microphone.say("story")
        await seen.until("a long answer", lambda: seen.ahead_s > AHEAD_S)
        cuts = seen.cuts
        microphone.say("name")
        await seen.until("its end", lambda: seen.cuts > cuts)
        await seen.until("the answer to what cut in", lambda: has(seen.said, "antiphon"))
        await seen.until("the words", lambda: has(seen.heard, "name"))  # may come after it
        await seen.played()
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def perform(scene: Callable[[Seen], Awaitable[None]]) -> None:
    """Play it, and print what was seen."""

    async def played() -> Seen:
        seen = Seen()
        await scene(seen)
        return seen

    print(asyncio.run(played()).report(), flush=True)
