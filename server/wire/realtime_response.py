"""One response of the Realtime protocol while it is given: what is open, and its events. Pure.

Everything that is added is done in the end, once, and before the response is.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import Any

from pipeline.events import ReplyDone
from server.wire.realtime_audio import AudioOut, FormatName
from server.wire.realtime_out import ending, item_object, usage
from session.items import Item
from session.messages import Modality

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a response is made with, as it shows itself."""

    modality: Modality
    format: FormatName
    format_object: Json
    voice: str
    max_output_tokens: int | str
    conversation: str | None
    metadata: dict[str, str] | None = None


@dataclass(slots=True)
class _Output:
    """An item of the response's, as far as it was told."""

    index: int
    item: Item
    after: str | None
    done: bool = False


@dataclass(slots=True)
class Response:
    """Feed it what becomes of its reply; each call gives the events that tell it."""

    id: str
    shape: Shape
    error: Exception | None = None
    """Why it fails, if it does."""
    _outputs: dict[str, _Output] = field(default_factory=dict)
    """By call; its words are ""."""
    _audio: AudioOut = field(init=False)

    def __post_init__(self) -> None:
        self._audio = AudioOut(self.shape.format)

    def created(self) -> Iterator[Json]:
        yield {"type": "response.created", "response": self._object("in_progress")}

    def add(self, item: Item, after: str | None) -> Iterator[Json]:
        """An item begins."""
        output = self._outputs[item.call] = _Output(
            len(self._outputs), replace(item, text=""), after
        )
        shown = item_object(output.item)
        yield self._of(output, "response.output_item.added", item=shown)
        if self.shape.conversation is not None:
            yield {"type": "conversation.item.added", "previous_item_id": after, "item": shown}
        if not item.call:
            part = (
                {"type": "audio", "transcript": ""} if item.spoken else {"type": "text", "text": ""}
            )
            yield self._in(output, "response.content_part.added", part=part)

    def say(self, text: str) -> Iterator[Json]:
        """The next piece of its words."""
        output = self._write("", text)
        if output is not None and text:
            kind = "output_audio_transcript" if output.item.spoken else "output_text"
            yield self._in(output, f"response.{kind}.delta", delta=text)

    def sound(self, pcm: bytes) -> Iterator[Json]:
        """The next piece of its audio."""
        output = self._outputs.get("")
        if output is not None and (data := self._audio.encode(pcm)):
            yield self._in(output, "response.output_audio.delta", delta=b64encode(data).decode())

    def call(self, call: str, arguments: str) -> Iterator[Json]:
        """The next piece of a call's arguments."""
        output = self._write(call, arguments)
        if output is not None and arguments:
            yield self._of_call(output, "delta", delta=arguments)

    def called(self, call: str, arguments: str) -> Iterator[Json]:
        """A call is whole."""
        output = self._outputs.get(call)
        if output is not None and not output.done:
            output.item = replace(output.item, text=arguments, status="completed")
            yield from self._end_call(output)

    def finish(self, done: ReplyDone) -> Iterator[Json]:
        """The reply has ended: so does all of it that is open."""
        for output in self._outputs.values():
            if output.done:
                continue
            whole = done.status == "completed" and not done.cut_short and not output.item.call
            output.item = replace(output.item, status="completed" if whole else "interrupted")
            if output.item.call:
                yield from self._end_call(output)
            else:
                yield from self._end_message(output)
        status, details = ending(done, self.error)
        response = self._object(status) | {"status_details": details, "usage": usage(done)}
        yield {"type": "response.done", "response": response}
        yield {"type": "rate_limits.updated", "rate_limits": []}

    # --- inside ----------------------------------------------------------------------------------

    def _write(self, call: str, text: str) -> _Output | None:
        output = self._outputs.get(call)
        if output is None or output.done:
            return None
        output.item = replace(output.item, text=output.item.text + text)
        return output

    def _end_message(self, output: _Output) -> Iterator[Json]:
        text = output.item.text
        if output.item.spoken:
            if rest := self._audio.finish():
                yield self._in(
                    output, "response.output_audio.delta", delta=b64encode(rest).decode()
                )
            yield self._in(output, "response.output_audio.done")
            yield self._in(output, "response.output_audio_transcript.done", transcript=text)
            part = {"type": "audio", "transcript": text}
        else:
            yield self._in(output, "response.output_text.done", text=text)
            part = {"type": "text", "text": text}
        yield self._in(output, "response.content_part.done", part=part)
        yield from self._end_item(output)

    def _end_call(self, output: _Output) -> Iterator[Json]:
        item = output.item
        yield self._of_call(output, "done", name=item.name, arguments=item.text)
        yield from self._end_item(output)

    def _end_item(self, output: _Output) -> Iterator[Json]:
        output.done = True
        shown = item_object(output.item)
        if self.shape.conversation is not None:
            yield {
                "type": "conversation.item.done",
                "previous_item_id": output.after,
                "item": shown,
            }
        yield self._of(output, "response.output_item.done", item=shown)

    def _of(self, output: _Output, kind: str, **fields: Any) -> Json:
        return {"type": kind, "response_id": self.id, "output_index": output.index, **fields}

    def _in(self, output: _Output, kind: str, **fields: Any) -> Json:
        return self._of(output, kind, item_id=output.item.id, content_index=0, **fields)

    def _of_call(self, output: _Output, what: str, **fields: Any) -> Json:
        kind = f"response.function_call_arguments.{what}"
        return self._of(output, kind, item_id=output.item.id, call_id=output.item.call, **fields)

    def _object(self, status: str) -> Json:
        shape = self.shape
        return {
            "object": "realtime.response",
            "id": self.id,
            "status": status,
            "status_details": None,
            "output": [item_object(o.item) for o in self._outputs.values() if o.done],
            "conversation_id": shape.conversation,
            "output_modalities": [shape.modality],
            "max_output_tokens": shape.max_output_tokens,
            "audio": {"output": {"format": shape.format_object, "voice": shape.voice}},
            "usage": None,
            "metadata": shape.metadata,
        }
