"""One connection's sound, as its hello wants it: what a frame of the microphone holds, and what
becomes of a reply's audio. A packet of Opus costs the loop some 0.05 ms either way."""

from __future__ import annotations

from typing import Protocol

from pipeline import decoding
from pipeline.events import Interrupted, ReplyAudio, ReplyAudioEnd, ReplyStarted
from server import encoding
from server.wire import native
from server.wire.tagged import OPUS_HZ, AudioForm, packet_s, tag, untag
from session.messages import Event


class Sound(Protocol):
    """A microphone's frames."""

    @property
    def rate_hz(self) -> int:
        """Of `pcm`."""

    def seconds(self, frame: bytes) -> float:
        """How much sound it is. Raises `BadAudio`."""

    def pcm(self, frame: bytes) -> bytes:
        """Its samples, signed 16-bit little-endian. Raises `BadAudio`."""


class Pcm:
    """Samples as they are, raw or tagged."""

    def __init__(self, rate_hz: int, *, tagged: bool = False) -> None:
        self.rate_hz = rate_hz
        self._tagged = tagged

    def seconds(self, frame: bytes) -> float:
        return len(self.pcm(frame)) / 2 / self.rate_hz

    def pcm(self, frame: bytes) -> bytes:
        return untag(frame) if self._tagged else frame


class Opus:
    """A packet a frame. Only what was paid for is decoded."""

    rate_hz = OPUS_HZ

    def __init__(self) -> None:
        self._packets = decoding.OpusPackets()

    def seconds(self, frame: bytes) -> float:
        return packet_s(untag(frame))

    def pcm(self, frame: bytes) -> bytes:
        return self._packets.decode(untag(frame))


def microphone(audio: AudioForm) -> Sound:
    """What this hello's microphone sends."""
    if audio.codec == "opus":
        return Opus()
    return Pcm(audio.rate_hz, tagged=audio.framing == "tagged")


class ReplyFrames:
    """Events as frames, a reply's audio in the connection's form."""

    def __init__(self, audio: AudioForm) -> None:
        self._audio = audio
        self._packets: encoding.OpusPackets | None = None
        self._reply = 0
        self._offset = self._due = 0
        """Of the next packet's first sample, and of the audio that is to come."""

    def __call__(self, event: Event) -> list[str | bytes]:
        """The frames of an event."""
        match event:
            case ReplyAudio() if self._audio.codec == "opus":
                return [*self._encoded(event)]
            case ReplyAudio(reply, offset, pcm) if self._audio.framing == "tagged":
                return [tag(reply, offset, pcm)]
            case ReplyAudioEnd(reply) if self._packets is not None and reply == self._reply:
                packets, self._packets = self._packets, None
                return [*self._tagged(packets.finish()), *native.frames(event)]
            case ReplyStarted():
                self._packets = None
            case Interrupted(reply) if reply == self._reply:
                self._packets = None  # what it holds of the reply is not heard any more
        return native.frames(event, self._audio)

    def _encoded(self, audio: ReplyAudio) -> list[bytes]:
        if self._packets is None or (audio.reply, audio.offset) != (self._reply, self._due):
            self._packets = encoding.OpusPackets()  # anew too where audio was dropped, being late
            self._reply, self._offset = audio.reply, audio.offset
        self._due = audio.offset + len(audio.pcm) // 2
        return self._tagged(self._packets.feed(audio.pcm))

    def _tagged(self, packets: list[bytes]) -> list[bytes]:
        frames = []
        for packet in packets:
            frames.append(tag(self._reply, self._offset, packet))
            self._offset += encoding.PACKET_SAMPLES
        return frames
