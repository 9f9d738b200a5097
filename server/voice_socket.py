"""One native WebSocket: what its reader makes of frames, and how its session begins."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from typing import TypeVar

import structlog
from starlette.websockets import WebSocket

from pipeline.assistant import MOST_ASKS
from pipeline.ends import MOST_ENDS, MOST_TYPED
from pipeline.errors import BadMessage, NotFound, RateLimited
from pipeline.events import Failed
from pipeline.user import LEAST_S
from server.configs import session_config
from server.connection import Connection
from server.doorstep import TOKEN_S, comes_back, meet, room_for
from server.gate import Visitor
from server.house import House
from server.intake import Intake
from server.lobby import HELLO_S, NativeLobby
from server.outbox import LATE_S, MAX_TEXT_BYTES, STUCK_S
from server.peer import MESSAGE_BYTES
from server.sharing import session_counts
from server.sound import ReplyFrames, microphone
from server.talk import Talk, answered, entering
from server.wire import native
from session import limits
from session.budgets import Budget
from session.commands import characters_of
from session.kept import Kept
from session.manager import Ticket
from session.messages import Closing, Configure, Event, Settings, chosen
from session.records import Identity, SessionConfig
from session.session import Session

log = structlog.get_logger(__name__)

T = TypeVar("T")

_UNTOLD = tuple(kind for kind in native.UNTOLD if kind is not Closing)

SHORT_S = 0.01
"""Audio frames that are shorter. A flood of them goes through the reader, which lets others run in
between; of longer ones few fit into what may wait to be heard."""

LIMITS: dict[str, float] = {
    "frame_bytes": limits.FRAME_BYTES,
    "text_bytes": limits.TEXT_BYTES,
    "audio_ahead_s": limits.AUDIO_CREDIT_S,
    "audio_ahead_manual_s": limits.MANUAL_CREDIT_S,
    "audio_dropped_s": limits.AUDIO_PATIENCE_S,
    "frames_per_s": limits.FRAMES_PER_S,
    "messages_per_s": limits.MESSAGES_PER_S,
    "message_bytes": MESSAGE_BYTES,
    "mistakes": limits.MISTAKES,
    "mistakes_s": limits.MISTAKES_WINDOW_S,
    "hello_s": HELLO_S,
    "token_s": TOKEN_S,
    "late_s": LATE_S,
    "stuck_s": STUCK_S,
    "unread_bytes": MAX_TEXT_BYTES,
    "turn_s": LEAST_S,
    "turns_waiting": MOST_ENDS,
    "typed_waiting": MOST_TYPED,
    "replies_waiting": MOST_ASKS,
    "tools": limits.MOST_TOOLS,
    "tools_bytes": limits.TOOLS_BYTES,
    "history_items": SessionConfig().history_items,
}


async def voice_socket(socket: WebSocket) -> None:
    """The endpoint of `/ws`."""
    house: House = socket.app.state.house
    house.check_elsewhere()
    visitor = await house.gate.socket(socket)
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(native.SUBPROTOCOL if native.SUBPROTOCOL in offered else None)
    connection, intake = Connection(socket, native.frames), Intake()
    async with answered(connection, house):
        said = None
        if visitor is None:
            house.check_open()
            with house.doorstep.place():
                said, visitor = await meet(connection, intake, house.gate, house.keeping)
        async with entering(visitor, house):
            await _enter(connection, intake, house, visitor, said)


async def _enter(
    connection: Connection, intake: Intake, house: House, visitor: Visitor, said: str | None
) -> None:
    """`said`: a hello that came already. Raises as the doorstep and the lobby do."""
    house.check_open()
    sessions, back = house.sessions, False
    may_return = sessions.some_may_return or house.fellows is not None
    if may_return and not await room_for(house, visitor):
        with house.doorstep.place():
            said, back = await comes_back(connection, intake, house, visitor, said)
        house.check_open()
    with (
        house.budgets.session(visitor.user, visitor.allowance) as budget,
        sessions.ticket(connection.remote, visitor.user, back=back) as ticket,
    ):
        async with session_counts(house.fellows, visitor.user, budget):
            await _converse(connection, intake, house, ticket, budget, said, visitor.key)


async def _converse(
    connection: Connection,
    intake: Intake,
    house: House,
    ticket: Ticket,
    budget: Budget,
    said: str | None,
    key: bytes,
) -> None:
    lobby = NativeLobby(connection, intake, house.catalogue, ticket, said)
    hello, first = await lobby.enter()
    house.check_open()
    talk = NativeTalk(connection, intake, house, ticket, budget)
    await talk.begin(hello, first, key)


class NativeTalk(Talk):
    """A conversation in the native protocol."""

    async def begin(self, hello: native.Hello, first: bytes | None, key: bytes) -> None:
        """Converse until one side ends it. `key`: of the pass that it came in with.

        Raises `RateLimited` for instructions too long.
        """
        back = hello.resume and await self.house.sessions.returns(hello.resume, self.user)
        if not back:
            self.pay_for(hello.choices)
        self._sound, self._first = microphone(hello.audio), first
        self.connection.frames = ReplyFrames(hello.audio)
        sessions = self.house.sessions
        async with AsyncExitStack() as stack:
            async with sessions.lease(self.id, self.user, hello.resume) as self.lease:
                if self.lease is not None:
                    self.id = self.lease.session
                if back:  # whose conversation is not refused for it
                    kept = self.lease.kept if self.lease is not None else None
                    self.budget.spend_characters(characters_of(_news(hello.choices, kept)))
                await self.house.gate.passes.began(key, self.id)
                session = self._make_session(hello)
                await stack.enter_async_context(sessions.registered(session))
            await self.run(session)

    def _make_session(self, hello: native.Hello) -> Session:
        house = self.house
        kept = self.lease.kept if self.lease is not None else None
        before = kept.settings.voice if kept is not None else house.catalogue.default_voice
        choices = self._with_own(hello.choices, before)
        settings = chosen(
            kept.settings
            if kept is not None
            else Settings(house.catalogue.default_voice, house.settings.system_prompt),
            choices,
        )
        allowance = self.budget.allowance
        return self.make_session(
            Identity(self.id, "native", self.connection.remote, self.user),
            settings,
            session_config(house.settings),
            self._sound.rate_hz,
            LIMITS
            | {
                "turns_per_minute": allowance.turns_per_minute,
                "characters_per_minute": allowance.characters_per_minute,
                "audio_s_per_minute": allowance.audio_s_per_minute,
                "sessions": allowance.sessions,
                "idle_s": house.settings.idle_s,
                "resume_s": house.settings.resume_s,
                "history_tokens": house.settings.history_tokens,
                "reply_tokens": house.settings.reply_tokens,
            },
        )

    def _with_own(self, choices: Configure, before: str) -> Configure:
        """A voice or instructions of "" are the server's own: a choice is taken back. A language
        without a voice is spoken by one of its own, the one from `before` if it is."""
        catalogue, prompt = self.house.catalogue, self.house.settings.system_prompt
        voice = catalogue.default_voice if choices.voice == "" else choices.voice
        if choices.language and not choices.voice:
            voice = catalogue.voice_for(choices.language, voice or before)
        return replace(
            choices,
            voice=voice,
            instructions=prompt if choices.instructions == "" else choices.instructions,
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
                text, data = await self.receive()
                if data is not None:
                    self._hear(session, data)
                    await session.room()
                elif text is not None:
                    session.figures.bytes_in += len(text)
                    await self._obey(session, text)

    def _hear_at_once(self, session: Session, data: bytes) -> bool:
        """Hear a frame as it comes; False where there is something to wait for, or to end."""
        try:
            if not session.has_room or self._sound.seconds(data) < SHORT_S:
                return False
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
            self.hear(session, data, self._sound, credit_s)

    async def _obey(self, session: Session, text: str) -> None:
        self.intake.check_text()
        try:
            message = native.decode(text)
            if isinstance(message, native.Hello):
                raise BadMessage("hello was said already")
            if isinstance(message, Configure):
                self.house.catalogue.check(message)
            self.pay_for(message)
            if isinstance(message, Configure):
                message = self._with_own(message, session.settings.voice)
            await self.ask(session, message)
        except (BadMessage, NotFound, RateLimited) as error:
            self.tell(Failed(error, ref=native.ref_of(text)))
            if isinstance(error, BadMessage):
                self.intake.note_mistake()


def _news(choices: Configure, kept: Kept | None) -> Configure:
    """What of it there is to read that was not read before."""
    if kept is None:
        return choices
    return replace(
        choices,
        instructions=_new(choices.instructions, kept.settings.instructions),
        tools=_new(choices.tools, kept.settings.tools),
    )


def _new(chosen: T, kept: T) -> T | None:
    return None if chosen == kept else chosen
