"""One native WebSocket: one TaskGroup of a reader, the session, and a writer.

The reader turns frames into commands, the session answers with events, the writer turns those into
frames. When any of the three is done the others are ended, and everything is given back.
"""

from __future__ import annotations

import asyncio
import time

import structlog
from starlette.websockets import WebSocket, WebSocketDisconnect

from pipeline.errors import (
    AntiphonError,
    BadAudio,
    BadMessage,
    NotFound,
    RateLimited,
    SlowClient,
    Unavailable,
)
from pipeline.events import Failed
from server.connection import Connection
from server.failures import failure_of
from server.gate import check_origin
from server.house import House
from server.intake import TOO_MUCH_AUDIO, Fatal, Intake
from server.lobby import Left, Lobby
from server.outbox import STUCK_S, Outbox
from server.wire import native
from session import limits
from session.budgets import Budget
from session.messages import Closing, Command, Configure, Event, Settings, Warned, characters_of
from session.records import Identity
from session.session import Session

log = structlog.get_logger(__name__)

_UNTOLD = tuple(kind for kind in native.UNTOLD if kind is not Closing)

LIMITS: dict[str, float] = {
    "frame_bytes": limits.FRAME_BYTES,
    "text_bytes": limits.TEXT_BYTES,
    "audio_ahead_s": limits.AUDIO_CREDIT_S,
    "audio_ahead_manual_s": limits.MANUAL_CREDIT_S,
    "messages_per_s": limits.MESSAGES_PER_S,
}


async def voice_socket(socket: WebSocket) -> None:
    """The endpoint of `/ws`."""
    house: House = socket.app.state.house
    check_origin(socket, house.settings.allowed_origins)
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(native.SUBPROTOCOL if native.SUBPROTOCOL in offered else None)
    connection, intake = Connection(socket), Intake()
    try:
        house.check_open()
        with house.sessions.ticket(connection.remote) as ticket:
            lobby = Lobby(connection, intake, house.catalogue, ticket)
            hello, first = await lobby.enter()
            house.check_open()
            with house.budgets.session(None) as budget:
                talk = _Conversation(connection, intake, house, ticket.session, budget)
                await talk.run(hello, first)
    except Left as left:
        await connection.close(left.code, left.reason)
    except Fatal as fatal:
        await connection.refuse(fatal.error)
    except (Unavailable, RateLimited) as error:
        house.metrics.turned_away(error)
        await connection.refuse(error)
    except WebSocketDisconnect:
        pass


