"""The page's line: lost, cut, asleep, queued for, and found again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support import ROOT, SCRIPTED, live_server

from .stage import Stage, on_stage

if TYPE_CHECKING:
    from .conftest import Visitor

api = pytest.importorskip("playwright.async_api", reason="playwright is not installed")
expect = api.expect

pytestmark = [pytest.mark.browser, pytest.mark.timeout(120)]

WITHIN_MS = 30_000
SOMETHING = re.compile(r"\w")
LOST = "WebSocket connection to|ERR_|Failed to load resource"
"""What a browser itself says of a connection that failed."""


class Cut:
    """A line to a server that can be cut: what is open breaks, what is new is refused."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open: set[asyncio.StreamWriter] = set()
        self.port = 0
        self.whole = True
        self._carries = asyncio.Event()
        self._carries.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def cut(self) -> None:
        self.whole = False
        for writer in self._open:
            writer.transport.abort()

    def hush(self) -> None:
        """Nothing comes through, and nobody is told: what is sent waits, as in a tunnel."""
        self._carries.clear()

    def carry_on(self) -> None:
        self._carries.set()

    async def carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not self.whole:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._to)
        ends = {writer, far_writer}
        self._open |= ends
        try:
            async with asyncio.TaskGroup() as both:
                both.create_task(self._pass(reader, far_writer))
                both.create_task(self._pass(far_reader, writer))
        finally:
            self._open -= ends
            for end in ends:
                end.transport.abort()

    async def _pass(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):
            while piece := await source.read(65_536):
                await self._carries.wait()
                sink.write(piece)
                await sink.drain()
            sink.write_eof()


@asynccontextmanager
async def line_to(port: int) -> AsyncIterator[Cut]:
    line = Cut(port)
    async with asyncio.TaskGroup() as calls:
        carried: set[asyncio.Task[None]] = set()
        proxy = await asyncio.start_server(
            lambda reader, writer: carried.add(calls.create_task(line.carry(reader, writer))),
            "127.0.0.1",
            0,
        )
        line.port = proxy.sockets[0].getsockname()[1]
        try:
            yield line
        finally:
            proxy.close()
            for call in carried:
                call.cancel()


class Mortal:
    """A server in a process of its own that can be killed, and begun again on the same port."""

    def __init__(self, data_dir: Path) -> None:
        self._process: asyncio.subprocess.Process | None = None
        self._environ = {**SCRIPTED, "ANTIPHON_DATA_DIR": str(data_dir)}
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def start(self) -> None:
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "server", "serve", "--port", str(self.port)),
            cwd=ROOT,
            env={**os.environ, "ANTIPHON_LOG_LEVEL": "warning", **self._environ},
            stdout=asyncio.subprocess.PIPE,
        )
        assert self._process.stdout is not None
        line = (await self._process.stdout.readline()).decode()
        assert "ready" in line, f"the server did not start: {line!r}"
        self.port = int(line.rsplit(":", 1)[1].rstrip("/\n"))

    async def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            await self._process.wait()
            self._process = None


async def test_a_server_that_is_killed_in_mid_reply_is_found_again(
    visit: Visitor, tmp_path: Path
) -> None:
    server = Mortal(tmp_path)
    await server.start()
    try:
        visitor = await visit(at=server.url, forgiven=LOST)
        await visitor.write("Good evening.")
        body = visitor.page.locator("body")
        await expect(body).to_have_attribute("data-played-ms", re.compile(r"^[1-9]\d\d"))
        await server.kill()
        await expect(visitor.part("connection")).to_have_text("reconnecting…")
        await expect(visitor.said_by("user")).to_have_text("Good evening.")
        await server.start()
        await expect(visitor.part("connection")).to_have_text("connected", timeout=WITHIN_MS)
        await visitor.write("Are you there?")
        await expect(visitor.said_by("assistant")).to_have_count(2, timeout=WITHIN_MS)
        await expect(visitor.said_by("assistant").last).to_have_text(SOMETHING, timeout=WITHIN_MS)
        assert await visitor.page.locator('[data-status="interrupted"]').count() == 1
    finally:
        await server.kill()


