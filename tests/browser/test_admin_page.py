"""The admin page at `/admin`: who is here, and an end to it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

import pytest

from tests.support import LiveServer, call, live_server

if TYPE_CHECKING:
    from playwright.async_api import Route

    from .conftest import Visitor

api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = api.expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(90)]

TOKEN = "let me in"
WITHIN_MS = 20_000
COUNT_ROWS = """() => {
  window.rows = 0; // that were added from now on
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) rows += addedNodes.length;
  }).observe(document.querySelector("tbody"), { childList: true });
}"""
REFUSED = "401"
"""A browser tells in its console of each answer that is an error."""


@pytest.fixture
async def server() -> AsyncIterator[LiveServer]:
    async with live_server(ANTIPHON_ADMIN_TOKEN=TOKEN) as running:
        yield running


async def test_it_shows_nothing_without_the_token_and_asks_for_it(
    visit: Visitor, server: LiveServer
) -> None:
    async with call(server.ws_url, {}):
        visitor = await visit("/admin", forgiven=REFUSED)
        await expect(visitor.part("token")).to_be_visible(timeout=WITHIN_MS)
        assert await visitor.page.locator("tbody tr").count() == 0
        await visitor.part("token").fill(TOKEN)
        await visitor.page.keyboard.press("Enter")
        await expect(visitor.part("connection")).to_have_text("ready", timeout=WITHIN_MS)
        await expect(visitor.page.locator("tbody tr")).to_have_count(1)


async def test_it_shows_who_is_here_and_ends_a_session(visit: Visitor, server: LiveServer) -> None:
    async with call(server.ws_url, {}) as caller:
        await caller.say("text", text="Hello.")
        await caller.until("reply_done")
        visitor = await visit(f"/admin#token={TOKEN.replace(' ', '%20')}")
        await expect(visitor.page).not_to_have_url(re.compile("#"))
        row = visitor.page.locator("tbody tr")
        await expect(row.locator(".state")).to_have_text("listening", timeout=WITHIN_MS)
        await expect(row.locator(".turns")).to_have_text("1")
        await expect(row.locator(".latency")).to_have_text(re.compile(r"^\d+ ms / \d+ ms$"))
        gauge = visitor.page.locator('[data-gauge="sessions"] .figure')
        await expect(gauge).to_have_text("1 of 32")
        assert await visitor.page.locator("[data-gauge]").count() == 8
        asked, ended = asyncio.Event(), asyncio.Event()

        async def answer_late(route: Route) -> None:
            answer = await route.fetch()
            asked.set()
            await ended.wait()
            await route.fulfill(response=answer)

        await visitor.page.route("**/admin/sessions", answer_late, times=1)
        await asked.wait()
        await row.get_by_role("button").click()
        assert await caller.closed() == 1000
        await expect(row).to_have_count(0, timeout=WITHIN_MS)
        await visitor.page.evaluate(COUNT_ROWS)
        await expect(visitor.page.locator(".none")).to_be_visible()
        async with visitor.page.expect_response("**/status"):  # the next look
            ended.set()
        assert await visitor.page.evaluate("rows") == 0  # the late answer brought nobody back


async def test_it_links_to_the_dashboards_where_there_are_any(visit: Visitor) -> None:
    there = "http://localhost:3000/"
    async with live_server(ANTIPHON_DASHBOARDS_URL=there) as running:
        visitor = await visit("/admin", at=running.url)
        link = visitor.page.get_by_role("link", name="dashboards")
        await expect(link).to_have_attribute("href", there, timeout=WITHIN_MS)
    async with live_server() as running:
        visitor = await visit("/admin", at=running.url)
        await expect(visitor.part("connection")).to_have_text("ready", timeout=WITHIN_MS)
        await expect(visitor.page.get_by_role("link", name="dashboards")).to_have_count(0)
