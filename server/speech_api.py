"""Speech over HTTP: text in, audio out as it is made; and what can be asked for.

No session stands behind a request. It goes through the same pool, after the sessions, as an owner
of its own (docs/speech-http.md).
"""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Sequence
from contextlib import aclosing
from tempfile import SpooledTemporaryFile

import structlog
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pipeline.engines.ports import BlendsVoices
from pipeline.errors import AntiphonError, AtCapacity, BadMessage
from pipeline.reading import Reading
from pipeline.voicing import REPLY_HZ
from server import names
from server.encoding import CONTENT_TYPES, Encoder, encoder, wav_header
from server.endpoint import EVENTS, LATER_WAITS, Endpoint, event, failure_event, timing
from server.exchange import Exchange
from server.gate import Visitor
from server.house import House
from server.requests import Tracked
from server.scratch import Share
from server.sharing import request_counts
from server.speech_ask import Offer, SpeechAsk, read_ask
from server.speech_cache import Key, Spoken

log = structlog.get_logger(__name__)

SLICE_BYTES = REPLY_HZ // 5 * 2
"""0.2 s of PCM: as much as is encoded (MP3: 2 ms) before anybody else has a turn."""
SPOOL_BYTES = 1_000_000
"""A body that is sent whole is kept in memory up to this, else in a file that has no name."""
BLOCK_BYTES = 65_536
SPANS_CHARACTERS = 4_000
"""The longest `x-skipped`: clients take 8 kB of headers, and more are there."""


async def speech(exchange: Exchange, house: House, tracked: Tracked, visitor: Visitor) -> None:
    """Answer `POST /v1/audio/speech`."""
    offer = offer_of(house)
    ask = read_ask(await exchange.body(offer.most_bytes), offer)
    tracked.characters = len(ask.text)
    with house.budgets.request(visitor.user, visitor.allowance) as budget:
        async with request_counts(house.fellows, visitor.user, budget):
            budget.take_characters(len(ask.text), time.monotonic())
    await exchange.during(_speak(exchange, house, tracked, ask))


async def _speak(exchange: Exchange, house: House, tracked: Tracked, ask: SpeechAsk) -> None:
    encode = encoder(ask.format)
    async with aclosing(_encoded(_audio(house, tracked, ask), encode, tracked)) as pieces:
        if ask.events:
            await _send_events(exchange, tracked, pieces)
        elif ask.stream:
            await _send_stream(exchange, tracked, ask, pieces)
        else:
            with house.scratch.share() as share:
                await _send_whole(exchange, tracked, ask, pieces, share)


async def _audio(house: House, tracked: Tracked, ask: SpeechAsk) -> AsyncGenerator[bytes]:
    """The text as PCM, a clause a piece: from the cache, or made and, if it is short, kept."""
    cache = house.speech_cache
    key = Key(ask.text, ask.voice, house.engines.synthesizers[0].info.model)
    if (known := cache.get(key)) is not None:
        tracked.queued(0.0, 0)
        for each in known.skipped:
            tracked.skip(each.start, each.end, each.text, each.reason)
        yield known.pcm
        return
    reading = Reading(
        ask.text, tracked.owner, ask.voice, house.pool, tracked,
        later_wait_s=LATER_WAITS * house.settings.pool_wait_s, played=ask.events or ask.stream,
    )  # fmt: skip
    kept = bytearray()
    async with aclosing(reading.pieces()) as pieces:
        async for pcm in pieces:
            if cache.takes(key):
                kept += pcm
            yield pcm
    if kept and not tracked.skipped_more:
        cache.put(key, Spoken(bytes(kept), tuple(tracked.skipped)))


async def _encoded(
    audio: AsyncGenerator[bytes], encode: Encoder, tracked: Tracked
) -> AsyncGenerator[bytes]:
    """Encoded audio in small pieces, none of them empty. Raises `BadMessage` when there is none."""
    made = False
    async with aclosing(audio) as pieces:
        async for pcm in pieces:
            made = True
            tracked.audio_s += len(pcm) / 2 / REPLY_HZ
            for start in range(0, len(pcm), SLICE_BYTES):
                if data := encode.feed(pcm[start : start + SLICE_BYTES]):
                    yield data
                await asyncio.sleep(0)
    if not made:
        raise BadMessage("nothing in this text can be spoken", param="input")
    if data := encode.finish():
        yield data


# --- three ways to send it ------------------------------------------------------------------------


async def _send_stream(
    exchange: Exchange, tracked: Tracked, ask: SpeechAsk, pieces: AsyncIterator[bytes]
) -> None:
    async for data in pieces:
        if not exchange.started:
            tracked.first_output()
            await exchange.start({"content-type": CONTENT_TYPES[ask.format], **timing(tracked)})
        await exchange.send(data)
    await exchange.finish()