async def test_the_network_may_be_gone_for_five_seconds(visit: Visitor) -> None:
    async with live_server() as server, line_to(server.port) as line:
        visitor = await visit(at=line.url, forgiven=LOST)
        await visitor.part("talk").click()
        await expect(visitor.said_by("assistant").first).to_have_text(SOMETHING, timeout=WITHIN_MS)
        said = await visitor.said_by("user").first.inner_text()  # which is answered, so final
        line.cut()
        await expect(visitor.part("connection")).to_have_text("reconnecting…")
        await visitor.write("Written in a tunnel.")
        await expect(visitor.page.locator("[data-pending]")).to_have_count(1)
        await asyncio.sleep(5)
        line.whole = True
        await expect(visitor.part("connection")).to_have_text("connected", timeout=WITHIN_MS)
        await expect(visitor.page.locator("[data-pending]")).to_have_count(0, timeout=WITHIN_MS)
        await expect(visitor.said_by("user").first).to_have_text(said)
        assert visitor.wire.messages("welcome")[-1]["resumed"] is True
        assert await visitor.page.locator(".rule").count() == 0
        await expect(visitor.part("talk")).to_have_attribute("aria-label", "Stop talking")
        frames = sum(isinstance(frame, bytes) for frame in visitor.wire.sent)
        await visitor.wire.until(
            lambda: sum(isinstance(frame, bytes) for frame in visitor.wire.sent) > frames + 10
        )


@pytest.mark.parametrize("told", [False, True], ids=["unnoticed", "the browser tells"])
async def test_the_line_may_be_silent_for_five_seconds(visit: Visitor, told: bool) -> None:
    """Unnoticed, what was sent comes late; told of a tunnel, the page makes a new connection."""
    async with live_server() as server, line_to(server.port) as line:
        visitor = await visit(at=line.url, forgiven=LOST)
        await visitor.part("talk").click()
        await expect(visitor.said_by("assistant").first).to_have_text(SOMETHING, timeout=WITHIN_MS)
        said = await visitor.said_by("user").first.inner_text()  # which is answered, so final
        line.hush()
        await visitor.wire.until_silent()
        if told:
            await visitor.page.evaluate("window.dispatchEvent(new Event('offline'))")
        await visitor.write("Written in a tunnel.")
        await asyncio.sleep(5)
        await expect(visitor.page.locator("[data-pending]")).to_have_count(1)
        line.carry_on()
        await expect(visitor.page.locator("[data-pending]")).to_have_count(0, timeout=WITHIN_MS)
        tunnel = visitor.said_by("user").filter(has_text="tunnel")
        await expect(tunnel).to_have_count(1)  # taken once, whichever way it came
        await expect(visitor.said_by("user").first).to_have_text(said)
        resumed = [welcome["resumed"] for welcome in visitor.wire.messages("welcome")]
        assert resumed[0] is False
        assert all(resumed[1:])
        assert len(resumed) > told  # untold it may find out as well, on a slow machine
        assert await visitor.page.locator(".rule").count() == 0
        await expect(visitor.part("connection")).to_have_text("connected")
        await expect(visitor.part("talk")).to_have_attribute("aria-label", "Stop talking")


async def test_offline_is_said_and_online_is_not_waited_for(visit: Visitor) -> None:
    async with live_server() as server, line_to(server.port) as line:
        visitor = await visit(at=line.url, forgiven=LOST)
        await visitor.write("Hello.")
        await expect(visitor.part("latency")).to_have_count(1, timeout=WITHIN_MS)
        await visitor.page.context.set_offline(True)
        line.cut()
        await expect(visitor.part("connection")).to_have_text("no network", timeout=WITHIN_MS)
        await visitor.write("Are you there?")
        await expect(visitor.part("status")).to_have_text("No network", timeout=WITHIN_MS)
        line.whole = True
        await visitor.page.context.set_offline(False)
        await expect(visitor.part("connection")).to_have_text("connected", timeout=WITHIN_MS)
        await expect(visitor.page.locator("[data-pending]")).to_have_count(0, timeout=WITHIN_MS)
        await expect(visitor.said_by("user")).to_have_text(["Hello.", "Are you there?"])


async def test_what_was_written_without_a_line_is_sent_once_and_in_order(visit: Visitor) -> None:
    stage = Stage(welcomes=False)
    visitor, _ = await on_stage(visit, stage)
    await visitor.write("And this.")
    await expect(visitor.page.locator("[data-pending]")).to_have_count(2)
    assert stage.said("text") == []
    stage.welcome()
    first = await stage.until("text")
    assert first["text"] == "Hello."
    await stage.hang_up(1012)  # before it was taken: nobody knows whether it arrived
    await stage.until("hello", 2)
    stage.welcome()
    again = await stage.until("text", 2)
    assert again == first
    stage.tell("transcript", turn=1, text="Hello.", final=True, ref=first["id"])
    second = await stage.until("text", 3)
    assert second["text"] == "And this."
    assert second["id"] != first["id"]
    stage.tell("transcript", turn=2, text="And this.", final=True, ref=second["id"])
    await expect(visitor.page.locator("[data-pending]")).to_have_count(0)
    await expect(visitor.said_by("user")).to_have_text(["Hello.", "And this."])


