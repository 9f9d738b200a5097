"""One question and its answer over the native protocol; knows nothing of terminals and files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus, InvalidURI

from pipeline.errors import AntiphonError
from server.cli.wav import Recording

Json = Mapping[str, Any]

FRAME_S = 0.1
AHEAD_S = 8.0
"""How far ahead of real time audio is sent; the server's credit is 10 s."""
SILENCE_S = 60.0
"""The longest wait without a message either way."""
REPORT_S = 0.5
"""Audio received between two playback reports: half of what the server sends ahead by default, so
it never waits long, and few enough reports that they are no flood however fast the audio comes."""

CLOSE_CODES = {
    1008: "the server refused what was sent",
    1009: "a message was too big for the server",
    1011: "the server failed; its log has the cause",
    1012: "the server is restarting",
    1013: "the server takes nobody in now; try again soon",
    4009: "the session was resumed elsewhere",
    4401: "the server wants a valid token",
    4403: "the server forbids it",
}


class TalkError(AntiphonError):
    """No answer; the message is the whole story in one line."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of one turn. `audio` is mono 16-bit PCM at `rate_hz`; `latency_ms` as sent."""

    transcript: str
    text: str
    audio: bytes
    rate_hz: int
    status: str
    latency_ms: Mapping[str, float]


def due_s(position_s: float) -> float:
    """When the audio at `position_s` may leave, in seconds after the first: pure pacing."""
    return max(0.0, position_s - AHEAD_S)


async def ask(
    url: str,
    question: Recording | str,
    *,
    settings: Json | None = None,
    on_message: Callable[[Json], None] = lambda message: None,
) -> Answer:
    """Speak (a `Recording`) or type (a `str`) one turn at `url`, and receive its reply.

    `settings` are further fields of `hello`; `on_message` sees every message as it comes. Raises
    `TalkError` when there is no answer: refused, closed, an `error` message, nothing understood,
    or `SILENCE_S` without a word.
    """
    loop = asyncio.get_running_loop()
    try:
        # Speech does not compress, a frame may pass the default bound, and `quiet` times it all.
        async with (
            asyncio.timeout(SILENCE_S) as quiet,
            connect(url, compression=None, max_size=None, open_timeout=None) as socket,
        ):
            turn = _Turn(socket, on_message, lambda: quiet.reschedule(loop.time() + SILENCE_S))
            return await turn.run(question, settings or {})
    except ConnectionClosed as closed:
        raise TalkError(_why_closed(closed)) from closed
    except InvalidStatus as refused:
        status = refused.response.status_code
        raise TalkError(f"{url} answered HTTP {status} instead of a WebSocket") from refused
    except InvalidURI as error:
        raise TalkError(f"{url} is not a ws:// or wss:// address") from error
    except InvalidHandshake as error:
        raise TalkError(f"{url} does not speak WebSocket: {error}") from error
    except TimeoutError as error:
        raise TalkError(f"{url} has said nothing for {SILENCE_S:g} s") from error
    except (KeyError, TypeError) as error:
        raise TalkError(f"{url} does not speak Antiphon's protocol: {error!r}") from error
    except OSError as error:
        raise TalkError(
            f"no server at {url} ({error.strerror or error}); start one with `antiphon serve`"
        ) from error


def _why_closed(closed: ConnectionClosed) -> str:
    if closed.rcvd is None:
        return "the connection was lost"
    meaning = CLOSE_CODES.get(closed.rcvd.code, "the server closed the connection")
    reason = f": {closed.rcvd.reason}" if closed.rcvd.reason else ""
    return f"{meaning} (close code {closed.rcvd.code}{reason})"


