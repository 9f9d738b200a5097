"""A line to `/v1/realtime` for the caller of `benchmarks.client`, who speaks native messages."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import websockets

RATE_HZ = 24_000
"""Both ways; the caller's own must be the same."""


@asynccontextmanager
async def realtime_line(url: str) -> AsyncIterator[RealtimeLine]:
    """Connect to the server whose native endpoint `url` is."""
    address = f"{url.removesuffix('/ws')}/v1/realtime?model=antiphon"
    async with websockets.connect(address, compression=None, max_size=None) as socket:
        yield RealtimeLine(socket)


class RealtimeLine:
    """Native messages in, Realtime events out; and back."""

    def __init__(self, socket: websockets.ClientConnection) -> None:
        self._socket = socket
        self._reply = 0

    async def send(self, message: str | bytes) -> None:
        """What the caller says; reports of playback have no word here."""
        if isinstance(message, bytes):
            audio = b64encode(message).decode()
            await self._event("input_audio_buffer.append", audio=audio)
            return
        said: dict[str, Any] = json.loads(message)
        match said["type"]:
            case "hello":
                input_ = {"transcription": {"model": "whisper-1"}}
                session = {"type": "realtime", "audio": {"input": input_}}
                if "instructions" in said:
                    session["instructions"] = said["instructions"]
                await self._event("session.update", session=session)
            case "cancel":
                await self._event("response.cancel")
            case _:
                pass

    async def _event(self, kind: str, **fields: Any) -> None:
        await self._socket.send(json.dumps({"type": kind, **fields}))

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        async for frame in self._socket:
            event = json.loads(frame)
            if event["type"] == "response.output_audio.delta":
                yield b64decode(event["delta"])
            elif (message := self._native(event)) is not None:
                yield json.dumps(message)

    def _native(self, event: dict[str, Any]) -> dict[str, Any] | None:
        match event["type"]:
            case "session.updated":
                return {"type": "welcome", "audio": {"rate": RATE_HZ}}
            case "conversation.item.input_audio_transcription.completed":
                return {"type": "transcript", "text": event["transcript"], "final": True}
            case "response.created":
                self._reply += 1
                return {"type": "reply_started", "reply": self._reply, "turn": self._reply}
            case "response.output_audio_transcript.delta":
                return {"type": "reply_text", "reply": self._reply, "text": event["delta"]}
            case "response.output_audio.done":
                return {"type": "reply_audio_end", "reply": self._reply}
            case "response.done":
                status = event["response"]["status"]
                status = status if status in ("completed", "failed") else "interrupted"
                details = event["response"]["status_details"] or {}
                if details.get("reason") == "client_cancelled":
                    status = "cancelled"
                return {"type": "reply_done", "reply": self._reply, "status": status}
            case _:
                return None
