"""`web/antiphon.js` for others: the lines of docs/clients.md, in a page of another origin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.support import ServerProcess, live_server
from tests.test_clients_docs import block

if TYPE_CHECKING:
    from playwright.async_api import Browser, ConsoleMessage

pytest.importorskip("playwright.async_api", reason="playwright is not installed")

BAD = ("error", "warning")
pytestmark = [pytest.mark.browser, pytest.mark.timeout(60)]


async def test_a_page_of_another_origin_talks_with_the_lines_of_the_docs(
    browser: Browser, scripted_server: ServerProcess
) -> None:
    elsewhere = scripted_server.url.rstrip("/")  # any page will do that is not the server's own
    async with live_server(ANTIPHON_ALLOWED_ORIGINS=elsewhere) as server:
        code = block("js").replace("localhost:8000", f"127.0.0.1:{server.port}")
        page = await browser.new_page()
        complaints: list[str] = []
        page.on("pageerror", lambda error: complaints.append(str(error)))

        def hear(said: ConsoleMessage) -> None:
            # That page is bare, and a browser asks for its icon.
            if said.type in BAD and not said.location["url"].endswith("/favicon.ico"):
                complaints.append(said.text)

        page.on("console", hear)
        await page.goto(f"{elsewhere}/healthz")
        async with page.expect_console_message(
            lambda message: message.text.startswith("antiphon: "), timeout=20_000
        ) as said:
            await page.add_script_tag(content=code, type="module")
        assert (await said.value).text.strip() != "antiphon:"
        assert complaints == []
        await page.close()
