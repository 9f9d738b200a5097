"""One WebSocket of the OpenAI Realtime API: what its reader makes of frames."""

from __future__ import annotations

from dataclasses import replace

import structlog
from starlette.websockets import WebSocket

from pipeline.errors import BadMessage, ClientError
from pipeline.events import Failed
from server.connection import Connection
from server.gate import check_origin
from server.house import House
from server.intake import Intake
from server.lobby import RealtimeLobby
from server.realtime_secrets import DEFAULT_MODEL, Secrets, key_of, new_codec
from server.talk import Talk, answered
from server.wire import realtime
from server.wire.realtime_audio import PCM_HZ
from server.wire.realtime_in import is_append
from session.messages import Configure, Settings
from session.records import Identity
from session.session import Session

log = structlog.get_logger(__name__)

CREDIT_S = 330.0
"""Audio that may run ahead of real time: 15 MiB of base64 in one append. The reader waits while it
is heard."""
PIECE_BYTES = 2 * PCM_HZ
"""A second: so much is handed over before there must be room for more."""


async def realtime_socket(socket: WebSocket) -> None:
    """The endpoint of `/v1/realtime`. Any `model` is taken: there is one. So is any key, but for a
    client secret, which brings its session's settings.
    """
    house: House = socket.app.state.house
    check_origin(socket, house.settings.allowed_origins)
    secrets: Secrets = socket.app.state.secrets
    given = secrets.session(key_of(socket))
    offered = socket.scope.get("subprotocols", [])
    await socket.accept(realtime.SUBPROTOCOL if realtime.SUBPROTOCOL in offered else None)
    model = socket.query_params.get("model") or str(given.get("model") or DEFAULT_MODEL)
    connection, intake = Connection(socket, realtime.refusal), Intake()
    async with answered(connection, house):
        house.check_open()
        codec = new_codec(house, model, given)
        connection.frames = codec.encode
        with house.sessions.ticket(connection.remote) as ticket:
            first = await RealtimeLobby(connection, intake, ticket).enter()
            house.check_open()
            with house.budgets.session(None) as budget:
                talk = RealtimeTalk(
                    connection, intake, house, ticket.session, budget, overtakes=False
                )
                await talk.begin(codec, first)


class RealtimeTalk(Talk):
    """A conversation in the Realtime protocol."""

    async def begin(self, codec: realtime.Realtime, first: list[str]) -> None:
        """Converse until one side ends it; `first` is what came before there was a place."""
        self._codec, self._first = codec, first
        house = self.house
        settings = _settings(codec.hello(), house)
        config = replace(
            house.settings.session_config(), holds=False, follows_playback=False, greeting=""
        )
        identity = Identity(self.id, "realtime", self.connection.remote)
        await self.run(self.make_session(identity, settings, config, PCM_HZ))

    async def read(self, session: Session) -> None:
        """Events, one a frame."""
        for text in self._first:
            await self._obey(session, text)
        self._first = []
        while True:
            text_frame, data = await self.connection.receive()
            if text_frame is None:
                self.tell(Failed(BadMessage("events are sent as text frames")))
                self.intake.check_text()
            else:
                await self._obey(session, text_frame)
            session.figures.bytes_in += len(text_frame or data or b"")

    async def _obey(self, session: Session, text: str) -> None:
        if is_append(text):
            self.intake.check_frame(b"")
        else:
            self.intake.check_text()
        try:
            command = self._codec.decode(text)
            if isinstance(command, realtime.Audio):
                await self._hear(session, command.pcm)
                return
            self.pay_for(command)
            await session.tell(command)
        except ClientError as error:
            self.tell(Failed(error, ref=realtime.ref_of(text)))

    async def _hear(self, session: Session, pcm: bytes) -> None:
        for start in range(0, len(pcm), PIECE_BYTES):
            self.hear(session, pcm[start : start + PIECE_BYTES], PCM_HZ, CREDIT_S)
            await session.room()


def _settings(chosen: Configure, house: House) -> Settings:
    """A session's first settings, all of which the codec names, but for the language."""
    named = {
        name: value
        for name in chosen.__dataclass_fields__
        if (value := getattr(chosen, name)) is not None
    }
    return Settings(**{"voice": house.catalogue.default_voice, "instructions": "", **named})
