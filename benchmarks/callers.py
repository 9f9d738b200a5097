"""The soak's callers, in a process of their own: they come, talk, interrupt, vanish, come again.

    python -m benchmarks.callers ws://... SECONDS AT_ONCE

prints one line of JSON at its end: how many sessions of each kind there were.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections import Counter
from typing import Any

import numpy as np
import websockets

RATE_HZ = 16_000
FRAME_S = 0.02
PATIENCE_S = 30.0
KINDS = ("speaks", "types", "interrupts", "vanishes", "storms")


def _speech() -> bytes:
    """0.4 s of tone, which the scripted ear takes for speech, and silence that ends the turn."""
    t = np.arange(round(0.4 * RATE_HZ)) / RATE_HZ
    tone = (9_000 * np.sin(2 * np.pi * 300 * t)).astype("<i2").tobytes()
    return tone + bytes(2 * round(1.2 * RATE_HZ))


SPEECH = _speech()


class Guest:
    """One session."""

    def __init__(self, socket: websockets.ClientConnection, chance: random.Random) -> None:
        self._socket = socket
        self._chance = chance

    async def say(self, kind: str, **fields: object) -> None:
        await self._socket.send(json.dumps({"type": kind, **fields}))

    async def until(self, *kinds: str) -> dict[str, Any]:
        """The next message of one of these kinds. Raises when the server says that it failed."""
        while True:
            raw = await self._socket.recv()
            if isinstance(raw, bytes):
                if "audio" in kinds:
                    return {}
                continue
            message: dict[str, Any] = json.loads(raw)
            if message["type"] in kinds:
                return message
            if message["type"] == "error":
                raise RuntimeError(f"the server said {message}")

    async def hear_out(self) -> None:
        end = await self.until("reply_audio_end")
        played = {"reply": end["reply"], "played_ms": end["audio_ms"], "done": True}
        await self.say("playback", **played)
        await self.until("reply_done")

    async def speak(self) -> None:
        step = round(FRAME_S * RATE_HZ) * 2
        for start in range(0, len(SPEECH), step):
            await self._socket.send(SPEECH[start : start + step])

    async def act(self, kind: str) -> None:
        """One kind of visit."""
        await self.say("hello", speed=4.0, pace="quick")
        if kind == "storms":  # gone before it is welcomed
            self._socket.transport.abort()
            return
        await self.until("welcome")
        match kind:
            case "speaks":
                await self.speak()
                await self.hear_out()
            case "types":
                for number in range(2):
                    await self.say("text", text=f"line {number}")
                    await self.hear_out()
            case "interrupts":
                for number in range(3):
                    await self.say("text", text=f"line {number}")
                    await self.until("reply_started")
                    await self.until("audio")
                await self.say("cancel")
                await self.until("reply_done")
            case "vanishes":
                await self.speak()
                await self.until(
                    *self._chance.choice((("transcript",), ("reply_started",), ("audio",)))
                )
                self._socket.transport.abort()
                return
            case _:
                raise ValueError(kind)
        await self.say("bye")
        await self._socket.wait_closed()


async def come_and_go(url: str, until: float, number: int, counts: Counter[str]) -> None:
    """Session after session, of kinds drawn by chance, until the time is over."""
    chance = random.Random(number)
    while time.monotonic() < until:
        kind = chance.choice(KINDS)
        try:
            async with asyncio.timeout(PATIENCE_S):
                async with websockets.connect(url, compression=None, close_timeout=5) as socket:
                    await Guest(socket, chance).act(kind)
            counts[kind] += 1
        except websockets.ConnectionClosed as closed:
            counts[f"{kind}: closed {closed.code}"] += 1
        except (OSError, TimeoutError, RuntimeError) as error:
            counts[f"{kind}: {error!r}"] += 1


async def main(url: str, seconds: float, at_once: int) -> None:
    """Come and go, so many at once; print the counts, and the CPU time it took."""
    counts: Counter[str] = Counter()
    until = time.monotonic() + seconds
    async with asyncio.TaskGroup() as crowd:
        for number in range(at_once):
            crowd.create_task(come_and_go(url, until, number, counts))
            await asyncio.sleep(1 / at_once)
    print(json.dumps({"counts": counts, "cpu_s": time.process_time()}))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2]), int(sys.argv[3])))
