"""The Realtime protocol's session object: its defaults, and what it means to a session.

An update is merged into it at every depth, null clears, and what it says to nobody here (tracing,
truncation, noise reduction) is kept and shown. Pure.
"""

from __future__ import annotations

from typing import Any

import msgspec

from pipeline.edges import ON
from pipeline.endpointing import Pace
from server.names import stands_for
from server.wire.realtime_forms import (
    AudioInput,
    AudioOutput,
    Format,
    Mistake,
    Pcm,
    SemanticVad,
    ServerVad,
    SessionForm,
    formed,
    read_choice,
    read_tokens,
    read_tools,
    voice_name,
)
from session.messages import PREROLL_MS, Configure, Modality

_BEGINNING: dict[str, Any] = {"turn_detection": {"type": "server_vad"}}
"""Of the input, before a client says anything of it."""


class RealtimeSession:
    """The session object of one connection."""

    def __init__(self, model: str, instructions: str, voice: str) -> None:
        self._default_instructions = instructions
        self._default_voice = voice
        self._raw: dict[str, Any] = {
            "type": "realtime",
            "model": model,
            "audio": {"input": _BEGINNING},
        }
        self._form = _formed(self._raw)

    def update(self, patch: dict[str, Any]) -> None:
        """Merge an update in. Raises `Mistake`, and nothing is changed."""
        if patch.get("type", "realtime") != "realtime":
            raise Mistake("only realtime sessions are served", "invalid_value", "session.type")
        merged = _merged(self._raw, patch)
        merged["model"] = self._raw["model"]  # it was chosen in the address
        merged["audio"] = _with_input(merged.get("audio"))
        form = _formed(merged)
        if len(set(form.output_modalities or ["audio"])) != 1:
            raise Mistake(
                'output_modalities is ["audio"] or ["text"]',
                param="session.output_modalities",
            )
        read_tools(form.tools, "session.tools")
        self._raw, self._form = msgspec.to_builtins(form), form

    # --- what it says ----------------------------------------------------------------------------

    @property
    def modality(self) -> Modality:
        """Of replies."""
        return (self._form.output_modalities or ["audio"])[0]

    @property
    def input_format(self) -> Format:
        return self._input.format or Pcm()

    @property
    def output_format(self) -> Format:
        return self._output.format or Pcm()

    @property
    def voice(self) -> str:
        """The name that the client chose, or ours."""
        return voice_name(self._output.voice) or self._default_voice

    @property
    def transcribes(self) -> bool:
        """The client wants to be told what was understood."""
        return self._input.transcription is not None

    @property
    def manual(self) -> bool:
        """The client ends turns, and asks for replies."""
        return self._input.turn_detection is None

    @property
    def interrupts(self) -> bool:
        """Words over a reply end it."""
        vad = self._input.turn_detection
        return vad is None or vad.interrupt_response is not False

    @property
    def padding_ms(self) -> int:
        """Audio before a voice that belongs to its turn."""
        vad = self._input.turn_detection
        given = vad.prefix_padding_ms if isinstance(vad, ServerVad) else None
        return PREROLL_MS if given is None else given

    @property
    def max_output_tokens(self) -> int | str:
        return self._form.max_output_tokens or "inf"

    @property
    def _input(self) -> AudioInput:
        return (self._form.audio and self._form.audio.input) or AudioInput()

    @property
    def _output(self) -> AudioOutput:
        return (self._form.audio and self._form.audio.output) or AudioOutput()

    def configure(self, known_voices: frozenset[str]) -> Configure:
        """The command that makes a session so."""
        form, vad = self._form, self._input.turn_detection
        server = vad if isinstance(vad, ServerVad) else ServerVad()
        transcription = self._input.transcription
        instructions = form.instructions
        return Configure(
            voice=stands_for(self.voice, known_voices, self._default_voice) or self._default_voice,
            instructions=self._default_instructions if instructions is None else instructions,
            speed=self._output.speed or 1.0,
            language=(transcription.language if transcription else None) or "",
            pace=_pace(vad),
            detection="manual" if vad is None else "auto",
            tools=read_tools(form.tools, "session.tools"),
            tool_choice=read_choice(form.tool_choice) or "auto",
            modality=self.modality,
            reply_tokens=read_tokens(form.max_output_tokens),
            answers=vad is not None and vad.create_response is not False,
            interrupts=self.interrupts,
            silence_ms=server.silence_duration_ms or 0,
            threshold=ON if server.threshold is None else server.threshold,
            preroll_ms=self.padding_ms,
            idle_timeout_ms=server.idle_timeout_ms or 0,
        )

    def shown(self) -> dict[str, Any]:
        """The whole session as it is in effect, as the API shows it."""
        form, given = self._form, self._input
        instructions = form.instructions
        return {
            "type": "realtime",
            "model": form.model,
            "output_modalities": [self.modality],
            "instructions": self._default_instructions if instructions is None else instructions,
            "audio": {
                "input": {
                    "format": msgspec.to_builtins(self.input_format),
                    "transcription": msgspec.to_builtins(given.transcription),
                    "noise_reduction": msgspec.to_builtins(given.noise_reduction),
                    "turn_detection": _shown_vad(given.turn_detection),
                },
                "output": {
                    "format": msgspec.to_builtins(self.output_format),
                    "voice": self.voice,
                    "speed": self._output.speed or 1.0,
                },
            },
            "tools": [msgspec.to_builtins(tool) for tool in form.tools or ()],
            "tool_choice": msgspec.to_builtins(form.tool_choice or "auto"),
            "max_output_tokens": self.max_output_tokens,
            "tracing": msgspec.to_builtins(form.tracing),
            "truncation": msgspec.to_builtins(form.truncation or "auto"),
            "include": form.include,
        }


def _formed(raw: dict[str, Any]) -> SessionForm:
    form: SessionForm = formed(raw, SessionForm, "session")
    return form


def _merged(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    merged = dict(old)
    for name, value in new.items():
        before = merged.get(name)
        if isinstance(before, dict) and isinstance(value, dict) and _alike(before, value):
            merged[name] = _merged(before, value)
        else:
            merged[name] = value
    return merged


def _with_input(audio: object) -> object:
    """Cleared is as it was in the beginning: only of its turn detection null says more."""
    if audio is None:
        return {"input": _BEGINNING}
    if isinstance(audio, dict) and audio.get("input") is None:
        return audio | {"input": _BEGINNING}
    return audio


def _alike(before: dict[str, Any], value: dict[str, Any]) -> bool:
    """Of another type it is another thing: nothing of the old one is left."""
    return bool(value.get("type", before.get("type")) == before.get("type"))


def _pace(vad: ServerVad | SemanticVad | None) -> Pace:
    if not isinstance(vad, SemanticVad):
        return "normal"
    match vad.eagerness:
        case "low":
            return "patient"
        case "high":
            return "quick"
        case _:
            return "normal"


def _shown_vad(vad: ServerVad | SemanticVad | None) -> dict[str, Any] | None:
    if vad is None:
        return None
    shown: dict[str, Any] = msgspec.to_builtins(vad)
    shown["create_response"] = vad.create_response is not False
    shown["interrupt_response"] = vad.interrupt_response is not False
    if isinstance(vad, ServerVad):
        if vad.threshold is None:
            shown["threshold"] = ON
        if vad.prefix_padding_ms is None:
            shown["prefix_padding_ms"] = PREROLL_MS
    else:
        shown["eagerness"] = vad.eagerness or "auto"
    return shown
