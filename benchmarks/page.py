"""The page in a real browser: how soon its loudspeaker is silent when somebody speaks, and for how
long its main thread is ever kept."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.barge_in import INSTRUCTIONS
from benchmarks.clips import clips
from benchmarks.latency import Quantiles
from server.cli.wav import read_wav, write_wav

if TYPE_CHECKING:
    from playwright.sync_api import Page

CUT_INS = 12
MOST_S = 240.0
RATE_HZ = 16_000
BETWEEN_S = 4.0
CLIP = "LJ001-0008"
LIMIT_MS = 300
LONGEST_TASK_MS = 50
"""Which is also where a browser begins to tell of them (the Long Tasks API of the W3C)."""
SETTLES_MS = 3_000
"""After the click that begins: the browser opens its audio in it."""
FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--use-fake-ui-for-media-stream",
    "--use-fake-device-for-media-stream",
)

KEEP_HELD = """
  window.held = [];
  new PerformanceObserver((list) => {
    for (const { duration } of list.getEntriesByName("held")) held.push(duration);
  }).observe({ type: "measure" });
  window.tasks = [];
  new PerformanceObserver((list) => {
    for (const { startTime, duration } of list.getEntries()) tasks.push([startTime, duration]);
  }).observe({ type: "longtask" });
"""

METHOD = f"""Chromium with the page, hands-free, and a fake microphone that plays {CLIP}.wav of
tests/speech, {BETWEEN_S:g} s of silence, and so on, into whatever is being said; prompt: a
storyteller. The page measures, on its own clock: from the beginning of the first frame of the
microphone above 0.02 RMS, to its audio thread's word that the loudspeaker's gain is zero (the
reply has faded out in 15 ms, and is held). Only the first hold of each onset counts, and only
while a reply was heard. Tasks that kept the main thread for {LONGEST_TASK_MS} ms or more are
counted, those of the first click ({SETTLES_MS / 1000:g} s) by themselves. Browser, server and
engines share the machine."""


def main(url: str, cut_ins: int = CUT_INS) -> dict[str, object]:
    """Talk into replies, and print how soon they were silent."""
    print(f"The page\n{METHOD}\n")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        print("  left out: the extra `browser` is not installed")
        return {}
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        print("  left out: there is no chromium")
        return {}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        microphone = _microphone(Path(folder) / "microphone.wav")
        flags = [*FLAGS, f"--use-file-for-fake-audio-capture={microphone}"]
        browser = playwright.chromium.launch(executable_path=chromium, args=flags)
        page = browser.new_page()
        held, first, later = _talk(page, url.replace("ws", "http", 1).removesuffix("/ws"), cut_ins)
        browser.close()
    longest = max(later, default=0.0)
    print(f"  tasks at the click   {len(first)}, the longest {max(first, default=0.0):.0f} ms")
    print(f"  tasks after that     {len(later)}, the longest {longest:.0f} ms")
    print(f"  limit: {LONGEST_TASK_MS} ms\n")
    if not held:
        print("  no reply was cut into")
        return {}
    quantiles = Quantiles.of(held)
    print(f"  held after onset  {quantiles}   max {max(held):.0f} ms   of {len(held)}")
    print(f"  limit: {LIMIT_MS} ms")
    return {
        "tries": len(held),
        "held_ms": asdict(quantiles),
        "max_ms": round(max(held), 1),
        "longest_task_ms": round(longest, 1),
    }


def _microphone(path: Path) -> Path:
    """A silence and a voice; the browser plays it in a loop."""
    (clip,) = (clip for clip in clips() if clip.path.stem == CLIP)
    silence = np.zeros(round(BETWEEN_S * RATE_HZ), np.int16)
    sound = np.concatenate([silence, read_wav(clip.path).samples])
    write_wav(path, sound.astype("<i2").tobytes(), RATE_HZ)
    return path


def _talk(page: Page, url: str, cut_ins: int) -> tuple[list[float], list[float], list[float]]:
    """Until so many replies were held, or for `MOST_S`: how soon, and the long tasks at the click
    that began and after it, all in ms."""
    settings = json.dumps({"instructions": INSTRUCTIONS})
    page.add_init_script(f"localStorage.setItem('antiphon.settings', {json.dumps(settings)})")
    page.add_init_script(KEEP_HELD)
    page.goto(url)
    clicked_at = page.evaluate("performance.now()")
    page.get_by_test_id("talk").click()
    held: list[float] = []
    deadline = time.monotonic() + MOST_S
    while len(held) < cut_ins and time.monotonic() < deadline:
        page.wait_for_timeout(500)
        held = page.evaluate("held")
    tasks: list[tuple[float, float]] = page.evaluate("tasks")
    first = [ms for at, ms in tasks if clicked_at <= at < clicked_at + SETTLES_MS]
    later = [ms for at, ms in tasks if at >= clicked_at + SETTLES_MS]
    return held, first, later