async def test_a_message_that_is_refused_is_marked_and_the_next_one_goes(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit)
    text = await stage.until("text")
    stage.tell("error", code="BAD_MESSAGE", message="no", ref=text["id"])
    await expect(visitor.part("transcript").locator(".note")).to_have_text("not taken")
    await visitor.write("Better?")
    assert (await stage.until("text", 2))["text"] == "Better?"


async def test_whoever_waits_is_told_the_place_and_for_how_long(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit, Stage(welcomes=False))
    stage.tell("waiting", position=3, eta_s=40)
    await expect(visitor.part("status")).to_have_text("Every place is taken")
    hint = visitor.page.locator(".stage .hint")
    await expect(hint).to_have_text("you are number 3 in line, about 40 s")
    stage.tell("waiting", position=1, eta_s=None)
    await expect(hint).to_have_text("you are number 1 in line")
    stage.welcome()
    await expect(visitor.part("connection")).to_have_text("connected")


async def test_a_server_that_goes_away_is_awaited(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit)
    stage.tell("going_away", reconnect_in_ms=300)
    await expect(visitor.part("connection")).to_have_text("the server restarts…")
    await stage.hang_up(1012)
    await stage.until("hello", 2)
    await expect(visitor.part("connection")).to_have_text("connected")


async def test_a_resume_token_goes_into_the_next_hello_and_the_transcript_stays(
    visit: Visitor,
) -> None:
    stage = Stage(welcomes=False)
    visitor, _ = await on_stage(visit, stage)
    stage.welcome(resume="first")
    text = await stage.until("text")
    stage.tell("transcript", turn=1, text="Hello.", final=True, ref=text["id"])
    stage.tell("reply_started", reply=1, turn=1)
    stage.tell("reply_text", reply=1, text="Good evening to you.")
    await stage.hang_up(1011)
    hello = await stage.until("hello", 2)
    assert hello["resume"] == "first"
    heard = {"role": "assistant", "text": "Good evening", "reply": 1, "status": "interrupted"}
    stage.welcome(resume="second", resumed=True, next_turn=2, next_reply=2, history=[heard])
    await expect(visitor.part("connection")).to_have_text("connected")
    await expect(visitor.said_by("user")).to_have_text("Hello.")
    await expect(visitor.said_by("assistant")).to_have_text("Good evening to you.")
    await expect(visitor.said_by("assistant").locator("s")).to_have_text("to you.")
    assert await visitor.page.locator(".rule").count() == 0


async def test_a_page_that_is_reloaded_shows_what_was_said(visit: Visitor) -> None:
    visitor = await visit()
    await visitor.write("Remember this.")
    await expect(visitor.part("latency")).to_have_count(1, timeout=WITHIN_MS)
    said = await visitor.said_by("assistant").all_text_contents()
    await visitor.page.reload()
    await expect(visitor.part("connection")).to_have_text("connected", timeout=WITHIN_MS)
    await expect(visitor.said_by("user")).to_have_text("Remember this.")
    await expect(visitor.said_by("assistant")).to_have_text(said)
    another = await visitor.page.context.new_page()
    await another.goto(visitor.server)
    await expect(another.get_by_test_id("connection")).to_have_text("not connected")


HIDES = """
  // `hide()`: a telephone shows another program. What it ends then is not told that it goes.
  addEventListener("pagehide", (event) => event.stopImmediatePropagation());
  window.hide = () => {
    Object.defineProperty(document, "visibilityState", { value: "hidden", configurable: true });
    document.dispatchEvent(new Event("visibilitychange"));
  };
  window.come = () => {
    delete document.visibilityState;
    document.dispatchEvent(new Event("visibilitychange"));
  };
"""
KEPT = "sessionStorage.getItem('antiphon.away')"


async def test_a_page_that_was_ended_while_hidden_goes_on_with_its_last_token(
    visit: Visitor,
) -> None:
    stage = Stage(welcomes=False)
    visitor, _ = await on_stage(visit, stage, script=HIDES)
    stage.welcome(resume="first")
    await expect(visitor.part("connection")).to_have_text("connected")
    await visitor.page.evaluate("hide(), come()")
    assert await visitor.page.evaluate(KEPT) is None
    await visitor.page.evaluate("hide()")
    await stage.hang_up(1012)
    assert (await stage.until("hello", 2))["resume"] == "first"
    stage.welcome(resume="second", resumed=True, history=[])
    await expect(visitor.part("connection")).to_have_text("connected")
    await visitor.page.reload()
    assert (await stage.until("hello", 3))["resume"] == "second"