class _Turn:
    """The conversation's state: what has come of it so far."""

    def __init__(
        self,
        socket: ClientConnection,
        on_message: Callable[[Json], None],
        on_sign_of_life: Callable[[], None],
    ) -> None:
        self._socket = socket
        self._on_message = on_message
        self._on_sign_of_life = on_sign_of_life
        self._rate_hz = 24_000
        self._transcript = ""
        self._text: list[str] = []
        self._reply: Json = {}
        self._audio = bytearray()
        self._reported_bytes = 0

    async def run(self, question: Recording | str, settings: Json) -> Answer:
        hello = {"type": "hello", "turn_detection": "manual", **settings}
        if isinstance(question, Recording):
            hello["audio"] = {"rate": question.rate_hz}
        await self._send(hello)
        await self._welcome()
        try:
            async with asyncio.TaskGroup() as group:
                asking = group.create_task(self._put(question))
                answer = await self._receive()
                asking.cancel()
                return answer
        except ExceptionGroup as failures:
            # The reader's word counts: it also saw why a send failed.
            raise failures.exceptions[0] from None

    async def _send(self, message: Json) -> None:
        await self._socket.send(json.dumps(message))

    async def _welcome(self) -> None:
        """Speak only when admitted: a place in the waiting room may take a while."""
        while True:
            message = self._read(await self._socket.recv())
            if message.get("type") == "welcome":
                self._rate_hz = message["audio"]["rate"]
                return

    async def _put(self, question: Recording | str) -> None:
        try:
            if isinstance(question, str):
                await self._send({"type": "text", "text": question, "id": "question"})
                return
            loop = asyncio.get_running_loop()
            started_at = loop.time()
            frame = max(1, round(question.rate_hz * FRAME_S))
            for start in range(0, len(question.samples), frame):
                piece = question.samples[start : start + frame]
                end_s = (start + len(piece)) / question.rate_hz
                await asyncio.sleep(started_at + due_s(end_s) - loop.time())
                await self._socket.send(piece.astype("<i2").tobytes())
                self._on_sign_of_life()
            await self._send({"type": "commit"})
        except ConnectionClosed:
            return  # the reader is told the same, and says so

    async def _receive(self) -> Answer:
        while True:
            message = self._read(await self._socket.recv())
            match message.get("type"):
                case "transcript" if message["final"]:
                    if message.get("discarded"):
                        raise TalkError("no words were understood")
                    self._transcript = message["text"]
                case "reply_started":
                    self._reply = message
                    self._audio.clear()
                    self._text.clear()
                    self._reported_bytes = 0
                case "reply_text":
                    self._text.append(message["text"])
                case "audio":
                    # Nobody listens here: each piece counts as played once it has come, so the
                    # server sends as fast as it speaks, and the turn ends with the last piece.
                    if len(self._audio) - self._reported_bytes >= REPORT_S * 2 * self._rate_hz:
                        await self._report()
                case "reply_audio_end":
                    await self._report(done=True)
                case "interrupted":
                    await self._report(done=True)
                case "reply_done" if message["turn"] > 0:  # 0: a greeting
                    return Answer(
                        transcript=self._transcript,
                        text=message.get("text") or "".join(self._text),
                        audio=bytes(self._audio),
                        rate_hz=self._rate_hz,
                        status=message["status"],
                        latency_ms=message.get("latency_ms") or {},
                    )
                case _:
                    pass

    def _read(self, raw: str | bytes) -> Json:
        """One message; the reply's audio is kept, and stands as a message of type "audio"."""
        self._on_sign_of_life()
        if isinstance(raw, bytes):
            self._audio += raw
            return {"type": "audio"}
        try:
            message: Json = json.loads(raw)
            kind = message["type"]
        except ValueError as error:
            raise TalkError("the server's messages are not JSON") from error
        self._on_message(message)
        if kind == "error":
            raise TalkError(f"{message.get('code')}: {message.get('message')}")
        return message

    async def _report(self, *, done: bool = False) -> None:
        self._reported_bytes = len(self._audio)
        played_ms = len(self._audio) * 1_000 // (2 * self._rate_hz)
        report = {"type": "playback", "reply": self._reply["reply"], "played_ms": played_ms}
        await self._send({**report, "done": True} if done else report)
