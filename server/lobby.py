"""The lobby: between a connection and its session. The hello is heard, and a place waited for.

Whoever waits is told where it stands, at once, whenever it moves, and every few seconds. What it
says before it has a place nobody hears: audio is dropped. A message is refused (`NativeLobby`), or
kept for later where the protocol has no word for waiting (`RealtimeLobby`).
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod

from pipeline.errors import (
    AtCapacity,
    BadMessage,
    ClientError,
    NotFound,
    SlowClient,
    TooManyMessages,
)
from pipeline.events import Failed
from pipeline.task_group import TaskGroup, unwrapped
from server.connection import Connection
from server.intake import Fatal, Intake
from server.outbox import STUCK_S
from server.wire import native
from server.wire.realtime_in import is_append
from session.catalogue import Catalogue
from session.limits import utf8_bytes
from session.manager import Ticket
from session.messages import Bye, Configure, Event

HELLO_S = 10.0
"""A client that says nothing for so long is not one."""
MOST_EARLY, MOST_EARLY_BYTES = 256, 1_000_000
"""What a client may send before its session is there, where that is kept."""
REPEAT_S = 10.0
"""How often one that waits is told of its ETA, though its position is the same."""
SILENT_S = 10.0
"""The longest wait of whoever cannot be told that it waits: it would take the server for dead."""


class Left(Exception):
    """There will be no session; the connection closes with this code."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code
        self.reason = reason


class Lobby(ABC):
    """One connection before its session: what comes is read, and a place waited for."""

    def __init__(self, connection: Connection, intake: Intake, ticket: Ticket) -> None:
        self._connection = connection
        self._intake = intake
        self._ticket = ticket
        self._met = False

    @abstractmethod
    async def _read(self) -> None:
        """Read until there is a place. Raises as `_pass` does."""

    async def _pass(self) -> None:
        """Wait until the client was met, and there is a place.

        Raises `Left`, `Fatal`, or `WebSocketDisconnect`.
        """
        await unwrapped(self._read_and_wait())

    async def _read_and_wait(self) -> None:
        async with TaskGroup() as tasks:
            reading = tasks.create_task(self._read())
            await self._wait()
            reading.cancel()

    async def _wait(self) -> None:
        told: int | None = None
        while (standing := self._ticket.waiting) is not None or not self._met:
            if (notice := self._ticket.going_away) is not None:
                await self._tell(notice)
                raise Left(1012, "the server is going away")
            if self._ticket.dismissed:
                raise Left(1000, "ended by the operator")
            if standing is not None and standing.position != told:
                told = standing.position
                await self._tell(standing)
                continue  # it may have moved meanwhile
            try:
                async with asyncio.timeout(REPEAT_S):
                    await self._ticket.moved.wait()
            except TimeoutError:
                told = None

    async def _tell(self, event: Event) -> None:
        """Send what a client must read, if it is to stay."""
        try:
            async with asyncio.timeout(STUCK_S):
                await self._connection.send(event)
        except TimeoutError:
            raise Fatal(SlowClient("you do not read what is sent to you")) from None


class RealtimeLobby(Lobby):
    """The Realtime protocol has no hello and no word for waiting: events are kept for later, but
    for audio, and counted as they come."""

    def __init__(self, connection: Connection, intake: Intake, ticket: Ticket) -> None:
        super().__init__(connection, intake, ticket)
        self._met = True
        self._first: list[str] = []

    async def enter(self) -> list[str]:
        """Wait for a place; the frames that came meanwhile. Raises as `_pass` does, and
        `AtCapacity`."""
        try:
            async with asyncio.timeout(SILENT_S):
                await self._pass()
        except TimeoutError:
            if self._ticket.admitted:  # in this very moment
                return self._first
            standing = self._ticket.waiting
            eta_s = standing.eta_s if standing is not None else None
            raise AtCapacity("every place is taken", retry_after_s=eta_s) from None
        return self._first

    async def _read(self) -> None:
        size = 0
        while not self._ticket.admitted:
            text, _ = await self._connection.receive()
            if text is not None and is_append(text):
                self._intake.check_frame(b"")
                continue
            self._intake.check_text()
            if text is None:
                await self._tell(Failed(BadMessage("events are sent as text frames")))
                continue
            size += utf8_bytes(text)
            if len(self._first) == MOST_EARLY or size > MOST_EARLY_BYTES:
                raise Fatal(TooManyMessages("too much was sent before the session was created"))
            self._first.append(text)


class NativeLobby(Lobby):
    """The native protocol: a hello, and what is said before the welcome is refused."""

    def __init__(
        self,
        connection: Connection,
        intake: Intake,
        catalogue: Catalogue,
        ticket: Ticket,
        said: str | None = None,
    ) -> None:
        """`said`: a hello that came already, with its token, which was looked at."""
        super().__init__(connection, intake, ticket)
        self._catalogue = catalogue
        self._said = said
        self._hello = native.Hello(native.RAW, Configure())
        self._first: bytes | None = None

    async def enter(self) -> tuple[native.Hello, bytes | None]:
        """Wait for the hello and for a place; the hello, or the first audio of a client that says
        none. Raises as `_pass` does.
        """
        await self._pass()
        return self._hello, self._first

    # --- what comes meanwhile --------------------------------------------------------------------

    async def _read(self) -> None:
        try:
            async with asyncio.timeout(HELLO_S):
                await self._meet()
        except TimeoutError:
            raise Left(1000, "nothing was said") from None
        if self._hello.resume is not None:
            await self._ticket.come_back(self._hello.resume)
        self._met = True
        self._ticket.moved.ring()
        while not self._ticket.admitted:
            await self._refuse(*await self._connection.receive())

    async def _meet(self) -> None:
        """Until a hello that can be taken, or the first audio of a client that sends none."""
        if self._said is not None and await self._greeted(self._said):
            return
        while True:
            text, data = await self._connection.receive()
            if data is not None:
                self._intake.check_frame(data)
                if data:
                    # What is said in the waiting room, nobody hears.
                    self._first = data if self._ticket.admitted else None
                    return
            elif text is not None and await self._greeted(text):
                return

    async def _greeted(self, text: str) -> bool:
        self._intake.check_text()
        try:
            message = native.decode(text)
            if isinstance(message, Bye):
                raise Left(1000, "bye")
            if not isinstance(message, native.Hello):
                raise BadMessage("say hello first")
            self._catalogue.check(message.choices)
        except (BadMessage, NotFound) as error:
            await self._mistake(error, text)
            return False
        self._hello = message
        return True

    async def _refuse(self, text: str | None, data: bytes | None) -> None:
        """One that waits sent something: audio is dropped, a message is answered by an error that
        names it, so that it can be sent again after the `welcome`.
        """
        if data is not None:
            self._intake.check_frame(data)
        if text is None:
            return
        self._intake.check_text()
        try:
            message = native.decode(text)
            if isinstance(message, Bye):
                raise Left(1000, "bye")
            if isinstance(message, native.Hello):
                raise BadMessage("hello was said already")
        except BadMessage as error:
            await self._mistake(error, text)
            return
        full = AtCapacity("there is no place for you yet: wait for the welcome")
        await self._tell(Failed(full, ref=native.ref_of(text)))

    async def _mistake(self, error: ClientError, text: str) -> None:
        await self._tell(Failed(error, ref=native.ref_of(text)))
        self._intake.note_mistake()
