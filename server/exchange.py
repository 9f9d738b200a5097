"""Exchange: one HTTP request that is answered as its work goes on, and ends when its client goes.

    async with asyncio.timeout(...): body = await exchange.body(most_bytes)
    await exchange.during(work())     # the work calls start, send and finish

Until `start` an error can still be an HTTP error: let it out. Later the answer can only be cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping

from starlette.requests import ClientDisconnect, Request
from starlette.types import Receive, Scope, Send

from pipeline.errors import SlowClient, TooLarge
from pipeline.task_group import TaskGroup, unwrapped
from server.peer import cut

BODY_S = 30.0
"""A request's body comes within this, or is not waited for."""
STUCK_S = 60.0
"""A client that takes nothing for so long is gone, whatever its socket says. Long enough for a
player that reads as it plays, with some seconds of buffer."""


class Exchange:
    """One request and its answer."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.request = Request(scope, receive)
        self._receive = receive
        self._send = send
        self.started = False
        self.finished = False

    @property
    def id(self) -> str:
        """The request's `x-request-id`."""
        request_id: str = self.request.state.request_id
        return request_id

    async def body(self, most_bytes: int) -> bytes:
        """The whole body. Raises as `body_of` does."""
        return await body_of(self.request, most_bytes)

    async def during(self, work: Awaitable[None]) -> None:
        """Do the work as long as the client is there; the body has been read before.

        Raises what the work raises, or `ClientDisconnect`.
        """
        await unwrapped(self._watched(work))

    async def _watched(self, work: Awaitable[None]) -> None:
        async with TaskGroup() as tasks:
            watch = tasks.create_task(self._watch())
            doing = tasks.create_task(_done(work))
            doing.add_done_callback(lambda _: watch.cancel())

    async def start(self, headers: Mapping[str, str], status: int = 200) -> None:
        """Send the head: from here on it is too late for an HTTP error."""
        self.started = True
        raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
        await self._send({"type": "http.response.start", "status": status, "headers": raw})

    async def send(self, data: bytes) -> None:
        """Send a piece of the body; waits while the client does not read.

        Raises `SlowClient` when it has taken nothing for `STUCK_S`.
        """
        await self._pass(data, more=True)

    async def finish(self, data: bytes = b"") -> None:
        """Send the last piece."""
        self.finished = True
        await self._pass(data, more=False)

    async def cut(self) -> None:
        """End an answer that cannot be brought to its end; the client sees that it was not."""
        cut(self.request.scope)
        while (await self._receive())["type"] != "http.disconnect":
            pass

    async def _pass(self, data: bytes, *, more: bool) -> None:
        try:
            async with asyncio.timeout(STUCK_S):
                await self._send({"type": "http.response.body", "body": data, "more_body": more})
        except TimeoutError:
            raise SlowClient("the answer is not read") from None

    async def _watch(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        if not self.finished:
            raise ClientDisconnect


async def body_of(request: Request, most_bytes: int) -> bytes:
    """The whole body. Raises `TooLarge` when it is longer, `SlowClient` when it does not come,
    `ClientDisconnect`."""
    whole = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for piece in request.stream():
                whole += piece
                if len(whole) > most_bytes:
                    raise TooLarge(f"the body is longer than {most_bytes} bytes")
    except TimeoutError:
        raise SlowClient("the request's body did not come") from None
    return bytes(whole)


async def _done(work: Awaitable[None]) -> None:
    await work
