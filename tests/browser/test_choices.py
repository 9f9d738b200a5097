"""What one may choose, take along, or be spared: devices, the transcript, motion."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from .stage import on_stage

if TYPE_CHECKING:
    from .conftest import Visit, Visitor
    from .stage import Stage

api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = api.expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]

WITHIN_MS = 20_000
DEVICES = """
  window.asked = [];
  window.sinks = [];
  const ask = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
  window.tracks = [];
  window.hold = false; // until `allow` is called
  navigator.mediaDevices.getUserMedia = async (wanted) => {
    const holds = hold && new Promise((resolve) => (window.allow = resolve));
    asked.push(wanted.audio.deviceId?.ideal ?? "");
    await holds;
    const stream = await ask(wanted);
    tracks.push(...stream.getTracks());
    return stream;
  };
  const device = (kind, id, label) => ({ kind, deviceId: id, label, groupId: "" });
  const real = navigator.mediaDevices.enumerateDevices.bind(navigator.mediaDevices);
  navigator.mediaDevices.enumerateDevices = async () => [
    ...(await real()).filter(({ kind }) => kind === "audioinput"),
    device("audiooutput", "default", "Default"),
    device("audiooutput", "headset", "A headset"),
  ];
  AudioContext.prototype.setSinkId = async (id) => void sinks.push(id);
"""
"""The browser's own fake microphones; of loudspeakers it has none."""


async def test_the_microphone_can_be_changed_in_the_middle_of_a_call(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit, script=DEVICES)
    await visitor.part("talk").click()
    await stage.until("unmute")
    await visitor.part("settings").click()
    picker = visitor.page.locator("select[name=microphone]")
    await expect(picker).to_be_enabled()
    choices = await picker.locator("option").all_text_contents()
    assert choices[0] == "as the browser has it"
    assert len(choices) > 1
    await picker.select_option(index=1)
    await visitor.until("asked.length === 2")
    first, second = await visitor.page.evaluate("asked")
    assert (first, second) == ("", await picker.input_value())
    await visitor.page.keyboard.press("Escape")
    await expect(visitor.part("level")).not_to_have_attribute("data-level", "0", timeout=WITHIN_MS)
    await visitor.page.evaluate("void (hold = true)")
    await visitor.part("settings").click()
    await picker.select_option(index=0)
    await visitor.until("asked.length === 3")
    stage.welcomes = False
    await visitor.part("line").select_option("small")  # while the browser still asks
    hello = await stage.until("hello", 2)
    assert hello["audio"]["codec"] == "opus"
    stage.welcome(audio=hello["audio"] | {"rate": 24_000})
    await stage.until("unmute", 2)
    await visitor.page.evaluate("allow()")
    await visitor.until("tracks[1].readyState === 'ended'")
    await picker.select_option(index=1)
    await visitor.until("asked.length === 4")
    await visitor.page.keyboard.press("Escape")
    await visitor.part("talk").click()
    await visitor.page.evaluate("allow()")  # who does not want to talk any more
    await visitor.until("tracks[3]?.readyState === 'ended'")
    await stage.until("mute", 2)
    assert len(stage.said("hello")) == 2  # the line is used as was chosen last
    await expect(visitor.part("talk")).to_have_attribute("aria-label", "Start talking")
    await visitor.page.reload()  # the choice was kept
    await visitor.part("talk").click()
    await visitor.until("asked.length === 1")
    assert await visitor.page.evaluate("asked") == [second]


LOSE = "void tracks.at(-1).dispatchEvent(new Event('ended'))"


async def test_a_microphone_that_is_unplugged_gives_way_to_another(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit, script=DEVICES)
    talk = visitor.part("talk")
    await talk.click()
    await stage.until("unmute")
    await visitor.page.evaluate(LOSE)
    await visitor.until("asked.length === 2")
    await expect(visitor.part("notice")).to_contain_text("Another one listens")
    assert await visitor.page.evaluate("tracks.map((track) => track.readyState)") == [
        "ended",
        "live",
    ]
    await expect(visitor.part("level")).not_to_have_attribute("data-level", "0", timeout=WITHIN_MS)
    gone = "() => Promise.reject(new DOMException('none', 'NotFoundError'))"
    await visitor.page.evaluate(f"void (navigator.mediaDevices.getUserMedia = {gone})")
    await visitor.page.evaluate(LOSE)
    await expect(visitor.part("notice")).to_contain_text("You can still write")
    await expect(talk).to_have_attribute("aria-label", "Start talking")


async def test_a_microphone_that_is_switched_off_elsewhere_is_said(visit: Visitor) -> None:
    visitor, _ = await on_stage(visit, script=DEVICES)
    status = visitor.part("status")
    await visitor.part("talk").click()
    await expect(status).to_have_text("Listening")
    await visitor.page.evaluate("void tracks[0].dispatchEvent(new Event('mute'))")
    await expect(status).to_have_text("The microphone is silent")
    await visitor.page.evaluate("void tracks[0].dispatchEvent(new Event('unmute'))")
    await expect(status).to_have_text("Listening")


