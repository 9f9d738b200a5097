"""The OpenAI Realtime API (GA): its events <-> Commands and Events. Pure.

A client's frame: `decode` -> `realtime_in` (its type, its parts) -> a Command.
A session's Event: `encode` -> what remembers it -> frames, of objects that `realtime_out` writes.

A projection with little memory: the session object (`realtime_session`, of `realtime_forms`), the
input audio buffer (`realtime_input`, its words in `realtime_words`) and the responses that are
being given (`realtime_response`); both ways audio goes through `realtime_audio`. Nothing is decided
here.
"""

from __future__ import annotations

import secrets
from collections import deque
from collections.abc import Iterator
from copy import copy
from dataclasses import replace

import msgspec

from pipeline import events as ev
from pipeline.errors import (
    ClientError,
    GoingAway,
    NoReplyUnderWay,
    NotFound,
    NothingToCommit,
    TooMuchAudio,
)
from server.wire import realtime_in as incoming
from server.wire.realtime_audio import Audio, AudioIn, FormatName
from server.wire.realtime_forms import Mistake, voice_name
from server.wire.realtime_input import InputBuffer
from server.wire.realtime_out import error_object, item_object
from server.wire.realtime_response import Json, Response, Shape
from server.wire.realtime_session import RealtimeSession
from session import limits
from session import messages as msg
from session.catalogue import Catalogue

SUBPROTOCOL = "realtime"
APPEND_BYTES = 15 * 1024 * 1024
"""Of one append's audio, in base64."""
MOST_ASKED = 64
"""Responses asked for whose settings are remembered until they begin."""


