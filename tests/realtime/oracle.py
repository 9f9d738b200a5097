"""The oracle: openai's own types say what an event is, and the rules of the API in which order.

Every event that a test sees goes through `Oracle.see`; at the end `settled` says that nothing is
left open.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from openai.types.realtime import RealtimeServerEvent
from pydantic import BaseModel, TypeAdapter

ENDS = ("done", "completed", "failed")
_EVENT: TypeAdapter[Any] = TypeAdapter(RealtimeServerEvent)


def check_form(event: dict[str, Any]) -> None:
    """It is one of the union, and has no field that the reference does not have."""
    model = _EVENT.validate_python(event, strict=True)
    assert model.type == event["type"], f"the union took {event} for {type(model)}"
    _no_extras(model, event["type"])


def _no_extras(value: object, where: str) -> None:
    if isinstance(value, BaseModel):
        assert not value.model_extra, f"{where} has {sorted(value.model_extra)} of its own"
        for name in type(value).model_fields:
            _no_extras(getattr(value, name), f"{where}.{name}")
    elif isinstance(value, list):
        for at, one in enumerate(value):
            _no_extras(one, f"{where}[{at}]")


@dataclass
class Oracle:
    """Watches one connection's events."""

    events: list[dict[str, Any]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    active: str | None = None
    """The conversation's one."""
    beside: set[str] = field(default_factory=set)
    """Those out of band."""
    ended: set[str] = field(default_factory=set)
    outputs: dict[str, str] = field(default_factory=dict)
    """Open output items: id -> response."""
    items: dict[str, int] = field(default_factory=dict)
    """Items added to the conversation, and not done."""
    parts: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    text: Counter[str] = field(default_factory=Counter)
    deltas: dict[tuple[str, str], str] = field(default_factory=dict)
    over: set[tuple[str, str]] = field(default_factory=set)
    """What of which item has its end."""
    speaking: str = ""
    """The item of the last voice."""
    unanswered: str = ""
    """The item of a silence that was too long."""
    commits: int = 0
    """The client's own, which need no voice."""

    def sent(self, kind: str) -> None:
        """The client said this."""
        self.commits += kind == "input_audio_buffer.commit"

    def see(self, event: dict[str, Any]) -> None:
        check_form(event)
        assert event["event_id"] not in self.ids, "an event's id is its own"
        self.ids.add(event["event_id"])
        if not self.events:
            assert event["type"] in ("session.created", "error")
        self.events.append(event)
        kind = event["type"]
        if "response_id" in event:
            active = {self.active} | self.beside
            assert event["response_id"] in active, f"{kind} of no active response"
        part, _, what = kind.rpartition(".")
        if "item_id" in event:
            place = (part, event["item_id"])
            assert place not in self.over, f"{kind} after its end"
            if what in ENDS:
                self.over.add(place)
            elif what == "delta":
                self.deltas[place] = self.deltas.get(place, "") + event["delta"]
        match kind:
            case "response.created":
                response = event["response"]
                assert response["id"] not in self.ended
                assert response["status"] == "in_progress"
                if response["conversation_id"] is None:
                    assert response["id"] not in self.beside
                    self.beside.add(response["id"])
                else:
                    assert self.active is None, "one active response in the conversation"
                    self.active = response["id"]
            case "response.done":
                response = event["response"]
                beside = response["conversation_id"] is None
                assert response["id"] in (self.beside if beside else {self.active}), "one terminal"
                assert response["status"] != "in_progress"
                left = {item for item, of in self.outputs.items() if of == response["id"]}
                assert not left, f"items left open: {left}"
                for item in response["output"]:
                    assert item["id"] not in self.items, "the conversation's item is done first"
                    assert item["status"] != "in_progress"
                self.ended.add(response["id"])
                self.beside.discard(response["id"])
                if not beside:
                    self.active = None
            case "response.output_item.added":
                assert event["item"]["id"] not in self.outputs
                self.outputs[event["item"]["id"]] = event["response_id"]
            case "response.output_item.done":
                item = event["item"]
                assert item["id"] in self.outputs, "done once, and added before"
                assert item["id"] not in self.items, "the conversation's item is done first"
                assert item["id"] not in self.parts
                assert item["status"] != "in_progress"
                del self.outputs[item["id"]]
            case "conversation.item.added":
                item_id = event["item"]["id"]
                assert item_id not in self.known, "added once"
                before = event["previous_item_id"]
                assert before is None or before in self.known
                self.known.add(item_id)
                self.items[item_id] = 1
            case "conversation.item.done":
                assert self.items.pop(event["item"]["id"], 0) == 1, "done once, and added before"
            case "input_audio_buffer.speech_started":
                self.speaking = event["item_id"]
            case "input_audio_buffer.speech_stopped":
                assert event["item_id"] == self.speaking, "who stops has started"
            case "input_audio_buffer.timeout_triggered":
                self.unanswered = event["item_id"]
            case "input_audio_buffer.committed":
                if event["item_id"] not in (self.speaking, self.unanswered):
                    assert self.commits, "what was said was heard before"
                    self.commits -= 1
            case "response.content_part.added":
                assert event["item_id"] in self.outputs
                self.parts.add(event["item_id"])
            case "response.content_part.done":
                self.parts.remove(event["item_id"])
            case "conversation.item.input_audio_transcription.completed":
                told = self.deltas.get((kind.removesuffix(".completed"), event["item_id"]), "")
                same = event["transcript"].startswith(told)
                assert event["transcript"] == told or not same, "the pieces add up"
            case "response.output_audio_transcript.done":
                said = self.deltas.get(("response.output_audio_transcript", event["item_id"]), "")
                assert event["transcript"] == said, "the pieces add up"
            case "response.output_text.done":
                said = self.deltas.get(("response.output_text", event["item_id"]), "")
                assert event["text"] == said, "the pieces add up"
            case "response.function_call_arguments.done":
                place = ("response.function_call_arguments", event["item_id"])
                assert event["arguments"] == self.deltas.get(place, ""), "the pieces add up"
            case "response.output_audio.delta":
                assert event["item_id"] in self.parts
            case _:
                pass

    @property
    def at_rest(self) -> bool:
        """Nothing is open at this moment."""
        return not (self.active or self.beside or self.items or self.outputs)

    def settled(self) -> None:
        """Nothing is left open."""
        assert self.active is None
        assert not self.beside
        assert not self.items
        assert not self.outputs
