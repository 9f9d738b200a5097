"""A conversation through either protocol, recorded, and replayed."""

from __future__ import annotations

import asyncio

from pipeline.recording import replay
from tests.realtime.client import connected
from tests.support import LiveServer, call, live_server, murmur, silence

SPOKEN = 1.0, 2.0
"""Seconds of speech, and of silence after it."""


async def over_native(server: LiveServer) -> None:
    async with call(server.ws_url, {"audio": {"rate": 24_000}}) as caller:
        await caller.speak(murmur(SPOKEN[0], 24_000) + silence(SPOKEN[1], 24_000))
        await caller.play()
        await caller.say("text", text="And then?")
        await caller.play()
        await caller.say("text", text="Stop at once.")
        await caller.until("reply_started")
        await caller.say("cancel")
        await caller.until("reply_done")


async def over_realtime(server: LiveServer) -> None:
    async with connected(server.url.replace("http", "ws")) as client:
        await client.append(murmur(SPOKEN[0], 24_000) + silence(SPOKEN[1], 24_000))
        await client.done()
        for text in ("And then?", "Stop at once."):
            await client.type(text)
            await client.say("response.create")
            if text == "And then?":
                await client.done()
        await client.until("response.created")
        await client.say("response.cancel")
        await client.done()


async def test_a_recorded_session_of_either_can_be_replayed(tmp_path) -> None:  # type: ignore[no-untyped-def]
    async with live_server(ANTIPHON_RECORD_DIR=str(tmp_path)) as server:
        for talk in (over_native, over_realtime):
            await talk(server)
            while len(server.house.sessions):
                await asyncio.sleep(0)
    files = sorted(tmp_path.iterdir())
    assert len(files) == 2
    for file in files:
        moments = list(replay(file.read_text().splitlines()))
        done = [
            effect for moment in moments for effect in moment.effects
            if type(effect).__name__ == "ReplyDone"
        ]  # fmt: skip
        assert [effect.status for effect in done] == ["completed", "completed", "cancelled"]