SCREEN = """
  window.locks = []; // "on", "off"
  Object.defineProperty(navigator, "wakeLock", {
    value: {
      request: async () => {
        locks.push("on");
        return { release: async () => void locks.push("off") };
      },
    },
  });
"""


async def test_the_screen_stays_on_while_one_talks(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit, script=HIDES + SCREEN)
    assert await visitor.page.evaluate("locks") == []
    await visitor.part("talk").click()
    await stage.until("unmute")
    await visitor.until("locks.join() === 'on'")
    await visitor.page.evaluate("hide()")
    await visitor.until("locks.join() === 'on,off'")
    await visitor.page.evaluate("come()")
    await visitor.until("locks.join() === 'on,off,on'")
    await visitor.part("talk").click()
    await visitor.until("locks.join() === 'on,off,on,off'")


async def test_a_line_that_says_nothing_is_asked_and_given_up(visit: Visitor) -> None:
    visitor, stage = await on_stage(visit)
    await stage.until("text")
    await visitor.page.evaluate("window.dispatchEvent(new Event('online'))")  # as after a tunnel
    await stage.until("configure")
    await stage.until_sockets(2)  # nobody answered within 3 s
    await stage.until("hello", 2)
    await visitor.page.evaluate("window.dispatchEvent(new Event('online'))")
    await stage.until("configure", 2)
    stage.tell("configured")
    await expect(visitor.part("connection")).to_have_text("connected")


async def test_tries_to_reconnect_are_spread_out_and_grow_rarer(visit: Visitor) -> None:
    visitor = await visit()
    waits = await visitor.page.evaluate(
        """async () => {
          const { Antiphon } = await import("/web/antiphon.js");
          const waits = [];
          class Deaf {
            constructor() { setTimeout(() => this.onclose?.({ code: 1006 })); }
            close() {}
          }
          const real = window.WebSocket;
          window.WebSocket = Deaf;
          for (let client = 0; client < 20; client += 1) {
            const antiphon = new Antiphon("ws://nowhere/ws");
            const mine = [];
            await new Promise((resolve) => antiphon.addEventListener("state", ({ detail }) => {
              if (detail.state !== "lost") return;
              mine.push(detail.retryMs);
              if (mine.length === 8) resolve(antiphon.close());
              else queueMicrotask(() => antiphon.connect()); // time is not what is tested
            }) || antiphon.connect());
            waits.push(mine);
          }
          window.WebSocket = real;
          return waits;
        }"""
    )
    for tries in zip(*waits, strict=True):
        assert max(tries) > min(tries)  # not all at once
    for mine in waits:
        assert all(wait <= min(15_000, 500 * 2**n) for n, wait in enumerate(mine))
    assert max(mine[0] for mine in waits) <= 500 < max(mine[7] for mine in waits)


async def test_a_line_that_dies_after_one_more_sound_is_asked_again_and_given_up(
    visit: Visitor,
) -> None:
    visitor, stage = await on_stage(visit, clock=True)
    await stage.until("text")
    await visitor.page.clock.run_for(26_000)
    await stage.until("configure")
    stage.tell("reply_started", reply=1, turn=1)  # a sign of life, and no `configured`
    await expect(visitor.page.locator('[data-role="assistant"]')).to_have_count(1)
    await visitor.page.clock.run_for(26_000)
    await stage.until("configure", 2)
    await visitor.page.clock.run_for(12_000)
    await stage.until_sockets(2)
    await expect(visitor.part("connection")).to_have_text("connected")
    while len(stage.said("configure")) < 3:
        await visitor.page.clock.run_for(1_000)
    await visitor.page.evaluate("window.dispatchEvent(new Event('online'))")
    await stage.until("configure", 4)  # asked already, it was given longer
    await visitor.page.clock.run_for(4_000)
    await stage.until_sockets(3)


async def test_a_waiting_room_that_falls_silent_is_left_for_a_new_connection(
    visit: Visitor,
) -> None:
    visitor, stage = await on_stage(visit, Stage(welcomes=False), clock=True)
    status = visitor.part("status")
    hint = visitor.page.locator(".stage .hint")
    for position in (3, 2):
        stage.tell("waiting", position=position, eta_s=None)
        await expect(hint).to_have_text(f"you are number {position} in line")
        await visitor.page.clock.run_for(25_000)
    await expect(status).to_have_text("Every place is taken")
    assert stage.sockets == 1
    await visitor.page.clock.run_for(6_000)
    await stage.until_sockets(2)


