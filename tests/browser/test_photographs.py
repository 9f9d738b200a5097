"""Each state, photographed. `PHOTOGRAPHS=docs/images` puts them where README shows them."""

from __future__ import annotations

import os
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import Caller, call

from .conftest import Server
from .stage import Stage, on_stage

if TYPE_CHECKING:
    from .conftest import Visit, Visitor

api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = api.expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

DESK = {"viewport": {"width": 1100, "height": 760}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}
ANSWER = (
    "Low tide is at twenty past six, so you have an hour and a half. "
    "Take the path by the chapel; the other one floods first."
)


@pytest.fixture
def album(tmp_path: Path) -> Path:
    return Path(os.environ.get("PHOTOGRAPHS", tmp_path))


async def converse(visitor: Visitor, **look: object) -> tuple[Visit, Stage]:
    """A conversation in the middle of a reply."""
    visit, stage = await on_stage(visitor, Stage(), **look)
    text = await stage.until("text")
    stage.tell("transcript", turn=1, text="When is low tide today?", final=True, ref=text["id"])
    stage.tell("reply_started", reply=1, turn=1)
    stage.tell("reply_text", reply=1, text="Good morning! It is at twenty past six this evening, "
               "and the water is back by eight.")  # fmt: skip
    stage.tell("interrupted", reply=1, heard="Good morning! It is at twenty past six this evening,")
    stage.tell(
        "reply_done", reply=1, turn=1, status="interrupted", saved=True,
        text="Good morning! It is at twenty past six this evening, and the water is back by eight.",
        heard="Good morning! It is at twenty past six this evening,",
        latency_ms={"endpoint": 250, "stt": 90, "llm": 180, "tts": 120, "total": 640},
    )  # fmt: skip
    await visit.part("talk").click()
    await stage.until("unmute")
    stage.tell("transcript", turn=2, text="Can I still walk out to the island?", final=True)
    stage.tell("reply_started", reply=2, turn=2)
    stage.tell("reply_text", reply=2, text=ANSWER)
    stage.sound(milliseconds=7_000)
    stage.tell("reply_audio_end", reply=2, audio_ms=7_000)
    await expect(visit.said_by("assistant").last.locator(".spoken")).to_contain_text("half")
    return visit, stage


@pytest.mark.parametrize(
    ("name", "look"),
    [
        ("page", DESK | {"color_scheme": "light"}),
        ("page-dark", DESK | {"color_scheme": "dark"}),
        ("page-phone", PHONE | {"color_scheme": "light"}),
    ],
)
async def test_in_the_middle_of_a_reply(
    visit: Visitor, album: Path, name: str, look: dict[str, object]
) -> None:
    visitor, _ = await converse(visit, **look)
    await visitor.page.screenshot(path=album / f"{name}.png")
    width = await visitor.page.evaluate("document.documentElement.scrollWidth")
    assert width <= look["viewport"]["width"]  # type: ignore[index]


async def test_before_anything_was_said_and_while_one_chooses(visit: Visitor, album: Path) -> None:
    visitor = await visit(**DESK)
    await visitor.page.wait_for_timeout(500)  # the orb has been drawn
    await visitor.page.screenshot(path=album / "page-first.png")
    await visitor.part("settings").click()
    await expect(visitor.page.locator("select[name=voice]")).to_be_enabled()
    await visitor.page.screenshot(path=album / "page-settings.png", animations="disabled")


async def test_without_a_line(visit: Visitor, album: Path) -> None:
    stage = Stage(welcomes=False)
    visitor, _ = await on_stage(visit, stage, **DESK, color_scheme="dark")
    stage.tell("waiting", position=2, eta_s=40)
    await expect(visitor.part("status")).to_have_text("Every place is taken")
    await expect(visitor.part("copy")).to_be_enabled()
    await visitor.page.screenshot(path=album / "page-waiting.png", animations="disabled")


async def test_the_admin_page(visit: Visitor, server: Server, album: Path) -> None:
    """Two minutes of a small company, on the page's clock."""
    visitor = await visit(viewport={"width": 1100, "height": 860})
    await visitor.page.clock.install()
    await visitor.page.goto(f"{server.url.rstrip('/')}/admin")
    async with AsyncExitStack() as stack:
        company: list[Caller] = []
        for tick in range(60):
            if tick % 12 == 0:
                talker = await stack.enter_async_context(
                    call(server.url.replace("http", "ws", 1).rstrip("/") + "/ws", {})
                )
                company.append(talker)
            if tick < 50:
                await company[tick * 7 % len(company)].say("text", text=f"Thought {tick}.")
            async with visitor.page.expect_response("**/admin/sessions"):
                await visitor.page.clock.run_for(2_000)
        await visitor.page.screenshot(path=album / "admin.png")
