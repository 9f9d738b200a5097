"""What a server of `antiphon.v1` says: Events -> JSON and PCM. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline import events as ev
from pipeline.errors import AntiphonError
from server.failures import failure_of, message_of
from server.wire.tagged import AudioForm
from session import messages as msg
from session.kept import shown

RAW = AudioForm()
UNTOLD = (
    ev.ToolText,
    msg.ItemAdded,
    msg.ItemDeleted,
    msg.ItemTruncated,
    msg.ItemRetrieved,
    msg.AudioCleared,
    msg.TimedOut,
    msg.Closing,
)
"""Events that are no messages here: the other protocol shows the history's items."""


def encode(event: msg.Event, audio: AudioForm = RAW) -> str | bytes | None:
    """An event as a text or binary frame; None for what this protocol has no message for.

    A reply's audio as it is: framed it is elsewhere. `audio`: what a welcome says of it.
    """
    if isinstance(event, ev.ReplyAudio):
        return event.pcm
    if isinstance(event, UNTOLD):
        return None
    return msgspec.json.encode(_object(event, audio)).decode()


def frames(event: msg.Event, audio: AudioForm = RAW) -> list[str | bytes]:
    """An event's frames: one, or none."""
    frame = encode(event, audio)
    return [] if frame is None else [frame]


def _object(event: msg.Event, audio: AudioForm) -> dict[str, Any]:
    match event:
        case msg.Waiting(position, eta_s):
            return {"type": "waiting", "position": position, "eta_s": eta_s}
        case msg.Welcome():
            return {
                "type": "welcome",
                "protocol": 1,
                "session": event.session,
                "resume": event.resume,
                "resumed": event.resumed,
                "next_turn": event.next_turn,
                "next_reply": event.next_reply,
                "audio": {
                    "rate": event.reply_hz,
                    "codec": audio.codec,
                    "framing": audio.framing,
                },
                "voice": event.settings.voice,
                "language": event.settings.language,
                "limits": event.limits,
            } | ({"history": [shown(item) for item in event.history]} if event.resumed else {})
        case ev.SpeechStarted(turn, at_ms):
            return {"type": "speech_started", "turn": turn, "at_ms": at_ms}
        case ev.SpeechStopped(turn, at_ms):
            return {"type": "speech_stopped", "turn": turn, "at_ms": at_ms}
        case ev.UserTranscript():
            return _without_none(
                type="transcript",
                turn=event.turn,
                text=event.text,
                final=event.final,
                discarded=event.discarded or None,
                ref=event.ref,
            )
        case ev.ReplyStarted(reply, turn):
            return {"type": "reply_started", "reply": reply, "turn": turn}
        case ev.ReplyText(reply, text):
            return {"type": "reply_text", "reply": reply, "text": text}
        case ev.ReplyPaused(reply):
            return {"type": "reply_paused", "reply": reply}
        case ev.ReplyResumed(reply):
            return {"type": "reply_resumed", "reply": reply}
        case ev.Interrupted(reply, heard):
            return {"type": "interrupted", "reply": reply, "heard": heard}
        case ev.ReplyAudioEnd(reply, audio_ms):
            return {"type": "reply_audio_end", "reply": reply, "audio_ms": audio_ms}
        case ev.ToolCalled(reply, call, name, arguments):
            return {
                "type": "tool_call",
                "reply": reply,
                "call": call,
                "name": name,
                "arguments": arguments,
            }
        case ev.ReplyDone():
            return _reply_done(event)
        case msg.Cleared():
            return {"type": "cleared"}
        case msg.Configured(settings):
            return {
                "type": "configured",
                "voice": settings.voice,
                "speed": settings.speed,
                "language": settings.language,
                "pace": settings.pace,
                "turn_detection": settings.detection,
            }
        case msg.GoingAway(reconnect_in_ms):
            return {"type": "going_away", "reconnect_in_ms": reconnect_in_ms}
        case msg.Warned(error, ref):
            return _trouble("warning", error, ref=ref)
        case ev.Failed(error, turn, reply, ref):
            return _trouble("error", error, turn=turn, reply=reply, ref=ref)
        case _:
            raise TypeError(f"no message for {event!r}")


def _reply_done(event: ev.ReplyDone) -> dict[str, Any]:
    latency = event.latency
    return {
        "type": "reply_done",
        "reply": event.reply,
        "turn": event.turn,
        "status": event.status,
        "text": event.text,
        "heard": event.heard,
        "saved": event.saved,
        "latency_ms": latency
        and {
            "endpoint": latency.endpoint,
            "stt": latency.stt,
            "llm": latency.llm,
            "tts": latency.tts,
            "total": latency.total,
        },
    }


def _trouble(kind: str, error: Exception, **where: str | int | None) -> dict[str, Any]:
    retry_s = error.retry_after_s if isinstance(error, AntiphonError) else None
    return _without_none(
        type=kind,
        code=failure_of(error).code,
        message=message_of(error),
        retry_after_ms=None if retry_s is None else round(retry_s * 1000),
        **where,
    )


def _without_none(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}
