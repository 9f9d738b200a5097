"""Talk: one WebSocket = one TaskGroup of a reader, the session, and a writer.

The reader turns frames into commands, the session answers with events, the writer turns those into
frames. When any of the three is done the others are ended, and everything is given back. What a
protocol reads is its own: see `voice_socket.py` and `realtime_socket.py`.
"""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cached_property, partial

import structlog
from starlette.websockets import WebSocketDisconnect

from pipeline.errors import (
    AntiphonError,
    BadAudio,
    RateLimited,
    SlowClient,
    Unauthorized,
    Unavailable,
)
from pipeline.events import Failed
from pipeline.task_group import TaskGroup
from server.connection import Connection
from server.failures import failure_of
from server.gate import Visitor
from server.house import House
from server.intake import TOO_MUCH_AUDIO, Fatal, Intake
from server.lobby import Left
from server.outbox import STUCK_S, Outbox
from server.sound import Sound
from session.budgets import Budget
from session.keeping import Lease
from session.manager import Ticket
from session.messages import (
    Bye,
    CancelReply,
    ClearAudio,
    Closing,
    Command,
    Commit,
    Event,
    Mute,
    PlaybackReport,
    Settings,
    Unmute,
    Warned,
    Welcome,
    characters_of,
)
from session.records import Identity, SessionConfig
from session.session import Session

log = structlog.get_logger(__name__)

_BRIEF = (PlaybackReport, Mute, Unmute, Commit, ClearAudio, CancelReply, Bye)
"""What nothing long answers."""
MOST_PINGS = 20
"""A peer that answers none of them, one after the other, is found to be gone elsewhere."""


@asynccontextmanager
async def answered(connection: Connection, house: House) -> AsyncIterator[None]:
    """Whatever ends a connection before its session, or in its place, is told and closes it."""
    try:
        yield
    except Left as left:
        await connection.close(left.code, left.reason)
    except Fatal as fatal:
        await connection.refuse(fatal.error)
    except Unauthorized as error:
        house.gate.tell(error, connection.socket)
        await connection.refuse(error)
    except (Unavailable, RateLimited) as error:
        house.metrics.turned_away(error)
        house.audit.note("refused", why=failure_of(error).code, remote=connection.remote)
        await connection.refuse(error)
    except WebSocketDisconnect:
        pass
    except Exception:
        log.exception("connection_failed")
        failed = AntiphonError("something went wrong on our side")
        house.metrics.told(Failed(failed))
        await connection.refuse(failed)


@asynccontextmanager
async def entering(visitor: Visitor, house: House) -> AsyncIterator[None]:
    """Until its session begins: one that is told to come again can do so by the token that it came
    in with."""
    try:
        yield
    except (Unavailable, RateLimited):
        await house.gate.give_back(visitor)
        raise
    except Left as left:
        if left.code == 1012:  # it waited, and the server goes
            await house.gate.give_back(visitor)
        raise


