"""Transcription over HTTP: a file in, its words out, as text, captions or events.

No session stands behind a request. It goes through the same pool, after the sessions, as an owner
of its own (docs/transcription-http.md).
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any, BinaryIO

import structlog
from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from pipeline.errors import AntiphonError, AtCapacity, BadAudio, BadMessage, TooMuchAudio
from pipeline.file_audio import FileAudio
from pipeline.transcribing import Passage, Transcribing
from server import names
from server.exchange import Exchange
from server.failures import failure_of, message_of
from server.gate import check_origin
from server.house import House
from server.requests import Tracked
from server.speech_api import LATER_WAITS, _event, _times
from server.transcript import CONTENT_TYPES, Heard, body
from server.transcription_ask import Ear, TranscriptionAsk, read_ask
from server.upload import uploaded
from session.budgets import Budget
from session.shedding import Level

log = structlog.get_logger(__name__)


class Transcriptions:
    """The endpoint of `POST /v1/audio/transcriptions`."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        exchange = Exchange(scope, receive, send)
        house: House = scope["app"].state.house
        try:
            with house.requests.tracked(exchange.id, "transcription") as tracked:
                await self._answer(exchange, house, tracked)
        except ClientDisconnect:
            return  # there is nobody to tell
        except Exception as error:
            if not exchange.started:
                raise
            if not isinstance(error, AntiphonError):
                log.exception("request_failed", path=scope["path"])
            if not exchange.finished:
                await exchange.cut()

    async def _answer(self, exchange: Exchange, house: House, tracked: Tracked) -> None:
        check_origin(exchange.request, house.settings.allowed_origins)
        house.check_open()
        if house.load.level is Level.NEWCOMERS:
            raise AtCapacity("the server is overloaded; try again soon", retry_after_s=5.0)
        most_bytes = round(1_000_000 * house.settings.transcription_mb)
        # Nobody is known yet: every request is a user of its own, with a share of what all may.
        with house.budgets.session(None) as budget:
            async with uploaded(exchange.request, most_bytes) as form:
                fields = [(k, v) for k, v in form.multi_items() if isinstance(v, str)]
                ask = read_ask(fields, _ear(house))
                file = _file(form, most_bytes)
                try:
                    await exchange.during(_transcribe(exchange, house, tracked, ask, file, budget))
                except (BadAudio, TooMuchAudio) as error:
                    error.param = "file"
                    raise


async def _transcribe(
    exchange: Exchange,
    house: House,
    tracked: Tracked,
    ask: TranscriptionAsk,
    file: BinaryIO,
    budget: Budget,
) -> None:
    settings = house.settings
    most_s = 60.0 * settings.transcription_minutes
    vad = house.engines.voice_activity
    async with FileAudio(file, vad, most_s, house.decoding) as audio:
        budget.take_audio(audio.told_s, time.monotonic())
        transcribing = Transcribing(
            ask.wish, tracked.owner, house.pool, tracked,
            later_wait_s=LATER_WAITS * settings.pool_wait_s, frame_samples=audio.frame_samples,
        )  # fmt: skip
        heard = Heard()
        async with aclosing(transcribing.passages(audio.stretches())) as passages:
            pieces = _followed(passages, heard, audio, tracked, budget)
            if ask.stream:
                await _send_events(exchange, tracked, pieces, heard)
                return
            async for _ in pieces:
                pass
        heard.language = transcribing.language or _only(house) or "und"
    tracked.first_output()
    written = body(ask, heard)
    await exchange.start(
        {
            "content-type": CONTENT_TYPES[ask.format],
            "content-length": str(len(written)),
            **_times(tracked, whole=True),
        }
    )
    await exchange.finish(written)


async def _followed(
    passages: AsyncGenerator[Passage],
    heard: Heard,
    audio: FileAudio,
    tracked: Tracked,
    budget: Budget,
) -> AsyncGenerator[str]:
    """Keep the passages, and what is known of the file; give the text that each adds."""
    async for passage in passages:
        piece = heard.add(passage)
        tracked.characters += len(piece)
        tracked.audio_s = audio.decoded_s
        yield piece
    heard.duration_s = tracked.audio_s = audio.decoded_s
    if (untold_s := audio.decoded_s - audio.told_s) > 0:
        budget.spend_audio(untold_s)


async def _send_events(
    exchange: Exchange, tracked: Tracked, pieces: AsyncGenerator[str], heard: Heard
) -> None:
    """As server-sent events; a failure in the middle is one too."""

    async def start() -> None:
        tracked.first_output()
        await exchange.start(
            {
                "content-type": "text/event-stream; charset=utf-8",
                "cache-control": "no-store",
                **_times(tracked),
            }
        )

    try:
        async for piece in pieces:
            if not exchange.started:
                await start()
            await exchange.send(_event({"type": "transcript.text.delta", "delta": piece}))
    except AntiphonError as error:
        if exchange.started:
            row = failure_of(error)
            told: dict[str, Any] = {
                "message": message_of(error), "type": row.kind, "code": row.code, "param": None
            }  # fmt: skip
            await exchange.finish(
                _event({"type": "error", "error": told, "request_id": exchange.id})
            )
        raise
    if not exchange.started:  # nobody spoke
        await start()
    done = {"type": "transcript.text.done", "text": heard.text, "usage": heard.tokens()}
    await exchange.finish(_event(done))


def _file(form: FormData, most_bytes: int) -> BinaryIO:
    """The one file. Raises `BadMessage` and `TooMuchAudio`."""
    file = form.get("file")
    if not isinstance(file, UploadFile):
        raise BadMessage("`file` is missing: the audio to be transcribed", param="file")
    if not file.size:
        raise BadMessage("the file is empty", param="file")
    if file.size > most_bytes:
        raise TooMuchAudio(f"the file is larger than {most_bytes // 1_000_000} MB", param="file")
    return file.file


def _ear(house: House) -> Ear:
    """What can be asked of this server's recogniser."""
    engine = house.engines.transcriber
    own = {engine.info.model, engine.info.name}
    return Ear(frozenset({*own, *names.TRANSCRIPTION_MODELS}), engine.languages)


def _only(house: House) -> str | None:
    """The recogniser's language, if it has only one."""
    languages = house.engines.transcriber.languages
    return next(iter(languages)) if len(languages) == 1 else None


routes = [Route("/v1/audio/transcriptions", Transcriptions(), methods=["POST"])]
