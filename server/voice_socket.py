"""One native WebSocket: what its reader makes of frames, and how its session begins."""

from __future__ import annotations

from functools import partial

import structlog
from starlette.websockets import WebSocket

from pipeline.errors import BadMessage, NotFound, RateLimited
from pipeline.events import Failed
from server.connection import Connection
from server.gate import check_origin
from server.house import House
from server.intake import Intake
from server.lobby import NativeLobby
from server.talk import Talk, answered
from server.wire import native
from session import limits
from session.messages import Closing, Configure, Event, Settings
from session.records import Identity
from session.session import Session

log = structlog.get_logger(__name__)

_UNTOLD = tuple(kind for kind in native.UNTOLD if kind is not Closing)

SHORT_BYTES = 320
"""Audio frames shorter than 10 ms. A flood of them goes through the reader, which lets others run
in between; of longer ones few fit into what may wait to be heard."""

LIMITS: dict[str, float] = {
    "frame_bytes": limits.FRAME_BYTES,
    "text_bytes": limits.TEXT_BYTES,
    "audio_ahead_s": limits.AUDIO_CREDIT_S,
    "audio_ahead_manual_s": limits.MANUAL_CREDIT_S,
    "audio_dropped_s": limits.AUDIO_PATIENCE_S,
    "frames_per_s": limits.FRAMES_PER_S,
    "messages_per_s": limits.MESSAGES_PER_S,
    "tools": limits.MOST_TOOLS,
    "tools_bytes": limits.TOOLS_BYTES,
}


async def voice_socket(socket: WebSocket) -> None:
    """The endpoint of `/ws`."""
    house: House = socket.app.state.house
    check_origin(socket, house.settings.allowed_origins)
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(native.SUBPROTOCOL if native.SUBPROTOCOL in offered else None)
    connection, intake = Connection(socket, native.frames), Intake()
    async with answered(connection, house):
        house.check_open()
        with house.sessions.ticket(connection.remote) as ticket:
            lobby = NativeLobby(connection, intake, house.catalogue, ticket)
            hello, first = await lobby.enter()
            house.check_open()
            with house.budgets.session(None) as budget:
                talk = NativeTalk(connection, intake, house, ticket.session, budget)
                await talk.begin(hello, first)


class NativeTalk(Talk):
    """A conversation in the native protocol."""

    async def begin(self, hello: native.Hello, first: bytes | None) -> None:
        """Converse until one side ends it. Raises `RateLimited` for instructions too long."""
        self.pay_for(hello.choices)
        self._rate_hz, self._first = hello.rate_hz, first
        if hello.resume is not None:
            log.info("resume_unknown", session=self.id)
        await self.run(self._make_session(hello))

    def _make_session(self, hello: native.Hello) -> Session:
        house, choices = self.house, hello.choices
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
        allowance = self.budget.allowance
        return self.make_session(
            Identity(self.id, "native", self.connection.remote),
            settings,
            house.settings.session_config(),
            hello.rate_hz,
            LIMITS
            | {
                "turns_per_minute": allowance.turns_per_minute,
                "characters_per_minute": allowance.characters_per_minute,
                "audio_s_per_minute": allowance.audio_s_per_minute,
                "sessions": allowance.sessions,
                "idle_s": house.settings.idle_s,
                "history_tokens": house.settings.history_tokens,
                "reply_tokens": house.settings.reply_tokens,
            },
        )

    def tell(self, event: Event) -> None:
        """Put an event on its way, unless there is no message for it."""
        if not isinstance(event, _UNTOLD):
            super().tell(event)

    async def read(self, session: Session) -> None:
        """Frames of audio, and messages."""
        if self._first is not None:
            self._hear(session, self._first)
        with self.connection.listening(partial(self._hear_at_once, session)):
            while True:
                text, data = await self.connection.receive()
                if data is not None:
                    self._hear(session, data)
                    await session.room()
                elif text is not None:
                    session.figures.bytes_in += len(text)
                    await self._obey(session, text)

    def _hear_at_once(self, session: Session, data: bytes) -> bool:
        """Hear a frame as it comes; False where there is something to wait for, or to end."""
        if len(data) < SHORT_BYTES or not session.has_room:
            return False
        try:
            self._hear(session, data)
        except Exception:
            return False  # the reader comes to the same end, and can tell of it
        return True

    def _hear(self, session: Session, data: bytes) -> None:
        self.intake.check_frame(data)
        if data:
            session.figures.bytes_in += len(data)
            manual = session.settings.detection == "manual"
            credit_s = limits.MANUAL_CREDIT_S if manual else limits.AUDIO_CREDIT_S
            self.hear(session, data, self._rate_hz, credit_s)

    async def _obey(self, session: Session, text: str) -> None:
        self.intake.check_text()
        try:
            message = native.decode(text)
            if isinstance(message, native.Hello):
                raise BadMessage("hello was said already")
            if isinstance(message, Configure):
                self.house.catalogue.check(message)
            self.pay_for(message)
            await session.tell(message)
        except (BadMessage, NotFound, RateLimited) as error:
            self.tell(Failed(error, ref=native.ref_of(text)))
            if isinstance(error, BadMessage):
                self.intake.note_mistake()