class Talk(ABC):
    """The three parts of one connection, and what they share."""

    def __init__(
        self,
        connection: Connection,
        intake: Intake,
        house: House,
        ticket: Ticket,
        budget: Budget,
        *,
        overtakes: bool = True,
    ) -> None:
        """`overtakes`: what cannot wait goes before queued audio."""
        self.connection = connection
        self.intake = intake
        self.house = house
        self.id, self.user = ticket.session, ticket.user
        self.budget = budget
        self.lease: Lease | None = None
        """By what its session is kept; None: it is not."""
        self.identity: Identity | None = None
        """Of the session, once there is one."""
        self.outbox = Outbox(
            dropped=house.metrics.dropped, cut=partial(_cut, connection, self.id),
            overtakes=overtakes,
        )  # fmt: skip

    @abstractmethod
    async def read(self, session: Session) -> None:
        """Turn frames into commands, until cancelled. Raises `WebSocketDisconnect` and `Fatal`."""

    async def run(self, session: Session) -> None:
        """Converse until one side ends it; the session is registered."""
        with structlog.contextvars.bound_contextvars(session=self.id):
            log.info("session_started", remote=session.identity.remote)
            who, note = session.identity, self.house.audit.note
            note("connected", user=who.user, remote=who.remote, protocol=who.protocol)
            self.house.outboxes.add(self.outbox)
            try:
                await self._converse(session)
            finally:
                self.house.outboxes.discard(self.outbox)
                log.info("session_ended", **_figures(session))
                note("disconnected", user=who.user, remote=who.remote, **_figures(session))

    def make_session(
        self,
        identity: Identity,
        settings: Settings,
        config: SessionConfig,
        microphone_hz: int,
        limits: dict[str, float] | None = None,
    ) -> Session:
        """The session of this connection."""
        house = self.house
        self.identity = identity
        # One that is resumed may have been spoken to by another server's engine.
        voice = house.catalogue.speaks(settings.voice, settings.language)
        return Session(
            identity,
            replace(settings, voice=voice),
            config,
            microphone_hz=microphone_hz,
            pool=house.pool,
            vad=house.vad,
            budget=self.budget,
            send=self.tell,
            peer_answers=self.connection.answers,
            load=lambda: house.load.level,
            ears=house.ears,
            speaks=lambda voice, language: house.catalogue.speaks(voice, language),
            limits=limits,
            keeping=house.keeping,
            lease=self.lease,
        )

    async def ask(self, session: Session, command: Command) -> None:
        """Hand over a command; of those that may be answered at length waits until it is obeyed,
        and the answers are on their way. What is said behind the others is heard meanwhile, also
        while a turn is stored."""
        await session.tell(command)
        if not isinstance(command, _BRIEF):
            await session.caught_up()

    async def receive(self) -> tuple[str | None, bytes | None]:
        """The next frame, as `Connection.receive`; none while much waits to be sent. A client that
        does not read its answers is made to wait with its questions."""
        await self.room()
        return await self.connection.receive()

    async def room(self) -> None:
        """Wait while much waits to be sent."""
        await self.outbox.room()

    def tell(self, event: Event) -> None:
        """Put an event on its way to the client."""
        self.house.metrics.told(event)
        if self.house.tracing is not None and self.identity is not None:
            self.house.tracing.told(self.identity, event)
        self.outbox.put(event)

    def hear(self, session: Session, frame: bytes, sound: Sound, credit_s: float) -> None:
        """Take microphone audio within its bounds. Raises `Fatal` when they are passed for long."""
        try:
            seconds = sound.seconds(frame)
            if not seconds:
                return
            if not self.intake.take_audio(seconds, credit_s):
                self.house.metrics.dropped("microphone")
                if self.intake.warns_of_drops():
                    self.tell(Warned(TOO_MUCH_AUDIO))
                return
            self.budget.take_audio(seconds, time.monotonic())
            session.hear(sound.pcm(frame))
        except (BadAudio, RateLimited) as error:
            if self.intake.tells_refused_audio():
                self.tell(Failed(error))

    def pay_for(self, command: Command) -> None:
        """Raises `RateLimited` when there is too much in it to read."""
        if size := characters_of(command):
            self.budget.take_characters(size, time.monotonic())

    # --- the three parts -------------------------------------------------------------------------

    async def _converse(self, session: Session) -> None:
        async with TaskGroup() as tasks:
            talk = tasks.create_task(self._talk(session))
            read = tasks.create_task(self._read(session))
            write = tasks.create_task(self._write(session))
            talk.add_done_callback(lambda _: read.cancel())
            read.add_done_callback(lambda _: talk.cancel())
            write.add_done_callback(lambda _: (talk.cancel(), read.cancel()))
            if session.resumed:
                confirm = tasks.create_task(self._confirm(session))
                talk.add_done_callback(lambda _: confirm.cancel())

    async def _talk(self, session: Session) -> None:
        try:
            await session.run()
        except Exception as error:
            log.exception("session_failed")
            self.tell(Failed(error))
            self.tell(Closing(AntiphonError("something went wrong on our side")))
        finally:
            self.outbox.close()

    async def _read(self, session: Session) -> None:
        try:
            await self.read(session)
        except Fatal as fatal:
            await session.end(fatal.error, str(fatal.error))
            await asyncio.Event().wait()  # the session ends us
        except WebSocketDisconnect:
            return

    @cached_property
    def _welcomed(self) -> asyncio.Event:
        """The client was sent the welcome of a session resumed; of others nobody waits for it."""
        return asyncio.Event()

    async def _confirm(self, session: Session) -> None:
        """A peer that answers a ping sent after the welcome has read the welcome."""
        await self._welcomed.wait()
        for _ in range(MOST_PINGS):
            if await self.connection.answers():
                await session.reached()
                return

    async def _write(self, session: Session) -> None:
        try:
            while (event := await self.outbox.next()) is not None:
                async with asyncio.timeout(STUCK_S):
                    session.figures.bytes_out += await self.connection.send(event)
                if isinstance(event, Closing):
                    code = failure_of(event.error).close if event.error else 1000
                    await self.connection.close(code, event.reason)
                    return
                if isinstance(event, Welcome) and event.resumed:
                    self._welcomed.set()
        except (SlowClient, TimeoutError):
            log.warning("slow_client_closed")
            await self.connection.close(1008, "you do not read what is sent to you")
        except WebSocketDisconnect as gone:
            log.debug("socket_gone", error=repr(gone))


def _cut(connection: Connection, session: str, waiting: int) -> None:
    """Cut the connection of a client for whom more waits than the outbox holds."""
    log.warning("slow_client_cut", session=session, waiting=waiting)
    connection.abort()


def _figures(session: Session) -> dict[str, object]:
    figures = session.figures
    return {"turns": figures.turns, "bytes_in": figures.bytes_in, "bytes_out": figures.bytes_out}
