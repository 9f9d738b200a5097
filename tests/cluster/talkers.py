"""Users of a cluster: each converses, and comes back by its resume token when its line is lost."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

import websockets

from tests.contract.chat_backend import ChatBackend
from tests.support import Caller, call, murmur, silence

LOST = (websockets.ConnectionClosed, OSError, websockets.InvalidStatus, websockets.InvalidMessage)
SPEAKS_EVERY = 3
"""One turn in so many is spoken, the others are typed."""
THINKS_S = 0.8
"""Between turns: so that no more is said than real time has room for."""


@dataclass
class Talker:
    """One user."""

    name: str
    url: str
    headers: dict[str, str] = field(default_factory=dict)
    told: list[str] = field(default_factory=list)
    """What it said, in turns that were answered to their end."""
    unsaved: int = 0
    statuses: list[str] = field(default_factory=list)
    welcomes: list[dict[str, object]] = field(default_factory=list)
    closes: list[int | None] = field(default_factory=list)
    away_s: list[float] = field(default_factory=list)
    """From each loss of its line to its next welcome."""
    asked_last: str = ""
    stop: bool = False
    _token: str | None = None
    _turn: int = 0

    async def talk(self) -> None:
        """Converse until told to stop; come back whenever the line is lost."""
        lost_at, hint_s = None, 0.0
        while not self.stop:
            try:
                async with call(self.url, additional_headers=self.headers) as caller:
                    hello = {} if self._token is None else {"resume": self._token}
                    await caller.say("hello", **hello)
                    welcome = await caller.until("welcome")
                    self.welcomes.append(welcome)
                    self._token = welcome["resume"]
                    if lost_at is not None:
                        self.away_s.append(time.monotonic() - lost_at)
                        lost_at = None
                    try:
                        while not self.stop:
                            await self._take_turn(caller)
                    finally:
                        hints = caller.of("going_away")
                        hint_s = hints[-1]["reconnect_in_ms"] / 1000 if hints else 0.0
                        self.closes.append(caller.socket.close_code)
            except LOST:
                if lost_at is None:
                    lost_at = time.monotonic()
                    await asyncio.sleep(hint_s)
                    hint_s = 0.0
                await asyncio.sleep(0.1)

    async def _take_turn(self, caller: Caller) -> None:
        self._turn += 1
        if self._turn % SPEAKS_EVERY:
            self.asked_last = f"{self.name} says {self._turn}."
            await caller.say("text", text=self.asked_last)
        else:
            await caller.speak(murmur(0.8) + silence(1.2))
            said = await caller.until("transcript", 60, final=True)
            self.asked_last = said["text"]
        done = await caller.play()
        self.statuses.append(done["status"])
        self.told.append(self.asked_last)
        self.unsaved += not done["saved"]
        await asyncio.sleep(THINKS_S)

    async def turns(self, count: int, within_s: float = 60.0) -> None:
        """Wait until so many turns more were answered."""
        goal = len(self.told) + count
        async with asyncio.timeout(within_s):
            while len(self.told) < goal:
                await asyncio.sleep(0.02)


def history_is_whole(talker: Talker, backend: ChatBackend) -> bool:
    """The last prompt of this user's has all that it said before, in order."""
    mine = f"{talker.name} says "
    for request in reversed(backend.requests):
        said = [message["content"] for message in request["messages"] if message["role"] == "user"]
        if any(text.startswith(mine) for text in said):
            finished = iter(said)
            return all(text in finished for text in talker.told)
    return False
