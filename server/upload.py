"""A form with a file in it: on its way in to the disk, bounded in bytes and in time."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import Message

from pipeline.errors import AtCapacity, BadMessage, SlowClient, TooMuchAudio
from server.scratch import Scratch, Share

log = structlog.get_logger(__name__)

GAP_S = 20.0
"""Nothing came for so long: it is not waited for any more."""
UPLOAD_S = 300.0
"""All of it comes within this: 25 MB at 0.7 Mbit/s."""
FIELDS, FIELD_BYTES = 32, 65_536
FORM_BYTES = FIELDS * FIELD_BYTES
"""A body's bytes besides the file."""


@asynccontextmanager
async def uploaded(request: Request, most_bytes: int, scratch: Scratch) -> AsyncIterator[FormData]:
    """The form of a request; its file lies in memory up to 1 MB, past that in a temporary file
    without a name, and is gone with the scope. `scratch` is what all of them may take.

    Raises `TooMuchAudio` for a file of more than `most_bytes`, `BadMessage` for what is no form,
    `SlowClient` when it does not come, `AtCapacity` when there is no room for it, and
    `ClientDisconnect`.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise BadMessage("the body is not multipart/form-data", param="file")
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > most_bytes + FORM_BYTES:
        raise _too_large(most_bytes)  # before any of it is read
    with scratch.share() as share:
        form = await _read(request, most_bytes, share)
        try:
            yield form
        finally:
            await form.close()


async def _read(request: Request, most_bytes: int, share: Share) -> FormData:

    async def receive() -> Message:
        async with asyncio.timeout(GAP_S):
            message = await request.receive()
        share.take(len(message.get("body", b"")))
        if share.bytes > most_bytes + FORM_BYTES:
            raise _too_large(most_bytes)
        return message

    try:
        async with asyncio.timeout(UPLOAD_S):
            return await Request(request.scope, receive).form(
                max_files=1, max_fields=FIELDS, max_part_size=FIELD_BYTES
            )
    except TimeoutError:
        raise SlowClient("the file did not come in time") from None
    except HTTPException as wrong:
        raise BadMessage(wrong.detail) from None
    except OSError as error:
        log.error("upload_not_kept", error=str(error))
        raise AtCapacity("there is no room for the file now", retry_after_s=30.0) from None


def _too_large(most_bytes: int) -> TooMuchAudio:
    return TooMuchAudio(f"the file is larger than {most_bytes // 1_000_000} MB", param="file")
