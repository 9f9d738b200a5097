"""What the benchmark tells its bot: plain values that fit on a command line. No Pipecat here."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal, get_args

Tts = Literal["kokoro", "piper"]
Models = Literal["per-session", "shared"]

TTS: tuple[Tts, ...] = get_args(Tts)
MODELS: tuple[Models, ...] = get_args(Models)


@dataclass(frozen=True, slots=True)
class BotOptions:
    """Everything that one bot process is started with."""

    tts: Tts
    models: Models
    """per-session: as Pipecat's services do it; shared: one copy of each model for all calls."""
    whisper: str
    """Directory of a CTranslate2 model."""
    kokoro: str
    """The ONNX file."""
    kokoro_voices: str
    """An .npz file: a style array, shape (510, 1, 256), by the voice's name."""
    kokoro_voice: str
    llm_url: str
    llm_model: str
    llm_request: Mapping[str, object]
    """Fields of each completion request: sampling, the longest reply."""
    instructions: str

    def to_json(self) -> str:
        """For the command line."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> BotOptions:
        """The other way round; raises `TypeError` for unknown or missing fields."""
        return cls(**json.loads(text))