class Realtime:
    """The codec of one connection. Feed it frames and events, in order."""

    def __init__(self, model: str, instructions: str, catalogue: Catalogue) -> None:
        token = secrets.token_hex(6)
        self.session = RealtimeSession(model, instructions, catalogue.default_voice)
        self._catalogue = catalogue
        self._voices = frozenset(catalogue.voices)
        self._conversation = f"conv_{token}"
        self._token = token
        self._counter = 0
        self._asks = 0
        self._asked: dict[int, incoming.ResponseForm] = {}
        self._updates: deque[bytes] = deque()
        """The session objects that updates led to and that are not told yet: as JSON, which takes a
        tenth of what its objects take."""
        self._before = self.session
        """As it was before the last update."""
        self._input = InputBuffer()
        self._ear = AudioIn()
        self._responses: dict[int, Response] = {}
        """Those that are given, by their replies: one of the conversation's, and any beside it."""

    # --- what a client sends ---------------------------------------------------------------------

    def begin_with(self, session: Json) -> None:
        """The session that a client secret was given out for. Raises `Mistake`."""
        self._update(session)
        self._updates.clear()

    def hello(self) -> msg.Configure:
        """The settings that the session begins with."""
        return self.session.configure(self._voices)

    def decode(self, text: str) -> msg.Command | Audio:
        """One frame. Raises `ClientError`s, for which `ref_of` has the `ref`."""
        large = limits.is_too_large(text)
        event = incoming.read_append(text) if large else incoming.read_event(text)
        ref = incoming.ref(event)
        match event:
            case incoming.Append(audio=data):
                return self._append(data)
            case incoming.SessionUpdate(session=patch):
                return self._update(patch)
            case incoming.Commit():
                self._input.commit()
                return msg.Commit(must=True, ref=ref)
            case incoming.ClearInput():
                self._input.clear()
                return msg.ClearAudio()
            case incoming.ClearOutput():
                raise Mistake(
                    "output_audio_buffer.clear is for WebRTC: a WebSocket's audio is the client's",
                    "invalid_event_type",
                    "type",
                )
            case incoming.CreateItem(item=item, previous_item_id=after):
                return msg.InsertItem(incoming.read_item(item), after, ref)
            case incoming.DeleteItem(item_id=item_id):
                return msg.DeleteItem(item_id, ref)
            case incoming.RetrieveItem(item_id=item_id):
                return msg.RetrieveItem(item_id, ref)
            case incoming.TruncateItem(item_id=item_id, audio_end_ms=audio_ms):
                return msg.TruncateItem(item_id, audio_ms, ref)
            case incoming.CreateResponse(response=response):
                return self._ask(response, ref)
            case incoming.CancelResponse(response_id=response_id):
                return msg.CancelReply(must=True, reply=self._reply_of(response_id), ref=ref)

    def take_back(self, command: msg.Command) -> None:
        """The command that was decoded last was refused: nothing here is changed by it."""
        match command:
            case msg.Configure():
                self.session = self._before
                self._updates.pop()
            case msg.Respond(ask=ask):
                self._asked.pop(ask, None)
            case _:
                pass

    @property
    def untold_bytes(self) -> int:
        """What the updates take that are not told yet."""
        return sum(map(len, self._updates))

    def _reply_of(self, response_id: str | None) -> int:
        """The reply that a response is; 0: the conversation's, where none is named. Raises
        `NoReplyUnderWay` for an id that was never given out."""
        if response_id is None:
            return 0
        number = response_id.removeprefix(self._response_id(""))
        if not number.isdecimal() or response_id != self._response_id(int(number)) or number == "0":
            raise NoReplyUnderWay("there is no such response to cancel")
        return int(number)

    def _response_id(self, reply: int | str) -> str:
        return f"resp_{self._token}_{reply}"

    def _append(self, data: bytes) -> Audio:
        if len(data) > APPEND_BYTES * 3 // 4:
            raise Mistake(f"an append has at most {APPEND_BYTES} bytes of base64", param="audio")
        audio = Audio(data, _format_name(self.session.input_format))
        self._input.append(audio.data, audio.name)
        return audio

    def pcm(self, piece: bytes, name: FormatName) -> bytes:
        """The next piece of the client's audio, as PCM of 24 kHz."""
        return self._ear.decode(piece, name)

    def _update(self, patch: Json) -> msg.Configure:
        session = copy(self.session)  # an update that is refused changes nothing
        session.update(patch)
        before, after = self.session.configure(self._voices), session.configure(self._voices)
        try:
            self._catalogue.check(after)
        except NotFound as error:
            where = "session.audio.input.transcription.language"  # as voices are mapped
            raise Mistake(str(error), param=where) from None
        self._updates.append(msgspec.json.encode(session.shown()))
        self._before, self.session = self.session, session
        # Clients send the whole session each time: what is read already is not paid for again.
        return replace(
            after,
            instructions=None if after.instructions == before.instructions else after.instructions,
            tools=None if after.tools == before.tools else after.tools,
        )

    def _ask(self, response: Json | None, ref: str) -> msg.Respond:
        form = incoming.read_response(response)
        self._asks += 1
        command = incoming.respond(
            form, self._asks, self._voices, self._catalogue.default_voice, ref
        )
        self._asked[self._asks] = form
        while len(self._asked) > MOST_ASKED:
            del self._asked[next(iter(self._asked))]
        return command

    # --- what a server says ----------------------------------------------------------------------

    def encode(self, event: msg.Event) -> list[str | bytes]:
        """The frames that tell an event; none for what this protocol has no event for."""
        return [self._frame(told) for told in self._told(event)]

    def _frame(self, told: Json) -> str:
        self._counter += 1
        named = {"type": told["type"], "event_id": f"event_{self._token}_{self._counter}", **told}
        return msgspec.json.encode(named).decode()

    def _told(self, event: msg.Event) -> Iterator[Json]:
        match event:
            case msg.Welcome(items=items):
                self._input.items = items
                yield {"type": "session.created", "session": self.session.shown()}
            case msg.Configured():
                if self._updates:
                    updated = msgspec.Raw(self._updates.popleft())
                    yield {"type": "session.updated", "session": updated}
            case ev.SpeechStarted() | ev.SpeechStopped() | ev.Interrupted() | ev.UserTranscript():
                yield from self._input.hear(
                    event,
                    over_response=self._conversing and self.session.interrupts,
                    transcribes=self.session.transcribes,
                    padding_ms=self.session.padding_ms,
                )
            case msg.AudioCleared():
                yield {"type": "input_audio_buffer.cleared"}
            case msg.TimedOut(item=item, start_ms=start_ms, end_ms=end_ms):
                yield {
                    "type": "input_audio_buffer.timeout_triggered",
                    "item_id": item,
                    "audio_start_ms": start_ms,
                    "audio_end_ms": end_ms,
                }
            case msg.ItemAdded():
                yield from self._added(event)
            case msg.ItemDeleted(item_id):
                yield {"type": "conversation.item.deleted", "item_id": item_id}
            case msg.ItemTruncated(item_id, audio_ms):
                yield {
                    "type": "conversation.item.truncated",
                    "item_id": item_id,
                    "content_index": 0,
                    "audio_end_ms": audio_ms,
                }
            case msg.ItemRetrieved(item):
                yield {"type": "conversation.item.retrieved", "item": item_object(item)}
            case ev.Failed():
                yield from self._failed(event)
            case (
                msg.Warned(error=TooMuchAudio() as error)
                | msg.Closing(error=GoingAway() | ClientError() as error)
            ):
                yield {"type": "error", "error": error_object(error)}
            case msg.GoingAway() if not self._input.items:  # whoever still waits for a session
                stopping = GoingAway("the server is going away")
                yield {"type": "error", "error": error_object(stopping)}
            case _:
                yield from self._replied(event)

    def _added(self, added: msg.ItemAdded) -> Iterator[Json]:
        item, after = added.item, added.after
        if (response := self._responses.get(item.reply)) is not None:
            yield from response.add(item, after)
            return
        if item.role == "user" and item.turn:
            yield from self._input.committed(item, after)
        shown = item_object(item, heard=False)
        yield {"type": "conversation.item.added", "previous_item_id": after, "item": shown}
        yield {"type": "conversation.item.done", "previous_item_id": after, "item": shown}

    def _replied(self, event: msg.Event) -> Iterator[Json]:
        """The reply's half."""
        if isinstance(event, ev.ReplyStarted):
            begun = Response(self._response_id(event.reply), self._shape(event.ask, event))
            self._responses[event.reply] = begun
            yield from begun.created()
        elif (response := self._responses.get(getattr(event, "reply", 0))) is not None:
            match event:
                case ev.ReplyText(text=text):
                    yield from response.say(text)
                case ev.ReplyAudio(pcm=pcm):
                    yield from response.sound(pcm)
                case ev.ToolText(call=call, arguments=arguments):
                    yield from response.call(call, arguments)
                case ev.ToolCalled(call=call, arguments=arguments):
                    yield from response.called(call, arguments)
                case ev.ReplyDone():
                    del self._responses[event.reply]
                    yield from response.finish(event)
                case _:
                    pass

    @property
    def _conversing(self) -> bool:
        """A response of the conversation's is given."""
        return any(one.shape.conversation is not None for one in self._responses.values())

    def _shape(self, ask: int, started: ev.ReplyStarted) -> Shape:
        form, session = self._asked.pop(ask, None) or incoming.ResponseForm(), self.session
        chosen = form.output.format or session.output_format
        return Shape(
            "text" if started.silent else "audio",
            _format_name(chosen),
            msgspec.to_builtins(chosen),
            voice_name(form.output.voice) or session.voice,
            form.max_output_tokens or session.max_output_tokens,
            None if started.aside else self._conversation,
            form.metadata,
        )

    def _failed(self, failed: ev.Failed) -> Iterator[Json]:
        if failed.ask:
            self._asked.pop(failed.ask, None)
        if (response := self._responses.get(failed.reply or 0)) is not None:
            response.error = failed.error  # its end tells it
            return
        if failed.turn is not None and failed.reply is None:
            self._input.not_understood(failed.turn, failed.error)
            return
        if isinstance(failed.error, NothingToCommit):
            self._input.commit_failed()
        kind, _, event_id = (failed.ref or "").partition("|")
        yield {"type": "error", "error": error_object(failed.error, kind, event_id or None)}


def refusal(event: msg.Event) -> list[str | bytes]:
    """The frames that tell an event before there is a session: only errors are told."""
    if not isinstance(event, ev.Failed):
        return []
    told = {"type": "error", "event_id": f"event_{secrets.token_hex(6)}"}
    return [msgspec.json.encode(told | {"error": error_object(event.error)}).decode()]


def _format_name(chosen: object) -> FormatName:
    name: FormatName = type(chosen).__struct_config__.tag  # type: ignore[attr-defined]
    return name