async def _send_events(exchange: Exchange, tracked: Tracked, pieces: AsyncIterator[bytes]) -> None:
    """As server-sent events; a failure in the middle is one too."""
    try:
        async for data in pieces:
            if not exchange.started:
                tracked.first_output()
                await exchange.start({**EVENTS, **timing(tracked)})
            audio = base64.b64encode(data).decode()
            await exchange.send(event({"type": "speech.audio.delta", "audio": audio}))
    except AntiphonError as error:
        if exchange.started:
            await exchange.finish(failure_event(error, exchange.id))
        raise
    # Tokens are a hosted model's way to count; there is nothing to pay for here.
    usage = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    skipped = [
        {"start": s.start, "end": s.end, "text": s.text, "reason": s.reason}
        for s in tracked.skipped
    ]
    done = {
        "usage": usage,
        "skipped": skipped,
        "skipped_more": tracked.skipped_more,
        "skipped_spans": list(in_pairs(tracked.skipped_spans)),
    }
    await exchange.finish(event({"type": "speech.audio.done", **done}))


async def _send_whole(
    exchange: Exchange,
    tracked: Tracked,
    ask: SpeechAsk,
    pieces: AsyncIterator[bytes],
    share: Share,
) -> None:
    try:
        with SpooledTemporaryFile(SPOOL_BYTES) as spool:
            async for data in pieces:
                tracked.first_output()
                share.take(len(data))
                spool.write(data)
            length = spool.tell()
            if ask.format == "wav":
                spool.seek(0)
                spool.write(wav_header(length - len(wav_header())))
            spool.seek(0)
            headers = {
                "content-type": CONTENT_TYPES[ask.format],
                "content-length": str(length),
                **timing(tracked, whole=True),
            }
            if tracked.skipped:
                headers["x-skipped"] = spans(tracked.skipped_spans)
            await exchange.start(headers)
            while data := spool.read(BLOCK_BYTES):
                await exchange.send(data)
    except OSError as error:
        if exchange.started:  # it is not the disk's: what is sent now was kept
            raise
        log.error("speech_not_kept", error=str(error))
        raise AtCapacity("there is no room for the audio now", retry_after_s=30.0) from None
    await exchange.finish()


def spans(skipped: Sequence[int]) -> str:
    """Stretches of the text, where each starts and ends in turn, as "12-15,40-52"; where they are
    too many for a header, how many others there are: ",and 7 more"."""
    shown, size, pairs = list[str](), 0, list(in_pairs(skipped))
    for start, end in pairs:
        size += len(one := f"{start}-{end}") + 1
        if size > SPANS_CHARACTERS:
            return ",".join([*shown, f"and {len(pairs) - len(shown)} more"])
        shown.append(one)
    return ",".join(shown)


def in_pairs(numbers: Sequence[int]) -> Iterator[tuple[int, int]]:
    """(1, 2, 3, 4) as (1, 2), (3, 4)."""
    return zip(numbers[::2], numbers[1::2], strict=True)


# --- what can be asked for ------------------------------------------------------------------------


def offer_of(house: House) -> Offer:
    """What can be asked of this server's voice."""
    engine = house.engines.synthesizers[0]
    info = engine.info
    own = {info.model, info.name, info.name.partition("-")[0]}
    return Offer(
        house.catalogue,
        frozenset({*own, *names.SPEECH_MODELS}),
        isinstance(engine, BlendsVoices) and engine.blends_voices,
        house.settings.speech_characters,
    )


async def models(request: Request) -> Response:
    """The models that can be named, as OpenAI's API lists them; `serves` is what stands behind."""
    house = await _open_house(request)
    voice, ear = house.engines.synthesizers[0].info, house.engines.transcriber.info
    own = {voice.model: voice.model, ear.model: ear.model}
    theirs = {
        **dict.fromkeys(names.SPEECH_MODELS, voice.model),
        **dict.fromkeys(names.TRANSCRIPTION_MODELS, ear.model),
    }
    listed = [
        {"id": name, "object": "model", "created": 0, "owned_by": "antiphon", "serves": serves}
        for name, serves in {**own, **theirs}.items()
    ]
    return JSONResponse({"object": "list", "data": listed})


async def voices(request: Request) -> Response:
    """The voices that can be named, and OpenAI's names with the voices that stand for them."""
    catalogue = (await _open_house(request)).catalogue
    listed = [
        {"id": name, "name": name, "language": language}
        for name, language in catalogue.voices.items()
    ]
    for name in names.VOICES:
        voice = names.stands_for(name, catalogue.voices, catalogue.default_voice)
        if voice is not None and name not in catalogue.voices:
            language = catalogue.voices[voice]
            listed.append({"id": name, "name": name, "language": language, "serves": voice})
    return JSONResponse({"voices": listed, "default": catalogue.default_voice})


async def _open_house(request: Request) -> House:
    house: House = request.app.state.house
    await house.gate.reader(request, house.lasts)
    house.check_open()
    return house


routes = [
    Route("/v1/audio/speech", Endpoint("speech", speech), methods=["POST"]),
    Route("/v1/audio/voices", voices),
    Route("/v1/models", models),
]
