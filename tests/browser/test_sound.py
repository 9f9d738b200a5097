"""The page's sound: held back, taken away, unplugged, not loaded; and a thumb on the orb."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from server import page
from tests.support import LiveServer, live_server

from .stage import on_stage

if TYPE_CHECKING:
    from .conftest import Visit, Visitor

api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = api.expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]

WITHIN_MS = 20_000
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "has_touch": True,
    "is_mobile": True,
}
PUSH = "localStorage.setItem('antiphon.settings', JSON.stringify({ mode: 'push' }));"
CONTEXTS = """
  window.contexts = [];
  const Real = window.AudioContext;
  window.AudioContext = class extends Real {
    constructor(options) {
      super(options);
      contexts.push(this);
    }
  };
"""
TAKEN = """() => {
  // As while a telephone call has the sound: no browser takes it away for a test.
  const [context] = contexts;
  context.resume = async () => {
    delete context.state;
    context.dispatchEvent(new Event("statechange"));
  };
  Object.defineProperty(context, "state", { value: "interrupted", configurable: true });
  context.dispatchEvent(new Event("statechange"));
}"""


class Thumb:
    """Fingers by themselves: what Playwright asks of a page counts there as a click."""

    def __init__(self, visitor: Visit) -> None:
        self._page = visitor.page

    async def __aenter__(self) -> Thumb:
        self._cdp = await self._page.context.new_cdp_session(self._page)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._cdp.detach()

    async def ask(self, expression: str) -> Any:
        answer = await self._cdp.send(
            "Runtime.evaluate", {"expression": expression, "returnByValue": True}
        )
        return answer["result"].get("value")

    async def until(self, expression: str) -> None:
        async with asyncio.timeout(20):
            while not await self.ask(expression):
                await asyncio.sleep(0.02)

    async def place(self) -> tuple[float, float]:
        """Where the orb is."""
        box = "document.querySelector('.talk').getBoundingClientRect()"
        x, y = await self.ask(f"(({{x, y, width}}) => [x + width / 2, y + width / 2])({box})")
        return x, y

    async def down(self, x: float, y: float) -> None:
        await self._touch("touchStart", {"x": x, "y": y})

    async def move(self, x: float, y: float) -> None:
        await self._touch("touchMove", {"x": x, "y": y})

    async def up(self) -> None:
        await self._touch("touchEnd")

    async def _touch(self, kind: str, *points: dict[str, float]) -> None:
        await self._cdp.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": [*points]})


async def test_push_to_talk_on_a_telephone_hears_from_the_second_touch_on(visit: Visitor) -> None:
    """The first touch of a visit is no click to a browser before it ends."""
    visitor = await visit(script=CONTEXTS + PUSH, forgiven="was not allowed to start", **PHONE)
    async with Thumb(visitor) as thumb:
        status = "document.querySelector('.status').textContent"
        await thumb.until(f"{status} === 'Hold and talk'")
        await thumb.down(*await thumb.place())
        await thumb.until(f"{status} === 'The sound is away'")
        await thumb.up()
        await thumb.until("contexts[0].state === 'running'")
        await thumb.down(*await thumb.place())
        await thumb.until(f"{status} === 'I hear you'")
        wire = visitor.wire
        await wire.until(lambda: any(isinstance(frame, bytes) for frame in wire.sent))
        await thumb.up()


async def test_a_thumb_that_moves_goes_on_talking(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit, script=PUSH, **PHONE)
    await expect(visitor.part("connection")).to_have_text("connected")
    events = "pointercancel pointermove pointerup"
    async with Thumb(visitor) as thumb:
        await thumb.ask(
            f"""void (window.told = [], '{events}'.split(" ").forEach((name) =>
              addEventListener(name, ({{ type }}) => told.push(type), true)))"""
        )
        x, y = await thumb.place()
        await thumb.down(x, y)
        await stage.until("unmute")
        for step in range(1, 9):
            await thumb.move(x, y + 12 * step)
        await thumb.until("told.length > 0")
        await thumb.up()
        await thumb.until("told.at(-1) === 'pointerup'")
        assert set(await thumb.ask("told")) == {"pointermove", "pointerup"}
    await stage.until("commit")


async def test_a_tap_gives_the_sound_back_that_another_program_had(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit, script=CONTEXTS)
    talk = visitor.part("talk")
    await talk.click()
    await expect(visitor.part("status")).to_have_text("Listening")
    muted = len(stage.said("mute"))
    await visitor.page.evaluate(TAKEN)
    await expect(visitor.part("status")).to_have_text("The sound is away")
    await expect(talk).to_have_attribute("aria-label", "Go on")
    await talk.click()
    await expect(visitor.part("status")).to_have_text("Listening")
    await expect(talk).to_have_attribute("aria-label", "Stop talking")
    await visitor.page.evaluate(TAKEN)
    await expect(visitor.part("status")).to_have_text("The sound is away")
    await visitor.page.evaluate("void document.dispatchEvent(new Event('visibilitychange'))")
    await expect(visitor.part("status")).to_have_text("Listening")  # back from it, without a tap
    assert len(stage.said("mute")) == muted


async def test_where_the_sound_does_not_come_back_a_second_tap_ends_it(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit, script=CONTEXTS)
    talk = visitor.part("talk")
    await talk.click()
    await expect(visitor.part("status")).to_have_text("Listening")
    muted = len(stage.said("mute"))
    await visitor.page.evaluate(TAKEN)
    await visitor.page.evaluate("void (contexts[0].resume = () => Promise.reject(new Error('no')))")
    await expect(talk).to_have_attribute("aria-label", "Go on")
    await talk.click()
    await expect(talk).to_have_attribute("aria-label", "Stop talking")
    await expect(visitor.part("status")).to_have_text("The sound is away")
    await talk.click()
    await stage.until("mute", muted + 1)
    await expect(talk).to_have_attribute("aria-label", "Start talking")


async def test_where_a_loudspeaker_is_unplugged_the_usual_one_plays(visit: Visitor) -> None:
    kept = """
      localStorage.setItem("antiphon.settings", JSON.stringify({ loudspeaker: "headset" }));
      window.sinks = [];
      AudioContext.prototype.setSinkId = async function (id) {
        sinks.push(id);
        Object.defineProperty(this, "sinkId", { value: id, configurable: true });
      };
    """
    visitor, _ = await on_stage(visit, script=kept + CONTEXTS)
    await visitor.part("talk").click()
    await visitor.page.evaluate("void contexts[0].dispatchEvent(new Event('error'))")
    await expect(visitor.part("notice")).to_contain_text("That loudspeaker is not there")
    assert await visitor.page.evaluate("sinks") == ["headset", ""]


@pytest.fixture
async def poor(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> AsyncIterator[LiveServer]:
    """A server whose files, in `tmp_path / "web"`, come and go."""
    files = shutil.copytree(page.FILES, tmp_path / "web")
    monkeypatch.setattr(page, "FILES", files)
    async with live_server() as running:
        yield running


@pytest.mark.parametrize("part", ["capture-worklet.js", "playback-worklet.js", "resampler.js"])
async def test_sound_that_did_not_load_is_loaded_at_the_next_tap(
    visit: Visitor, poor: LiveServer, tmp_path: Path, part: str
) -> None:
    visitor = await visit(at=poor.url, script=CONTEXTS, forgiven="404")
    (tmp_path / "web" / part).rename(tmp_path / part)
    await visitor.part("talk").click()
    await expect(visitor.part("notice")).to_contain_text("sound did not load", timeout=WITHIN_MS)
    await expect(visitor.part("talk")).to_have_attribute("aria-label", "Start talking")
    (tmp_path / part).rename(tmp_path / "web" / part)
    await visitor.part("talk").click()
    await expect(visitor.part("level")).not_to_have_attribute("data-level", "0", timeout=WITHIN_MS)
    states = await visitor.page.evaluate("contexts.map(({ state }) => state)")
    assert states == ["closed", "running"]
    await visitor.page.close()  # before the server is gone, of which it would complain


LATE = """
  // The audio thread's modules come when `load` is called.
  const { addModule } = AudioWorklet.prototype;
  const loaded = new Promise((resolve) => (window.load = resolve));
  AudioWorklet.prototype.addModule = async function (url) {
    await loaded;
    return addModule.call(this, url);
  };
"""


async def test_what_is_written_does_not_wait_for_long_for_the_sound(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit, script=LATE)
    text = await stage.until("text")  # the line did not wait for the sound
    stage.tell("transcript", turn=1, text="Hello.", final=True, ref=text["id"])
    stage.tell("reply_started", reply=1, turn=1)
    stage.tell("reply_text", reply=1, text="Good evening.")
    stage.sound(milliseconds=500)
    await expect(visitor.said_by("assistant")).to_have_text("Good evening.")
    await visitor.page.evaluate("load()")
    stage.tell("reply_audio_end", reply=1, audio_ms=500)
    stage.tell("reply_done", reply=1, turn=1, status="completed", text="Good evening.")
    live = visitor.page.locator("[role=log]")
    await expect(live).to_have_attribute("aria-live", "off")  # replies are heard from here on
    stage.tell("reply_started", reply=2, turn=2)
    stage.sound(milliseconds=500)
    stage.tell("reply_audio_end", reply=2, audio_ms=500)
    assert (await stage.until_done(2))["played_ms"] == 500
    assert [report for report in stage.said("playback") if report["reply"] == 1] == []