async def test_the_loudspeaker_can_be_changed_and_one_that_is_gone_is_said(visit: Visitor) -> None:
    visitor, _ = await on_stage(visit, script=DEVICES)
    await visitor.part("talk").click()
    await visitor.part("settings").click()
    picker = visitor.page.locator("select[name=loudspeaker]")
    await expect(picker.locator("option")).to_have_text(["as the browser has it", "A headset"])
    await picker.select_option("headset")
    await visitor.until("sinks.length === 1")
    assert await visitor.page.evaluate("sinks") == ["headset"]
    await visitor.page.evaluate(
        "void (AudioContext.prototype.setSinkId = () => Promise.reject(new Error('gone')))"
    )
    await picker.select_option("")
    await picker.select_option("headset")
    await expect(visitor.part("notice")).to_contain_text("That loudspeaker is not there")


async def converse(visit: Visitor, **options: object) -> tuple[Visit, Stage]:
    """A question, and an answer that was cut into."""
    visitor, stage = await on_stage(visit, **options)
    text = await stage.until("text")
    stage.tell("transcript", turn=1, text="Hello.", final=True, ref=text["id"])
    stage.tell("reply_started", reply=1, turn=1)
    stage.tell("reply_text", reply=1, text="One, two, three, four.")
    stage.tell("interrupted", reply=1, heard="One, two,")
    await expect(visitor.said_by("assistant").locator("s")).to_have_count(1)
    return visitor, stage


COPIED = """async () => {
  // What is said of it, to eye and ear, also when something else happens.
  const hint = document.querySelector(".stage .hint");
  document.querySelector(".copy").click();
  while (hint.textContent !== "copied") await new Promise((soon) => setTimeout(soon, 10));
  dispatchEvent(new Event("offline"));
  return [hint.textContent, hint.ariaLive];
}"""
AS_TEXT = "You: Hello.\nAntiphon: One, two, [not heard: three, four.]"


async def test_the_transcript_can_be_copied(visit: Visitor) -> None:
    visitor, _ = await converse(visit)
    await visitor.page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    await visitor.part("copy").focus()
    assert await visitor.page.evaluate(COPIED) == ["copied", "polite"]
    await expect(visitor.page.locator(".stage .hint")).not_to_have_text("copied")
    assert await visitor.page.evaluate("navigator.clipboard.readText()") == AS_TEXT


async def test_where_the_browser_does_not_let_one_copy_it_says_how_else(visit: Visitor) -> None:
    refuses = "navigator.clipboard.writeText = () => Promise.reject(new Error('no'))"
    visitor, _ = await converse(visit, script=refuses)
    await visitor.part("copy").click()
    await expect(visitor.part("notice")).to_contain_text("Save it as a file instead")


async def test_the_transcript_can_be_saved(visit: Visitor, tmp_path: Path) -> None:
    visitor, _ = await converse(visit)
    async with visitor.page.expect_download() as saving:
        await visitor.part("save").click()
    download = await saving.value
    assert re.fullmatch(r"antiphon-\d{4}-\d\d-\d\dT\d{4}\.txt", download.suggested_filename)
    await download.save_as(tmp_path / "transcript.txt")
    assert (tmp_path / "transcript.txt").read_text() == AS_TEXT


async def test_before_anything_was_said_there_is_nothing_to_take_along(visit: Visitor) -> None:
    visitor = await visit()
    await expect(visitor.part("copy")).to_be_disabled()
    await expect(visitor.part("save")).to_be_disabled()


async def test_what_is_selected_in_settings_may_end_beside_them(visit: Visitor) -> None:
    visitor = await visit(reduced_motion="reduce")
    sheet = visitor.page.locator("#settings")
    await visitor.part("settings").click()
    text = sheet.locator("textarea")
    await text.fill("Be brief.")
    area, edge = await text.bounding_box(), await sheet.bounding_box()
    assert area is not None
    assert edge is not None
    mouse = visitor.page.mouse
    inside, beside = (area["x"] + 60, area["y"] + 20), (edge["x"] - 200, area["y"] + 20)
    for start, end in ((inside, beside), (beside, inside)):
        await mouse.move(*start)
        await mouse.down()
        await mouse.move(*end, steps=4)
        await mouse.up()
    await mouse.click(edge["x"] + 4, edge["y"] + 300)  # its margin is a part of it
    await expect(sheet).to_be_visible()
    await mouse.click(*beside)
    await expect(sheet).to_be_hidden()


PICTURES = """async () => {
  // Two pictures of the orb while nothing is said: alike, or not.
  const canvas = document.querySelector(".stage canvas");
  const first = canvas.toDataURL();
  const until = performance.now() + 700;
  while (performance.now() < until) {
    await new Promise((drawn) => requestAnimationFrame(drawn));
    if (canvas.toDataURL() !== first) return "moves";
  }
  return "still";
}"""


@pytest.mark.parametrize(
    ("wish", "orb"), [("reduce", "still"), ("no-preference", "moves")], ids=["reduced", "usual"]
)
async def test_who_wants_no_motion_sees_none(visit: Visitor, wish: str, orb: str) -> None:
    visitor = await visit(reduced_motion=wish)
    await visitor.page.wait_for_load_state("networkidle")
    assert await visitor.page.evaluate(PICTURES) == orb
    moving = await visitor.page.evaluate("document.getAnimations().length")
    assert moving == 0 or wish == "no-preference"
