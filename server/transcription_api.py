"""Transcription over HTTP: a file in, its words out, as text, captions or events.

No session stands behind a request. It goes through the same pool, after the sessions, as an owner
of its own (docs/transcription-http.md).
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import BinaryIO

from starlette.datastructures import FormData, UploadFile
from starlette.routing import Route

from pipeline.errors import AntiphonError, BadAudio, BadMessage, TooMuchAudio
from pipeline.file_audio import FileAudio
from pipeline.transcribing import Passage, Transcribing
from server import names
from server.endpoint import EVENTS, LATER_WAITS, Endpoint, event, failure_event, timing
from server.exchange import Exchange
from server.gate import Visitor
from server.house import House
from server.requests import Tracked
from server.sharing import request_counts
from server.transcript import CONTENT_TYPES, Heard, body
from server.transcription_ask import Ear, TranscriptionAsk, read_ask
from server.upload import uploaded
from session.budgets import Budget


async def transcription(
    exchange: Exchange, house: House, tracked: Tracked, visitor: Visitor
) -> None:
    """Answer `POST /v1/audio/transcriptions`."""
    most_bytes = round(1_000_000 * house.settings.transcription_mb)
    with house.budgets.request(visitor.user, visitor.allowance) as budget:
        async with (
            request_counts(house.fellows, visitor.user, budget),
            uploaded(exchange.request, most_bytes, house.scratch) as form,
        ):
            fields = [(k, v) for k, v in form.multi_items() if isinstance(v, str)]
            ask = read_ask(fields, ear_of(house))
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
        passages = transcribing.passages(audio.stretches())
        async with aclosing(_followed(passages, heard, audio, tracked, budget)) as pieces:
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
            **timing(tracked, whole=True),
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
    async with aclosing(passages):
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
    try:
        async for piece in pieces:
            if not exchange.started:
                tracked.first_output()
                await exchange.start({**EVENTS, **timing(tracked)})
            await exchange.send(event({"type": "transcript.text.delta", "delta": piece}))
    except AntiphonError as error:
        if exchange.started:
            await exchange.finish(failure_event(error, exchange.id))
        raise
    if not exchange.started:  # nobody spoke
        await exchange.start({**EVENTS, **timing(tracked)})
    done = {"type": "transcript.text.done", "text": heard.text, "usage": heard.tokens()}
    await exchange.finish(event(done))


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


def ear_of(house: House) -> Ear:
    """What can be asked of this server's recogniser."""
    info = house.engines.transcriber.info
    own = {info.model, info.name}
    return Ear(frozenset({*own, *names.TRANSCRIPTION_MODELS}), house.catalogue.languages)


def _only(house: House) -> str | None:
    """The recogniser's language, if it has only one."""
    languages = house.catalogue.languages
    return next(iter(languages)) if len(languages) == 1 else None


routes = [
    Route("/v1/audio/transcriptions", Endpoint("transcription", transcription), methods=["POST"])
]
