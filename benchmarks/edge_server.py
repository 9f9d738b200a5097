"""A server that knows how late its event loop is: Antiphon, or a bare echo to compare it with.

    python -m benchmarks.edge_server antiphon|echo [CORE]

prints `{"port": N}` when it is ready; for each line on standard input it prints how late its loop
was since the last one, and ends with its input. With CORE all its threads run on that core.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace

import uvicorn
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from pipeline.config import ScriptConfig
from pipeline.engines.build import build
from server import collector, logs
from server.configs import engine_config
from server.house import House
from server.serve import bound, running
from server.settings import load

LOOK_S = 0.005
"""The loop is asked to come back after so long; how much later it does is its lag."""


REPLY = (
    "This is the first sentence of what is said in reply. "
    "And this is the second one, which takes a little longer."
)
"""Some 7 s of speech, as an assistant's answers are: most of the time whoever has asked hears."""
CLAUSE_S = 20.0
"""Each clause in one piece, as the real voices give it."""


async def echo(socket: WebSocket) -> None:
    """Send back what comes."""
    await socket.accept()
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if (data := message.get("bytes")) is not None:
                await socket.send_bytes(data)
    except WebSocketDisconnect:
        return


@asynccontextmanager
async def echoing() -> AsyncIterator[int]:
    """A bare Starlette app on the same server, the same loop and the same WebSocket layer."""
    with bound("127.0.0.1", 0) as listener:
        config = uvicorn.Config(
            Starlette(routes=[WebSocketRoute("/ws", echo)]),
            log_config=None, access_log=False, lifespan="off",
            ws="websockets-sansio", ws_per_message_deflate=False,
        )  # fmt: skip
        server = uvicorn.Server(config)
        async with asyncio.TaskGroup() as tasks:
            serving = tasks.create_task(server.serve([listener]))
            while not server.started:  # noqa: ASYNC110 - it has no event for it
                await asyncio.sleep(0.01)
            try:
                yield int(listener.getsockname()[1])
            finally:
                server.should_exit = server.force_exit = True
                await serving


@asynccontextmanager
async def antiphon() -> AsyncIterator[int]:
    """Antiphon with the settings of the environment."""
    chosen = load(env_file=None)
    logs.configure(chosen.log_level, chosen.log_format)
    with bound("127.0.0.1", 0) as listener:
        script = ScriptConfig(llm_text=REPLY, tts_chunk_s=CLAUSE_S)
        engines = build(replace(engine_config(chosen), script=script))
        async with running(chosen, listener, House(chosen, engines)):
            collector.freeze()
            yield int(listener.getsockname()[1])


class Lag:
    """How late the loop comes back, in milliseconds."""

    def __init__(self) -> None:
        self._late_ms: list[float] = []

    async def watch(self) -> None:
        """Look, until cancelled."""
        while True:
            due = time.monotonic() + LOOK_S  # uvloop's own clock stands still within a turn
            await asyncio.sleep(LOOK_S)
            self._late_ms.append(max(0.0, time.monotonic() - due) * 1_000)

    def take(self) -> dict[str, float]:
        """What was seen since the last time."""
        late, self._late_ms = sorted(self._late_ms) or [0.0], []
        return {
            "p50_ms": round(late[len(late) // 2], 2),
            "p99_ms": round(late[int(len(late) * 0.99)], 2),
            "max_ms": round(late[-1], 2),
            "looks": len(late),
        }


async def main(kind: str) -> None:
    """Serve until standard input ends."""
    async with AsyncExitStack() as stack:
        port = await stack.enter_async_context(antiphon() if kind == "antiphon" else echoing())
        reader = asyncio.StreamReader()
        await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), sys.stdin
        )
        lag = Lag()
        watching = asyncio.ensure_future(lag.watch())
        print(json.dumps({"port": port}), flush=True)
        while await reader.readline():
            print(json.dumps(lag.take()), flush=True)
        watching.cancel()


if __name__ == "__main__":
    if len(sys.argv) > 2:
        os.sched_setaffinity(0, {int(sys.argv[2])})
    import uvloop

    uvloop.run(main(sys.argv[1]))
