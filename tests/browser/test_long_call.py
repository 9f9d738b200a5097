"""A long call: the page's memory and buffers stay flat, and its main thread stays free.

`PAGE_MINUTES` sets how much conversation it has: 5 minutes by default, 30 in `make soak`. The
page's sound runs five times as fast as sound does, so that they pass in a fifth of the time; page,
server and line are the real ones, and have five times as much to do.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from server import page
from session import limits
from tests.support import LiveServer, live_server

from .conftest import MICROPHONE_HZ, write_wav

if TYPE_CHECKING:
    from playwright.async_api import CDPSession

    from .conftest import Visit, Visitor

api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = api.expect

MINUTES = float(os.environ.get("PAGE_MINUTES", "5"))
SPEED = 5
"""Seconds of sound that pass in one."""
pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    # A machine that others use may take several times as long as the sound does.
    pytest.mark.timeout(MINUTES * 60 * 2 + 120),
]

PARTS = 5
"""Of the call; the page is looked at after the first and after the last."""
WRITTEN = round(8 * MINUTES / PARTS)
"""Typed turns in each part."""
BYTES_PER_S = 32_000
"""Of the microphone's sound on the line."""
SLACK_BYTES = 3_500_000
"""Of memory: the transcript until it is full (1.7 MB were seen), and what a garbage collector
leaves lying about. The microphone's frames of five minutes are 9.6 MB."""
MOST_ENTRIES = 200
BLOCKED_SHARE = 0.12
"""Of the call in which the page's own scripts may keep it from the next picture, by the clock on
the wall: 0.5 to 6% on two cores that other work had as well, 24 with 300 ms more at each turn."""

SETTINGS = "localStorage.setItem('antiphon.settings', JSON.stringify({ line: 'full' }));"
"""At five times the speed every line looks slow; how the page adapts is tested elsewhere."""

WATCH_SCRIPTS = """
  // Between two pictures, what the page's own scripts took beyond 50 ms: what the machine took for
  // drawing, or a test for its questions, is not the page's.
  window.blockedMs = 0;
  new PerformanceObserver((list) => {
    for (const { scripts } of list.getEntries()) {
      const own = scripts.filter(({ sourceURL }) => sourceURL.includes("/web/"));
      const ms = own.reduce((sum, { duration }) => sum + duration, 0);
      blockedMs += Math.max(0, ms - 50);
    }
  }).observe({ type: "long-animation-frame", buffered: true });
"""


@pytest.fixture(scope="module")
def microphone_wav(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """To the hurried page a second of hiss every ten seconds, for as long as the call may last."""
    second = MICROPHONE_HZ // SPEED
    hiss = 0.3 * np.random.default_rng(0).uniform(-1, 1, second)
    turn = np.concatenate([np.zeros(second), hiss, np.zeros(8 * second)])
    sound = np.tile(turn, round(MINUTES * 6) * 10)
    return write_wav(tmp_path_factory.mktemp("microphone") / "call.wav", sound)


@pytest.fixture
def hurried(tmp_path: Path) -> Path:
    """The page's files; to its audio thread the device's rate is a fifth of what it is."""
    files = tmp_path / "web"
    shutil.copytree(page.FILES, files)
    for module in files.glob("*-worklet.js"):
        rate = f"const sampleRate = globalThis.sampleRate / {SPEED};\n"
        module.write_text(rate + module.read_text())
    return files


@pytest.fixture
async def server(monkeypatch: pytest.MonkeyPatch, hurried: Path) -> AsyncIterator[LiveServer]:
    """One that lets a caller speak faster than anybody can."""
    monkeypatch.setattr(page, "FILES", hurried)
    monkeypatch.setattr(limits, "AUDIO_CREDIT_S", 1e6)
    async with live_server(
        ANTIPHON_AUDIO_S_PER_MINUTE="100000",
        ANTIPHON_TURNS_PER_MINUTE="10000",
        ANTIPHON_SEND_AHEAD_MS="5000",
    ) as running:
        yield running


@dataclass(frozen=True)
class Figures:
    memory_bytes: float
    nodes: float
    listeners: float


async def figures(cdp: CDPSession) -> Figures:
    """What the page holds once its garbage is collected; sound lies outside of the heap."""
    await cdp.send("HeapProfiler.collectGarbage")
    heap = await cdp.send("Runtime.getHeapUsage")
    dom = await cdp.send("Memory.getDOMCounters")
    return Figures(
        heap["usedSize"] + heap["embedderHeapUsedSize"] + heap["backingStorageSize"],
        dom["nodes"],
        dom["jsEventListeners"],
    )


def spoken_s(visitor: Visit) -> float:
    """How much sound of the microphone's has left the page."""
    return sum(len(frame) for frame in visitor.wire.sent if isinstance(frame, bytes)) / BYTES_PER_S


def taken(visitor: Visit) -> set[str]:
    """The typed turns that the server has taken."""
    return {turn["ref"] for turn in visitor.wire.messages("transcript") if "ref" in turn}


async def talk(visitor: Visit, part: int) -> None:
    """One part of the call. The microphone speaks by itself; now and then something is written."""
    for turn in range(1, WRITTEN + 1):
        await visitor.write(f"And then? ({part}.{turn})")
        due = part * WRITTEN + turn
        due_s = MINUTES * 60 / PARTS / WRITTEN * due
        await visitor.wire.until(
            lambda due=due, due_s=due_s: len(taken(visitor)) >= due and spoken_s(visitor) >= due_s,
            120,
        )


async def test_a_long_call_leaves_the_page_as_it_was(visit: Visitor) -> None:
    visitor = await visit(script=SETTINGS + WATCH_SCRIPTS)
    tab, wire = visitor.page, visitor.wire
    cdp = await tab.context.new_cdp_session(tab)
    await visitor.part("talk").click()
    await talk(visitor, 0)
    early, began = await figures(cdp), asyncio.get_running_loop().time()
    blocked_before = await tab.evaluate("blockedMs")
    for part in range(1, PARTS):
        await talk(visitor, part)
    blocked_s = (await tab.evaluate("blockedMs") - blocked_before) / 1000
    lasted_s = asyncio.get_running_loop().time() - began
    late = await figures(cdp)
    # A slow machine may let the line look dead: then it is made anew, and asked again.
    written = {turn["id"] for turn in wire.messages("text", sent=True)}
    assert len(written) == PARTS * WRITTEN
    assert written == taken(visitor)
    spoken = [turn for turn in wire.messages("transcript") if turn["final"] and "ref" not in turn]
    assert len(spoken) > MINUTES
    assert all(welcome["resumed"] for welcome in wire.messages("welcome")[1:])

    assert late.memory_bytes < early.memory_bytes + SLACK_BYTES
    assert late.listeners <= early.listeners + 20
    entries = await tab.locator("[data-role]").count()
    assert entries <= MOST_ENTRIES
    assert late.nodes < early.nodes + 40 * (entries + 10)
    assert blocked_s <= BLOCKED_SHARE * lasted_s

    await visitor.part("mute").click()
    await visitor.part("settings").click()
    await visitor.part("figures").click()
    for name, value in (("waiting to be sent", "0 bytes"), ("typed turns waiting", "0")):
        term = tab.locator("#settings dt", has_text=name)
        await expect(term.locator("xpath=following-sibling::*[1]")).to_have_text(value)
