"""The Autobahn cases on the stack that the server's sockets stand on.

Without 9 (how fast), 12 and 13 (compression, which is off).
"""

from __future__ import annotations

import asyncio
from contextlib import suppress

import uvicorn
from kosoku import FailureError, run_fuzzingclient
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from server.connection import Connection
from server.serve import bound, stack

LEFT_OUT = ["9.*", "12.*", "13.*"]
DOCUMENTED = {"7.1.5"}
"""What `websockets` says of itself: whoever closes in the middle of a message is answered 1002."""


async def echo(socket: WebSocket) -> None:
    """Send every frame back."""
    await socket.accept()
    connection = Connection(socket, lambda _: [])
    with suppress(WebSocketDisconnect):
        while True:
            text, data = await connection.receive()
            if text is not None:
                await socket.send_text(text)
            else:
                await socket.send_bytes(data or b"")


async def failures() -> dict[str, str]:
    """The cases that fail, and how."""
    with bound("127.0.0.1", 0) as listener:
        listener.listen()
        server = uvicorn.Server(stack(Starlette(routes=[WebSocketRoute("/", echo)])))
        serving = asyncio.create_task(server.serve([listener]))
        url = f"ws://127.0.0.1:{listener.getsockname()[1]}/"
        try:
            await run_fuzzingclient(url, exclude_cases=LEFT_OUT, concurrency=4)
        except FailureError as failed:
            return {
                case.case_id: f"{case.result} {case.result_close}"
                for case in failed.results
                if not case.passed
            }
        finally:
            server.should_exit = True
            await serving
    return {}


async def test_no_case_fails_but_what_the_library_documents() -> None:
    failed = await failures()
    assert failed.keys() == DOCUMENTED, list(failed.items())[:3]
