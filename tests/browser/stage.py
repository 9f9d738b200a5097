"""The server's side of the page's socket, played by the test: what happens only now and then."""

from __future__ import annotations

import asyncio
import json
import re
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from playwright.async_api import WebSocketRoute

    from .conftest import Visit, Visitor

REPLY_HZ = 24_000


class Stage:
    """Every socket that the page opens ends here."""

    def __init__(self, *, welcomes: bool = True) -> None:
        self.welcomes = welcomes
        self.heard: list[dict[str, Any]] = []
        self._news = asyncio.Event()
        self._socket: WebSocketRoute | None = None
        self.sockets = 0

    async def enter(self, socket: WebSocketRoute) -> None:
        self._socket = socket
        self.sockets += 1
        self._news.set()
        socket.on_message(self._hear)

    def _hear(self, frame: str | bytes) -> None:
        if isinstance(frame, bytes):
            return
        message = json.loads(frame)
        self.heard.append(message)
        if message["type"] == "hello" and self.welcomes:
            self.welcome()
        self._news.set()

    def welcome(self, **fields: object) -> None:
        self.tell("welcome", **({"audio": {"rate": REPLY_HZ}, "resumed": False} | fields))

    def tell(self, kind: str, **fields: object) -> None:
        assert self._socket is not None
        self._socket.send(json.dumps({"type": kind, **fields}))

    async def hang_up(self, code: int) -> None:
        assert self._socket is not None
        await self._socket.close(code=code)

    def sound(self, milliseconds: int) -> None:
        """A tone, so that what is played is more than silence."""
        assert self._socket is not None
        t = np.arange(REPLY_HZ // 1000 * milliseconds) / REPLY_HZ
        syllables = np.abs(np.sin(2 * np.pi * 1.6 * t)) * (0.6 + 0.4 * np.sin(2 * np.pi * 0.3 * t))
        self._socket.send(
            (12_000 * syllables * np.sin(2 * np.pi * 220 * t)).astype("<i2").tobytes()
        )

    def said(self, kind: str) -> list[dict[str, Any]]:
        """What the page has sent of a kind."""
        return [message for message in self.heard if message["type"] == kind]

    async def until(self, kind: str, count: int = 1, within_s: float = 20) -> dict[str, Any]:
        """The page's message of a kind: the first, or the `count`th."""
        async with asyncio.timeout(within_s):
            while len(self.said(kind)) < count:
                self._news.clear()
                await self._news.wait()
        return self.said(kind)[count - 1]

    async def until_done(self, reply: int) -> dict[str, Any]:
        """The page's word that a reply has been played, or dropped."""
        count = 1
        while True:
            report = await self.until("playback", count)
            if report["reply"] == reply and report.get("done"):
                return report
            count += 1

    async def until_sockets(self, count: int, within_s: float = 20) -> None:
        async with asyncio.timeout(within_s):
            while self.sockets < count:
                self._news.clear()
                await self._news.wait()

    async def until_playback_stands_still(self) -> int:
        """Wait for two reports in a row of the same position, ms, before the reply's end."""
        count = len(self.said("playback")) + 1
        before, now = -1, (await self.until("playback", count))["played_ms"]
        while now != before:
            count += 1
            before, now = now, (await self.until("playback", count))["played_ms"]
        return int(now)


async def on_stage(
    visit: Visitor, stage: Stage | None = None, *, clock: bool = False, **options: Any
) -> tuple[Visit, Stage]:
    """A visitor who has said hello, and the stage. `clock`: the page's time can be moved on."""
    visitor, stage = await visit(**options), stage or Stage()
    await visitor.page.route_web_socket(re.compile("/ws$"), stage.enter)
    if clock:
        await visitor.page.clock.install()
        await visitor.page.reload()
    await visitor.write("Hello.")
    await stage.until("hello")
    return visitor, stage
