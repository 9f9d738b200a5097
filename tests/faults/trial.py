"""A trial: a server with scripted engines, a bystander in it, and a look at what is left.

    async with trial() as house:
        async with house.call() as victim:
            ...  # the fault, and what its victim was promised

When the block ends the bystander ends its conversation and is checked (`bystander.py`), then the
house is at rest with everything given back (`baseline.py`), and nothing was logged as our fault. An
engine that hangs does so until the house was found at rest but for its call, and then once more
without it.
"""

from __future__ import annotations

import asyncio
import socket
import tempfile
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any
from unittest import mock

import structlog

from pipeline.config import EngineConfig, ScriptConfig
from pipeline.engines.build import build
from pipeline.engines.engine_set import Engines
from pipeline.scheduling import Purpose, Request
from pipeline.seats import Seat
from pipeline.station import Station
from server.house import House
from server.serve import bound, running
from server.settings import load
from tests.faults.baseline import Held, alive, left_alive, left_in, settled
from tests.faults.bystander import ANSWER, HEARD, Bystander, bystander
from tests.support import SCRIPTED, Caller, call, murmur

VICTIM = "tone-low"
"""The voice of whoever the fault is for: its audio cannot be taken for the bystander's."""
SMALL = {
    # Two of each, so that one engine that is held up is not everybody's.
    "ANTIPHON_TTS_SLOTS": "2",
    "ANTIPHON_STT_SLOTS": "2",
    # Audio leaves soon before it is due, so that a delay is an underrun.
    "ANTIPHON_SEND_AHEAD_MS": "200",
}
SCRIPT = ScriptConfig(stt_text=HEARD, llm_text=ANSWER, tts_s_per_char=0.02)


@dataclass
class Trial:
    """One server under one fault."""

    house: House
    port: int
    bystander: Bystander | None
    hung: asyncio.Event | None = None
    """One engine call hangs until this is set, which is done here, when all others have ended."""
    bugs: set[str] = field(default_factory=set)
    """Events at level error that the fault is expected to log."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def ws_url(self) -> str:
        return f"ws://127.0.0.1:{self.port}/ws"

    def call(self, **hello: object) -> AbstractAsyncContextManager[Caller]:
        """Someone to whom things happen, welcomed."""
        return call(self.ws_url, {"voice": VICTIM, **hello})

    def connect(self, **options: Any) -> AbstractAsyncContextManager[Caller]:
        """The same, before the hello."""
        return call(self.ws_url, **options)

    async def talked_to(self) -> None:
        """Whoever comes now is served: a typed turn is answered to its end."""
        async with self.call() as newcomer:
            await newcomer.say("text", text="hello")
            done = await newcomer.play()
            assert done["status"] == "completed", done
            await newcomer.say("bye")
            assert await newcomer.closed() == 1000


@asynccontextmanager
async def trial(
    *,
    nobody_by: bool = False,
    script: ScriptConfig = SCRIPT,
    speed: float = 1.0,
    **environ: str,
) -> AsyncIterator[Trial]:
    """A server under trial, its engines following `script`.

    `nobody_by`: without the bystander, when nobody could be spared; `speed`: its voice's.
    """
    with tempfile.TemporaryDirectory() as data:
        own = {"ANTIPHON_DATA_DIR": data, **environ}
        async with _trial(nobody_by, script, speed, {**SCRIPTED, **SMALL, **own}) as ours:
            yield ours


@asynccontextmanager
async def _trial(
    nobody_by: bool, script: ScriptConfig, speed: float, environ: dict[str, str]
) -> AsyncIterator[Trial]:
    chosen = load(environ, env_file=None)

    def scripted(config: EngineConfig) -> Engines:
        return build(replace(config, script=script))

    loop = asyncio.get_running_loop()
    unhandled: list[dict[str, Any]] = []
    before_handler = loop.get_exception_handler()
    line_up, asked = Station.line_up, list[tuple[Request, Purpose]]()

    def noted(station: Station[Any], request: Request) -> asyncio.Future[Seat[Any]]:
        asked.append((request, request.purpose))  # a guess may come true later
        return line_up(station, request)

    loop.set_exception_handler(lambda _, context: unhandled.append(context))
    held, living = Held.now(), alive()
    try:
        with (
            structlog.testing.capture_logs() as logged,
            bound("127.0.0.1", 0) as listener,
            mock.patch("server.app.build", scripted),
            mock.patch.object(Station, "line_up", noted),
        ):
            # The kernel would hold megabytes for a client that does not read.
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 16_384)
            async with running(chosen, listener) as (house, _):
                ours = Trial(house, listener.getsockname()[1], None)
                await _warm(ours)
                open_house = Held.now()
                if nobody_by:
                    yield ours
                else:
                    async with bystander(
                        ours.ws_url, heard=script.stt_text, answer=script.llm_text,
                        greeting=chosen.greeting, speed=speed,
                    ) as ours.bystander:  # fmt: skip
                        yield ours
                    check_turns(asked, ours.bystander.session)
                ours.bystander = None
                if ours.hung is not None:
                    await _at_rest(house, open_house, living, hung=1)
                    ours.hung.set()
                await _at_rest(house, open_house, living, hung=0)
        await settled(lambda: Held.now().more_than(held))
        assert not unhandled, f"the event loop was told of {unhandled}"
        bugs = [entry for entry in logged if entry["log_level"] in ("error", "critical")]
        unexpected = [entry for entry in bugs if entry["event"] not in ours.bugs]
        assert not unexpected, f"our own faults in the log: {unexpected}"
    finally:
        loop.set_exception_handler(before_handler)


def check_turns(asked: list[tuple[Request, Purpose]], bystander: str) -> None:
    """Raise an AssertionError if somebody was to be served before the bystander, who waited."""
    theirs = [asking for asking in asked if asking[0].owner == bystander]
    behind = [
        request
        for request, purpose in theirs
        if purpose is not Purpose.SPECULATION and request.position > 1
    ]
    assert theirs, "the bystander asked for nothing"
    assert not behind, f"others go before the bystander: {behind}"


async def _at_rest(house: House, held: Held, living: dict[int, str], *, hung: int) -> None:
    """Nobody is in it, and it holds no more than before, but for so many calls that hang."""
    await settled(lambda: left_in(house, hung=hung))
    await settled(lambda: Held.now().more_than(held, hung=hung))
    await settled(lambda: left_alive(living))


async def _warm(ours: Trial) -> None:
    """Let what is made at first use be made: threads, for one."""
    async with ours.call() as first:
        await first.speak(murmur(0.2))
        await first.until("speech_started")
        await first.say("bye")
        await first.closed()
    await settled(lambda: left_in(ours.house))
