"""Nothing that axe-core calls serious, in any state or colour scheme."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from tests.support import call

from .stage import Stage, on_stage

if TYPE_CHECKING:
    from playwright.async_api import Page

    from .conftest import Server, Visitor

api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.async_playwright", reason="axe is not installed")

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]


PHONE: dict[str, Any] = {"viewport": {"width": 390, "height": 844}, "reduced_motion": "reduce"}


async def serious(page: Page) -> list[str]:
    """What somebody could not use, with where it stands."""
    await page.evaluate("Promise.all(document.getAnimations().map((each) => each.finished))")
    results: dict[str, Any] = (await axe.Axe().run(page)).response
    return [
        f"{found['id']}: {[node['target'] for node in found['nodes']]}"
        for found in results["violations"]
        if found["impact"] in ("serious", "critical")
    ]


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_anybody_can_use_the_page(visit: Visitor, scheme: str) -> None:
    visitor, stage = await on_stage(visit, color_scheme=scheme, reduced_motion="reduce")
    text = await stage.until("text")
    stage.tell("transcript", turn=1, text="Hello.", final=True, ref=text["id"])
    stage.tell("reply_started", reply=1, turn=1)
    stage.tell("reply_text", reply=1, text="One, two, three, four.")
    stage.tell("interrupted", reply=1, heard="One, two,")
    stage.tell("error", code="TIMEOUT", message="")
    await api.expect(visitor.said_by("assistant").locator("s")).to_have_count(1)
    assert await serious(visitor.page) == []
    await visitor.part("settings").click()
    await visitor.part("figures").click()
    assert await serious(visitor.page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_anybody_can_begin_and_wait_and_be_asked_for_a_token(
    visit: Visitor, scheme: str
) -> None:
    first = await visit(color_scheme=scheme, **PHONE)
    assert await serious(first.page) == []
    visitor, stage = await on_stage(visit, Stage(welcomes=False), color_scheme=scheme, **PHONE)
    stage.tell("waiting", position=2, eta_s=40)
    await api.expect(visitor.part("status")).to_have_text("Every place is taken")
    assert await serious(visitor.page) == []
    await stage.hang_up(4401)
    await visitor.part("way-on").click()
    await api.expect(visitor.part("token")).to_be_visible()
    assert await serious(visitor.page) == []


async def test_who_closes_a_notice_by_keyboard_stays_where_the_page_is_used(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit)
    await stage.until("text")
    stage.tell("error", code="TIMEOUT", message="")
    close = visitor.part("notice").locator(".dismiss")
    await close.focus()
    await close.press("Enter")
    await api.expect(visitor.part("notice")).to_be_hidden()
    await api.expect(visitor.part("talk")).to_be_focused()


async def test_in_colours_of_the_readers_own_what_is_spoken_is_still_seen(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit, forced_colors="active")
    text = await stage.until("text")
    stage.tell("transcript", turn=1, text="Hello.", final=True, ref=text["id"])
    stage.tell("reply_started", reply=1, turn=1)
    stage.tell("reply_text", reply=1, text="One, two, three, four.")
    spoken = visitor.said_by("assistant").locator(".spoken")
    await api.expect(spoken).to_have_css("text-decoration-line", "underline")
    await api.expect(visitor.part("level")).to_have_css("forced-color-adjust", "none")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_anybody_can_talk_and_be_muted(visit: Visitor, scheme: str) -> None:
    visitor, stage = await on_stage(visit, color_scheme=scheme)
    await visitor.part("talk").click()
    await stage.until("unmute")
    assert await serious(visitor.page) == []
    await visitor.part("mute").click()
    await api.expect(visitor.part("status")).to_have_text("Muted")
    assert await serious(visitor.page) == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_anybody_can_use_the_admin_page(visit: Visitor, server: Server, scheme: str) -> None:
    async with call(server.url.replace("http", "ws", 1).rstrip("/") + "/ws", {}):
        visitor = await visit("/admin", color_scheme=scheme)
        await api.expect(visitor.part("connection")).to_contain_text("ready")
        await api.expect(visitor.page.locator("tbody tr")).not_to_have_count(0)
        assert await serious(visitor.page) == []


async def test_every_control_has_a_name(visit: Visitor) -> None:
    """What a screen reader says of each, in the order in which one comes to them."""
    visitor, _ = await on_stage(visit)
    await api.expect(visitor.part("connection")).to_have_text("connected")
    await visitor.part("talk").click()
    await api.expect(visitor.part("mute")).to_be_enabled()
    page = visitor.page
    await visitor.part("copy").focus()
    for role, name in (
        ("button", "Copy the transcript"),
        ("button", "Save the transcript"),
        ("button", "Settings"),
        ("region", "Conversation"),
        ("button", "Stop talking"),
        ("button", "Mute"),
        ("textbox", "Write to Antiphon"),
        ("button", "Send"),
    ):
        control = page.get_by_role(role, name=name, exact=True)  # type: ignore[arg-type]
        await api.expect(control).to_be_focused()
        await page.keyboard.press("Tab")


async def test_the_keyboard_alone_is_enough(visit: Visitor) -> None:
    visitor, _ = await on_stage(visit)
    page = visitor.page
    await visitor.part("text").focus()
    await page.keyboard.press("Tab")
    await api.expect(visitor.part("send")).to_be_focused()
    await visitor.part("settings").focus()
    await page.keyboard.press("Enter")
    await api.expect(page.locator("#settings")).to_be_visible()
    await page.keyboard.press("Escape")
    await api.expect(page.locator("#settings")).to_be_hidden()
    await api.expect(visitor.part("settings")).to_be_focused()


PUSH = "localStorage.setItem('antiphon.settings', JSON.stringify({ mode: 'push' }));"


async def test_who_cannot_hold_the_orb_presses_it_twice(visit: Visitor) -> None:
    """A screen reader and the Enter key give clicks, and no pointer that is held."""
    visitor, stage = await on_stage(visit, script=PUSH)
    status, talk = visitor.part("status"), visitor.part("talk")
    click = partial(talk.evaluate, "(orb) => orb.click()")
    for turn, press in enumerate((partial(talk.press, "Enter"), click), start=1):
        await press()
        await api.expect(status).to_have_text("I hear you")
        await api.expect(talk).to_have_attribute("aria-label", "Stop talking")
        await press()
        await api.expect(talk).to_have_attribute("aria-label", "Hold to talk")
        await stage.until("commit", turn)


async def test_a_screen_reader_does_not_speak_into_an_open_microphone(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit)
    status = visitor.part("status")
    await api.expect(status).to_have_attribute("aria-live", "polite")
    await visitor.part("talk").click()
    await stage.until("unmute")
    await api.expect(status).to_have_attribute("aria-live", "off")
    await visitor.part("mute").click()
    await api.expect(status).to_have_attribute("aria-live", "polite")


SPOKEN = 12
"""Turns: more than there is room for."""


@pytest.mark.parametrize(
    ("width", "height", "scrolls"),
    [
        pytest.param(390, 844, False, id="a telephone"),
        pytest.param(360, 380, False, id="with its keyboard out"),
        pytest.param(740, 360, False, id="on its side"),
        pytest.param(740, 300, False, id="a small one on its side"),
        pytest.param(320, 256, True, id="a desk at 400%"),  # WCAG 2.2, 1.4.10
        pytest.param(640, 180, True, id="on its side with its keyboard out"),
    ],
)
async def test_there_is_room_to_read_and_every_control_can_be_reached(
    visit: Visitor, width: int, height: int, scrolls: bool
) -> None:
    visitor, stage = await on_stage(
        visit, **PHONE | {"viewport": {"width": width, "height": height}}
    )
    await stage.until("text")
    for turn in range(2, 2 + SPOKEN):
        stage.tell("transcript", turn=turn, text=f"Number {turn}.", final=True)
    await api.expect(visitor.said_by("user")).to_have_count(1 + SPOKEN)
    size = "({ scrollWidth, scrollHeight }) => [scrollWidth, scrollHeight]"
    wide, high = await visitor.page.locator("body").evaluate(size)
    assert wide <= width
    assert (high > height) is scrolls
    conversation = await visitor.page.locator(".conversation").bounding_box()
    assert conversation is not None
    assert conversation["height"] >= 5 * 16  # three lines of it
    for part in ("settings", "talk", "text", "send"):
        if scrolls:
            await visitor.part(part).scroll_into_view_if_needed()
        await api.expect(visitor.part(part)).to_be_in_viewport(ratio=0.95)
