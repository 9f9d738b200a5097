"""One WebSocket of the OpenAI Realtime API: what its reader makes of frames."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import dataclass, replace

import structlog
from starlette.websockets import WebSocket

from pipeline.errors import BadMessage, ClientError, RateLimited
from pipeline.events import Failed
from server.configs import session_config
from server.connection import Connection
from server.house import House
from server.intake import Intake
from server.lobby import RealtimeLobby
from server.peer import read_up_to
from server.realtime_secrets import DEFAULT_MODEL, new_codec
from server.sharing import session_counts
from server.talk import Talk, answered, entering
from server.wire import realtime
from server.wire.realtime_audio import PCM_HZ, Audio, FormatName, second_bytes
from server.wire.realtime_in import ref_of
from session.messages import Command, Settings, chosen
from session.records import Identity
from session.session import Session

log = structlog.get_logger(__name__)

MESSAGE_BYTES = 16 * 1024 * 1024
"""The longest event: an append of 15 MiB, and room around it."""
CREDIT_S = 330.0
"""Audio that may run ahead of real time: 15 MiB of base64 in one append. The reader waits while it
is heard."""


async def realtime_socket(socket: WebSocket) -> None:
    """The endpoint of `/v1/realtime`. Any `model` is taken: there is one. A client secret brings
    its session's settings.
    """
    house: House = socket.app.state.house
    house.check_elsewhere()
    visitor = await house.gate.for_session(socket)
    given = visitor.session
    read_up_to(socket, MESSAGE_BYTES)
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(realtime.SUBPROTOCOL if realtime.SUBPROTOCOL in offered else None)
    model = socket.query_params.get("model") or str(given.get("model") or DEFAULT_MODEL)
    connection, intake = Connection(socket, realtime.refusal), Intake()
    async with answered(connection, house), entering(visitor, house):
        house.check_open()
        codec = new_codec(house, model, given)
        connection.frames = codec.encode
        with (
            house.budgets.session(visitor.user, visitor.allowance) as budget,
            house.sessions.ticket(connection.remote, visitor.user) as ticket,
        ):
            async with session_counts(house.fellows, visitor.user, budget):
                first = await RealtimeLobby(connection, intake, ticket).enter()
                house.check_open()
                talk = RealtimeTalk(connection, intake, house, ticket, budget, overtakes=False)
                await talk.begin(codec, first, visitor.key)


class RealtimeTalk(Talk):
    """A conversation in the Realtime protocol."""

    async def begin(self, codec: realtime.Realtime, first: list[str], key: bytes) -> None:
        """Converse until one side ends it; `first` is what came before there was a place, `key` of
        the pass that it came in with.

        Raises `RateLimited` for instructions too long, which a client secret may bring.
        """
        self._codec, self._first = codec, first
        house, hello = self.house, codec.hello()
        own = hello.instructions == house.settings.system_prompt
        self.pay_for(replace(hello, instructions=None) if own else hello)
        settings = chosen(Settings(house.catalogue.default_voice, ""), hello)
        config = replace(
            session_config(house.settings),
            holds=False, follows_playback=False, comes_back=False, greeting="",
        )  # fmt: skip
        await house.gate.passes.began(key, self.id)
        identity = Identity(self.id, "realtime", self.connection.remote, self.user)
        async with AsyncExitStack() as stack:
            if self.user is not None:  # nobody else could ever ask for it
                lease = house.sessions.lease(self.id, self.user, None)
                self.lease = await stack.enter_async_context(lease)
            session = self.make_session(identity, settings, config, PCM_HZ)
            await stack.enter_async_context(house.sessions.registered(session))
            await self.run(session)

    async def read(self, session: Session) -> None:
        """Events, one a frame."""
        for early in self._first:  # they were counted when they came
            await self.room()
            await self._obey(session, early, self._decoded(early))
        self._first = []
        while True:
            text, data = await self.receive()
            if text is None:
                self.tell(Failed(BadMessage("events are sent as text frames")))
                self.intake.check_text()
            else:
                command = self._decoded(text)
                if isinstance(command, Audio):
                    self.intake.check_frame(b"")
                else:
                    self.intake.check_text()
                await self._obey(session, text, command)
            session.figures.bytes_in += len(text or data or b"")

    async def room(self) -> None:
        """Wait while much waits to be sent, of sessions as they were updated too."""
        await self.outbox.room(lambda: self._codec.untold_bytes)

    def _decoded(self, text: str) -> Command | Audio | None:
        """None: it was refused, and the client told so."""
        try:
            return self._codec.decode(text)
        except ClientError as error:
            self.tell(Failed(error, ref=ref_of(text)))
            return None

    async def _obey(self, session: Session, text: str, command: Command | Audio | None) -> None:
        if command is None:
            return
        if isinstance(command, Audio):
            sound = _Microphone(self._codec, command.name)
            for piece in command.pieces():
                self.hear(session, piece, sound, CREDIT_S)
                await session.room()  # before more is decoded
            return
        try:
            self.pay_for(command)
        except RateLimited as error:
            self._codec.take_back(command)
            self.tell(Failed(error, ref=ref_of(text)))
            return
        await self.ask(session, command)


@dataclass(frozen=True, slots=True)
class _Microphone:
    """One append's sound: only what was paid for is decoded."""

    codec: realtime.Realtime
    name: FormatName
    rate_hz: int = PCM_HZ

    def seconds(self, frame: bytes) -> float:
        return len(frame) / second_bytes(self.name)

    def pcm(self, frame: bytes) -> bytes:
        return self.codec.pcm(frame, self.name)