class _Conversation:
    """The three parts of one connection, and what they share."""

    def __init__(
        self,
        connection: Connection,
        intake: Intake,
        house: House,
        session_id: str,
        budget: Budget,
    ) -> None:
        self._connection = connection
        self._intake = intake
        self._house = house
        self._id = session_id
        self._budget = budget
        self._metrics = house.metrics
        self._outbox = Outbox(dropped=self._metrics.dropped)

    async def run(self, hello: native.Hello, first: bytes | None) -> None:
        """Converse until one side ends it. Raises `RateLimited` for instructions too long."""
        self._pay_for(hello.choices)
        session = self._make_session(hello)
        if hello.resume is not None:
            log.info("resume_unknown", session=self._id)
        with (
            structlog.contextvars.bound_contextvars(session=self._id),
            self._house.sessions.registered(session),
        ):
            log.info("session_started", remote=session.identity.remote)
            try:
                await self._converse(session, hello, first)
            finally:
                log.info("session_ended", **_figures(session))

    async def _converse(self, session: Session, hello: native.Hello, first: bytes | None) -> None:
        async with asyncio.TaskGroup() as tasks:
            talk = tasks.create_task(self._talk(session))
            read = tasks.create_task(self._read(session, hello.rate_hz, first))
            write = tasks.create_task(self._write(session))
            guard = tasks.create_task(self._guard())
            talk.add_done_callback(lambda _: read.cancel())
            read.add_done_callback(lambda _: talk.cancel())
            write.add_done_callback(lambda _: (talk.cancel(), read.cancel(), guard.cancel()))

    def _make_session(self, hello: native.Hello) -> Session:
        house, choices = self._house, hello.choices
        settings = Settings(
            voice=choices.voice or house.catalogue.default_voice,
            instructions=(
                house.settings.system_prompt
                if choices.instructions is None
                else choices.instructions
            ),
            speed=choices.speed or 1.0,
            language=choices.language,
            pace=choices.pace or "normal",
            detection=choices.detection or "auto",
            tools=choices.tools or (),
        )
        return Session(
            Identity(self._id, "native", self._connection.remote),
            settings,
            house.settings.session_config(),
            microphone_hz=hello.rate_hz,
            pool=house.pool,
            vad=house.vad,
            budget=self._budget,
            send=self._tell,
            peer_answers=self._connection.answers,
            load=lambda: house.load.level,
            limits=LIMITS
            | {
                "turns_per_minute": self._budget.allowance.turns_per_minute,
                "characters_per_minute": self._budget.allowance.characters_per_minute,
            },
        )

    def _tell(self, event: Event) -> None:
        self._metrics.told(event)
        if not isinstance(event, _UNTOLD):
            self._outbox.put(event)

    # --- the session -----------------------------------------------------------------------------

    async def _talk(self, session: Session) -> None:
        try:
            await session.run()
        except Exception as error:
            log.exception("session_failed")
            self._tell(Failed(error))
            self._tell(Closing(AntiphonError("something went wrong on our side")))
        finally:
            self._outbox.close()

    # --- the reader ------------------------------------------------------------------------------

    async def _read(self, session: Session, rate_hz: int, first: bytes | None) -> None:
        try:
            if first is not None:
                self._hear(session, first, rate_hz)
            while True:
                text, data = await self._connection.receive()
                try:
                    if data is not None:
                        session.figures.bytes_in += len(data)
                        self._hear(session, data, rate_hz)
                        await session.room()
                    elif text is not None:
                        session.figures.bytes_in += len(text)
                        await self._obey(session, text)
                except Fatal as fatal:
                    await session.end(fatal.error, str(fatal.error))
                    await asyncio.Event().wait()  # the session ends us
        except WebSocketDisconnect:
            return

    def _hear(self, session: Session, data: bytes, rate_hz: int) -> None:
        self._intake.check_frame(data)
        if not data:
            return
        manual = session.settings.detection == "manual"
        if not self._intake.take_audio(len(data) / 2 / rate_hz, manual=manual):
            self._metrics.dropped("microphone")
            if self._intake.warns_of_drops():
                self._tell(Warned(TOO_MUCH_AUDIO))
            return
        try:
            self._budget.take_audio(len(data) / 2 / rate_hz, time.monotonic())
            session.hear(data)
        except (BadAudio, RateLimited) as error:
            if self._intake.tells_refused_audio():
                self._tell(Failed(error))

    async def _obey(self, session: Session, text: str) -> None:
        self._intake.check_text()
        try:
            message = native.decode(text)
            if isinstance(message, native.Hello):
                raise BadMessage("hello was said already")
            if isinstance(message, Configure):
                self._house.catalogue.check(message)
            self._pay_for(message)
            await session.tell(message)
        except (BadMessage, NotFound, RateLimited) as error:
            self._tell(Failed(error, ref=native.ref_of(text)))
            if isinstance(error, BadMessage):
                self._intake.note_mistake()

    def _pay_for(self, message: Command) -> None:
        if size := characters_of(message):
            self._budget.take_characters(size, time.monotonic())

    # --- the writer ------------------------------------------------------------------------------

    async def _write(self, session: Session) -> None:
        try:
            while (event := await self._outbox.next()) is not None:
                if isinstance(event, Closing):
                    code = failure_of(event.error).close if event.error else 1000
                    await self._connection.close(code, event.reason)
                    return
                async with asyncio.timeout(STUCK_S):
                    session.figures.bytes_out += await self._connection.send(event)
        except (SlowClient, TimeoutError):
            log.warning("slow_client_closed")
            await self._connection.close(1008, "you do not read what is sent to you")
        except WebSocketDisconnect as gone:
            log.debug("socket_gone", error=repr(gone))

    async def _guard(self) -> None:
        """Cut the connection of a client for whom more waits than the outbox holds."""
        await self._outbox.stuck.wait()
        log.warning("slow_client_cut", waiting=len(self._outbox))
        self._connection.abort()


def _figures(session: Session) -> dict[str, object]:
    figures = session.figures
    return {"turns": figures.turns, "bytes_in": figures.bytes_in, "bytes_out": figures.bytes_out}
