"""A real Chromium with a fake microphone, and what a page in it said over its WebSocket."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import wave
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pytest

from tests.support import left_out

if TYPE_CHECKING:
    from playwright.async_api import Browser, ConsoleMessage, Locator, Page, Request, WebSocket

MICROPHONE_HZ = 16_000
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--use-fake-device-for-media-stream",
]


class Server(Protocol):
    """A running Antiphon with scripted engines."""

    @property
    def url(self) -> str: ...


@dataclass  # without slots: Playwright keeps a note on the owner of a bound handler
class Wire:
    """What went over the page's WebSockets, in order."""

    sent: list[dict[str, Any] | bytes] = field(default_factory=list)
    received: list[dict[str, Any] | bytes] = field(default_factory=list)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def watch(self, socket: WebSocket) -> None:
        socket.on("framesent", lambda payload: self._keep(self.sent, payload))
        socket.on("framereceived", lambda payload: self._keep(self.received, payload))

    def _keep(self, frames: list[dict[str, Any] | bytes], payload: str | bytes) -> None:
        frames.append(json.loads(payload) if isinstance(payload, str) else payload)
        self._news.set()

    async def until(self, condition: Callable[[], bool], within_s: float = 20.0) -> None:
        """Wait until a frame makes the condition true; `TimeoutError` when none does."""
        async with asyncio.timeout(within_s):
            while not condition():
                self._news.clear()
                await self._news.wait()

    async def until_silent(self) -> None:
        """What was on its way to the page has come, and nothing does any more."""
        count = -1
        while count != len(self.received):
            count = len(self.received)
            await asyncio.sleep(0.5)

    def messages(self, kind: str, *, sent: bool = False) -> list[dict[str, Any]]:
        frames = self.sent if sent else self.received
        return [frame for frame in frames if isinstance(frame, dict) and frame["type"] == kind]


@dataclass
class Visit:
    """One page, opened by one visitor. In no test may it complain, or ask another host."""

    page: Page
    server: str
    forgiven: str = "(?!)"
    """What it may say in the console: a browser tells there of connections that fail."""
    wire: Wire = field(default_factory=Wire)
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("websocket", self.wire.watch)
        self.page.on("console", self._console)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._request)

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def _request(self, request: Request) -> None:
        self.requests.append(request.url)

    def check(self) -> None:
        """No error, no warning (a violated policy is one), nothing from anywhere else."""
        complaints = [text for text in self.complaints if not re.search(self.forgiven, text)]
        assert complaints == []
        hosts = {
            "/".join(url.split("/")[:3]) for url in self.requests if not url.startswith("blob:")
        }
        assert hosts == {self.server.rstrip("/")}

    def part(self, name: str) -> Locator:
        return self.page.get_by_test_id(name)

    def said_by(self, role: str) -> Locator:
        return self.part("transcript").locator(f'[data-role="{role}"] .text')

    async def until(self, condition: str, within_s: float = 20.0) -> None:
        """Wait until a condition, in JavaScript, is true of the page.

        Playwright's `wait_for_function` looks again by `eval`, which the page's policy forbids: it
        works where the condition is true at once.
        """
        async with asyncio.timeout(within_s):
            await self.page.evaluate(
                f"""async () => {{
                  while (!({condition})) await new Promise((soon) => setTimeout(soon, 20));
                }}"""
            )

    async def write(self, text: str) -> None:
        await self.part("text").fill(text)
        await self.part("send").click()


Visitor = Callable[..., Awaitable[Visit]]


def write_wav(path: Path, sound: np.ndarray[Any, Any]) -> Path:
    """Write samples (-1..1, at `MICROPHONE_HZ`) as a microphone's recording."""
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(MICROPHONE_HZ)
        file.writeframes((sound * 32767).astype("<i2").tobytes())
    return path


@pytest.fixture(scope="session")
def microphone_wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds of a voice-like sound between silences: harmonics in syllables of about 0.2 s."""
    t = np.arange(2 * MICROPHONE_HZ) / MICROPHONE_HZ
    phase = 2 * np.pi * (150 * t + 6 * np.sin(2 * np.pi * 1.3 * t))
    voice = sum(np.sin(k * phase) / k for k in range(1, 14)) * np.abs(np.sin(2 * np.pi * 2.2 * t))
    before, after = np.zeros(MICROPHONE_HZ), np.zeros(30 * MICROPHONE_HZ)
    sound = np.concatenate([before, 0.6 * voice / np.abs(voice).max(), after])
    return write_wav(tmp_path_factory.mktemp("microphone") / "voice.wav", sound)


@pytest.fixture
async def browser(microphone_wav: Path) -> AsyncIterator[Browser]:
    """Chromium; its microphone plays `microphone_wav` once, from the moment it is opened."""
    api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        left_out("chromium is not installed")
    sound = f"--use-file-for-fake-audio-capture={microphone_wav}%noloop"
    async with api.async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium, args=[*FLAGS, sound])
        yield browser
        await browser.close()


@pytest.fixture
def server(scripted_server: Server) -> Server:
    """Where the page comes from; a module may have another."""
    return scripted_server


@pytest.fixture
async def visit(browser: Browser, server: Server) -> AsyncIterator[Visitor]:
    """Opens the page: `await visit()`, or with `microphone=False` for one who denies it.

    What else is named goes to the browser's context: a size, a colour scheme.
    """
    visits: list[Visit] = []

    async def open_page(
        path: str = "/",
        *,
        microphone: bool = True,
        at: str | None = None,
        script: str = "",
        forgiven: str = "(?!)",
        **options: Any,
    ) -> Visit:
        context = await browser.new_context(**options)
        if microphone:
            await context.grant_permissions(["microphone"])
        if script:
            await context.add_init_script(script)
        visitor = Visit(await context.new_page(), at or server.url, forgiven)
        visits.append(visitor)
        await visitor.page.goto(visitor.server.rstrip("/") + path)
        return visitor

    yield open_page
    for visitor in visits:
        visitor.check()