async def test_what_is_forgotten_without_a_line_is_forgotten_by_the_server_too(
    visit: Visitor,
) -> None:
    stage = Stage(welcomes=False)
    visitor, _ = await on_stage(visit, stage)
    stage.welcome(resume="first")
    await stage.until("text")
    await stage.hang_up(1012)
    await stage.until("hello", 2)
    await visitor.part("settings").click()
    await visitor.page.locator("#settings .forget").click()
    await expect(visitor.page.locator("[data-role]")).to_have_count(0)
    await visitor.page.reload()  # even so
    await stage.until("hello", 3)
    said = {"role": "user", "text": "Hello.", "turn": 1}
    stage.welcome(resume="second", resumed=True, history=[said])
    await stage.until("clear")
    await visitor.write("Who am I?")
    text = await stage.until("text", 2)
    assert text["text"] == "Who am I?"  # what was typed before is not sent any more
    stage.tell("cleared")
    stage.tell("transcript", turn=2, text="Who am I?", final=True, ref=text["id"])
    await expect(visitor.page.locator("[data-pending]")).to_have_count(0)
    await expect(visitor.said_by("user")).to_have_text(["Who am I?"])
    await stage.hang_up(1012)
    await stage.until("hello", 4)
    stage.welcome(resume="third", resumed=True, history=[])
    await visitor.write("And now?")
    await stage.until("text", 3)
    assert len(stage.said("clear")) == 1


async def test_the_servers_word_on_what_was_heard_counts_after_a_try_that_failed(
    visit: Visitor,
) -> None:
    stage = Stage(welcomes=False)
    visitor, _ = await on_stage(visit, stage)
    stage.welcome(resume="first")
    await stage.until("text")
    stage.tell("reply_started", reply=1, turn=1)
    stage.tell("reply_text", reply=1, text="Good evening to you.")
    await expect(visitor.said_by("assistant")).to_have_text("Good evening to you.")
    await stage.hang_up(1011)
    await stage.until("hello", 2)
    await stage.hang_up(1011)
    await stage.until("hello", 3)
    heard = {"role": "assistant", "text": "Good evening", "reply": 1, "status": "interrupted"}
    stage.welcome(resume="second", resumed=True, history=[heard])
    await expect(visitor.said_by("assistant").locator("s")).to_have_text("to you.")


async def test_who_hangs_up_at_the_welcome_is_not_connected(visit: Visitor) -> None:
    visitor = await visit()
    states = await visitor.page.evaluate(
        """async () => {
          const { Antiphon } = await import("/web/antiphon.js");
          class Quick {
            constructor() {
              const welcome = { type: "welcome", resume: "again", resumed: false };
              setTimeout(() => this.onmessage({ data: JSON.stringify(welcome) }));
            }
            send() {}
            close() {}
          }
          const real = window.WebSocket;
          window.WebSocket = Quick;
          const antiphon = new Antiphon("ws://nowhere/ws");
          const states = [];
          antiphon.addEventListener("state", ({ detail }) => states.push(detail.state));
          const welcomed = new Promise((resolve) => antiphon.addEventListener("message", () => {
            antiphon.close();
            setTimeout(resolve);
          }));
          antiphon.say("Hello.");
          antiphon.connect();
          await welcomed;
          window.WebSocket = real;
          return [...states, antiphon.state];
        }"""
    )
    assert states == ["connecting", "closed", "closed"]


async def test_a_server_that_is_full_says_when_to_come_again(visit: Visitor) -> None:
    visitor = await visit()
    wait_ms = await visitor.page.evaluate(
        """async () => {
          const { Antiphon } = await import("/web/antiphon.js");
          class Full {
            constructor() {
              const error = { type: "error", code: "AT_CAPACITY", retry_after_ms: 7000 };
              setTimeout(() => {
                this.onmessage({ data: JSON.stringify(error) });
                this.onclose({ code: 1013 });
              });
            }
            close() {}
          }
          const real = window.WebSocket;
          window.WebSocket = Full;
          const antiphon = new Antiphon("ws://nowhere/ws");
          const lost = new Promise((resolve) => antiphon.addEventListener("state", ({ detail }) => {
            if (detail.state === "lost") resolve(detail.retryMs);
          }));
          antiphon.connect();
          const wait = await lost;
          antiphon.close();
          window.WebSocket = real;
          return wait;
        }"""
    )
    assert 7_000 <= wait_ms <= 7_500
